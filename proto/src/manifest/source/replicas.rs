//! `replicas`: a number, `"each"`, or a table.

use toml::Spanned;

use super::{Error, Text};
use crate::manifest::{Range, Replicas, bound};

/// The fields of a table of replicas.
const RANGE: [&str; 3] = ["min", "max", "target_inflight"];

pub(super) fn parse(at: &Text<'_>, field: &str, source: &Spanned<toml::Value>) -> Result<Replicas, Error> {
    let number = |field: &str, value: &toml::Value, lowest: u32, highest: u32| {
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
        number
            .filter(|number| (lowest..=highest).contains(number))
            .ok_or_else(|| at.error(field, source, format!("expected a number from {lowest} to {highest}")))
    };
    match source.get_ref() {
        toml::Value::String(word) if word == "each" => Ok(Replicas::EACH),
        toml::Value::Table(table) => {
            let part = |name: &str| (format!("{field}.{name}"), table.get(name));
            if let Some(unknown) = table.keys().find(|key| !RANGE.contains(&key.as_str())) {
                let message = "unknown field; expected `min`, `max` and `target_inflight`";
                return Err(at.error(&format!("{field}.{unknown}"), source, message));
            }
            let needed = |name: &str, lowest, highest| match part(name) {
                (field, Some(value)) => number(&field, value, lowest, highest),
                (field, None) => Err(at.error(&field, source, "missing")),
            };
            let min = match part("min") {
                (field, Some(value)) => number(&field, value, 0, bound::REPLICAS)?,
                (_, None) => 1,
            };
            let max = needed("max", 1, bound::REPLICAS)?;
            let target_inflight = needed("target_inflight", 1, bound::INFLIGHT)?;
            if min > max {
                return Err(at.error(&format!("{field}.min"), source, "more than `max`"));
            }
            let _ = Range { min, max, target_inflight };
            Err(at.error(
                field,
                source,
                "autoscaling is not served by this version of Lattice; give a number",
            ))
        }
        toml::Value::Integer(_) => number(field, source.get_ref(), 0, bound::REPLICAS).map(Replicas::Count),
        _ => {
            let highest = bound::REPLICAS;
            let message = format!(
                "expected a number from 0 to {highest}, `\"each\"`, or `{{ min = 0, max = 20, target_inflight = 8 }}`"
            );
            Err(at.error(field, source, message))
        }
    }
}
