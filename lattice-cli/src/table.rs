//! Aligned columns for people.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use crate::output;

/// How a cell should strike the eye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// On its way.
    Waiting,
    /// Somebody should look.
    Bad,
    /// Neither.
    Plain,
}

/// One cell: its text and tone.
pub fn cell(text: impl ToString, tone: Tone) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Good => cell.fg(Color::Green),
        Tone::Waiting => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
        Tone::Plain => cell,
    }
}

/// A number, to the right of its column.
pub fn number(value: impl ToString) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

/// Renders rows below a header.
pub fn render(header: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>) -> String {
    let mut table = Table::new();
    // Lines wider than the terminal are left to it: wrapped cells cannot be cut and pasted.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    table.add_rows(rows);
    if !output::has_colour() {
        table.force_no_tty();
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    // Every line begins with one space of padding.
    lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_where_text_ends() {
        let row = |a: &str, b: &str| vec![cell(a, Tone::Plain), cell(b, Tone::Plain)];
        let text = render(&["A", "B"], [row("long", "x"), row("s", "")]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0].find('B'), lines[1].find('x'));
        assert!(lines.iter().all(|line| line.trim() == *line), "{lines:?}");
    }
}
