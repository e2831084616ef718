//! One number over time, as a line.

use maud::{Markup, html};

/// The size that lines are drawn in; the page stretches it.
const WIDTH: usize = lattice_proto::survey::STEPS;
const HEIGHT: f64 = 80.0;

/// A chart of these values, the latest last, under a title that says the last of them. Where there is none the line has a gap.
pub(super) fn draw(
    title: &str,
    class: &str,
    values: &[Option<f64>],
    shown: impl Fn(f64) -> String,
) -> Markup {
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let last = values.last().copied().flatten();
    html! {
        figure .chart .(class) {
            figcaption {
                (title) ": " strong { (last.map_or("–".to_owned(), &shown)) }
                @if most > 0.0 { ", at most " (shown(most)) }
            }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" aria-hidden="true" {
                line x1="0" x2=(WIDTH) y1=(HEIGHT - 1.0) y2=(HEIGHT - 1.0) {}
                @for points in lines(values, most) { polyline points=(points) {} }
            }
        }
    }
}

/// The latest are at the right; of more than fit, those.
fn lines(values: &[Option<f64>], most: f64) -> Vec<String> {
    let shown = &values[values.len().saturating_sub(WIDTH)..];
    let first = WIDTH - shown.len();
    let point = |(at, value): (usize, &Option<f64>)| {
        let part = if most > 0.0 { (*value)? / most } else { (*value)? * 0.0 };
        Some(format!("{},{:.1}", first + at, (HEIGHT - 2.0) * (1.0 - part) + 1.0))
    };
    let points: Vec<Option<String>> = shown.iter().enumerate().map(point).collect();
    let whole = points.split(Option::is_none).filter(|line| !line.is_empty());
    whole.map(|line| line.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_values_are_at_the_right() {
        assert_eq!(lines(&[Some(0.0), Some(10.0)], 10.0), ["358,79.0 359,1.0"]);
        assert_eq!(lines(&[Some(1.0); 1_000], 1.0)[0].split(' ').count(), WIDTH);
        assert_eq!(lines(&[Some(0.0), None, Some(0.0)], 0.0), ["357,79.0", "359,79.0"]);
        assert!(lines(&[], 0.0).is_empty() && lines(&[None], 0.0).is_empty());
    }
}
