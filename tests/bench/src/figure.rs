//! One figure beside its floor, over several interleaved runs.

use comfy_table::{Table, presets};
use serde::Serialize;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What, in words.
    pub name: String,
    /// Of `lattice` and `floor`.
    pub unit: &'static str,
    /// One value a run.
    pub lattice: Vec<f64>,
    /// What could be had at least, one value a run.
    pub floor: Vec<f64>,
    /// What the floor is, in words.
    pub floor_is: &'static str,
    /// The bound for the ratio of the medians.
    pub bound: Option<Bound>,
}

/// What the ratio of Lattice to its floor must keep to.
#[derive(Debug, Clone, Copy, Serialize)]
pub enum Bound {
    /// Times and sizes.
    AtMost(f64),
    /// Throughputs.
    AtLeast(f64),
}

impl Figure {
    /// An empty one.
    pub fn new(
        name: impl Into<String>,
        unit: &'static str,
        floor_is: &'static str,
        bound: Option<Bound>,
    ) -> Self {
        Self { name: name.into(), unit, lattice: Vec::new(), floor: Vec::new(), floor_is, bound }
    }

    /// Lattice over floor, by their medians.
    pub fn ratio(&self) -> f64 {
        median(&self.lattice) / median(&self.floor)
    }

    fn verdict(&self) -> String {
        match self.bound {
            None => String::new(),
            Some(Bound::AtMost(bound)) => {
                format!("{} (<= {bound})", if self.ratio() <= bound { "met" } else { "MISSED" })
            }
            Some(Bound::AtLeast(bound)) => {
                format!("{} (>= {bound})", if self.ratio() >= bound { "met" } else { "MISSED" })
            }
        }
    }
}

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

fn spread(values: &[f64]) -> String {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.1} ({lowest:.1} to {highest:.1})", median(values))
}

/// All of them for people.
pub fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "figure",
        "unit",
        "Lattice: median (range)",
        "floor: median (range)",
        "ratio",
        "bound",
        "the floor is",
    ]);
    for figure in figures {
        table.add_row([
            figure.name.clone(),
            figure.unit.to_owned(),
            spread(&figure.lattice),
            spread(&figure.floor),
            format!("{:.2}", figure.ratio()),
            figure.verdict(),
            figure.floor_is.to_owned(),
        ]);
    }
    table
}
