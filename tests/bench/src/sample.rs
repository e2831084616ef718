//! What is told by its worst cases and not by a floor: how often, half of them, ninety-nine of a hundred, the worst.

use comfy_table::{Table, presets};
use serde::Serialize;

/// One thing, measured again and again.
#[derive(Debug, Serialize)]
pub struct Sample {
    /// What, in words.
    pub name: String,
    /// Of `values` and `bound`.
    pub unit: &'static str,
    /// In the order in which they were measured.
    pub values: Vec<f64>,
    /// What ninety-nine of a hundred must keep to.
    pub bound: Option<f64>,
}

impl Sample {
    /// An empty one.
    pub fn new(name: impl Into<String>, unit: &'static str, bound: Option<f64>) -> Self {
        Self { name: name.into(), unit, values: Vec::new(), bound }
    }

    /// The smallest value that so many of all do not exceed, from 0.0 to 1.0. Of a few values that is the worst.
    pub fn quantile(&self, quantile: f64) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() as f64 * quantile).ceil() as usize;
        sorted.get(place.max(1) - 1).copied().unwrap_or(f64::NAN)
    }

    fn verdict(&self) -> String {
        match self.bound {
            None => String::new(),
            Some(bound) => {
                format!("{} (p99 <= {bound})", if self.quantile(0.99) <= bound { "met" } else { "MISSED" })
            }
        }
    }
}

/// All of them for people.
pub fn table(samples: &[Sample]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["figure", "unit", "times", "p50", "p99", "max", "bound"]);
    for sample in samples {
        let shown = |quantile| format!("{:.1}", sample.quantile(quantile));
        table.add_row([
            sample.name.clone(),
            sample.unit.to_owned(),
            sample.values.len().to_string(),
            shown(0.5),
            shown(0.99),
            shown(1.0),
            sample.verdict(),
        ]);
    }
    table
}
