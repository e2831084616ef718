//! `replicas`: a number, `"each"`, or a table.

use toml::Spanned;

use super::{Error, Text};
use crate::manifest::{Millis, Range, Replicas, bound};

/// The fields of a table of replicas.
const RANGE: [&str; 6] = ["min", "max", "target_inflight", "target_wait", "up_after", "down_after"];

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
                let message = "unknown field; expected `min`, `max`, `target_inflight`, `target_wait`, `up_after` or \
                               `down_after`";
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
            let time = |name: &str| {
                let (field, value) = part(name);
                let time = value.map(|value| {
                    let time = value.as_str().and_then(|text| text.parse::<Millis>().ok());
                    time.filter(|time| time.0 <= bound::WINDOW).ok_or_else(|| {
                        at.error(
                            &field,
                            source,
                            "expected a time such as `250ms`, `30s` or `5m`, at most `1h`",
                        )
                    })
                });
                time.transpose()
            };
            let target_wait = time("target_wait")?;
            if target_wait == Some(Millis(0)) {
                return Err(at.error(&format!("{field}.target_wait"), source, "expected more than nothing"));
            }
            let up_after = time("up_after")?.unwrap_or_else(Range::up_after);
            let down_after = time("down_after")?.unwrap_or_else(Range::down_after);
            Ok(Replicas::Range(Range { min, max, target_inflight, target_wait, up_after, down_after }))
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
