//! `update = { … }`: how a new version takes the place of an old one.

use serde::Deserialize;
use toml::Spanned;

use super::{Error, Text};
use crate::manifest::{Millis, Percent, Share, Update, bound};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    surge: Option<Spanned<toml::Value>>,
    unavailable: Option<Spanned<toml::Value>>,
    observe: Option<Spanned<String>>,
    failures: Option<Spanned<String>>,
    pub(super) canary: Option<Spanned<String>>,
}

pub(super) fn parse(at: &Text<'_>, field: &str, source: &Source) -> Result<Update, Error> {
    let mut update = Update::default();
    let share = |name: &str, value: &Spanned<toml::Value>| {
        let count = value.get_ref().as_integer().and_then(|n| u32::try_from(n).ok());
        let count = count.filter(|n| *n <= bound::REPLICAS).map(Share::Count);
        let part = value.get_ref().as_str().and_then(|text| text.parse().ok()).map(Share::Part);
        count.or(part).ok_or_else(|| {
            at.error(
                &format!("{field}.{name}"),
                value,
                "expected a number of replicas, or a part such as `\"25%\"`",
            )
        })
    };
    if let Some(surge) = &source.surge {
        update.surge = share("surge", surge)?;
    }
    if let Some(unavailable) = &source.unavailable {
        update.unavailable = share("unavailable", unavailable)?;
    }
    if update.surge.is_zero() && update.unavailable.is_zero() {
        let message = "with neither `surge` nor `unavailable` no replica could ever be replaced";
        let place =
            source.surge.as_ref().or(source.unavailable.as_ref()).map_or(0, |place| place.span().start);
        return Err(at.error_at(&format!("{field}.surge"), place, message));
    }
    if let Some(observe) = &source.observe {
        let field = format!("{field}.observe");
        update.observe = at.parsed(&field, observe)?;
        if update.observe > Millis(3_600_000) {
            return Err(at.error(&field, observe, "expected at most 1h"));
        }
    }
    if let Some(failures) = &source.failures {
        update.failures = at.parsed(&format!("{field}.failures"), failures)?;
    }
    if let Some(canary) = &source.canary {
        let field = format!("{field}.canary");
        let share: Percent = at.parsed(&field, canary)?;
        if !(1..=99).contains(&share.0) {
            return Err(at.error(&field, canary, "expected `1%` to `99%`"));
        }
        update.canary = Some(share);
    }
    Ok(update)
}
