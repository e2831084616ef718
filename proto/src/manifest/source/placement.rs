//! `placement = { … }`: where replicas run.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::Spanned;

use super::{Error, Text};
use crate::manifest::placement::{EACH_NODE, is_word};
use crate::manifest::{Label, Placement, bound};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    require: Option<Vec<Spanned<String>>>,
    prefer: Option<Vec<Spanned<String>>>,
    forbid: Option<Vec<Spanned<String>>>,
    spread: Option<Spanned<String>>,
    apart: Option<Vec<Spanned<String>>>,
}

pub(super) fn parse(at: &Text<'_>, field: &str, source: &Source) -> Result<Placement, Error> {
    let list = |name: &str, source: &Option<Vec<Spanned<String>>>| {
        let field = format!("{field}.{name}");
        let mut labels = BTreeSet::new();
        for label in source.iter().flatten() {
            labels.insert(at.parsed::<Label>(&field, label)?);
            if labels.len() > bound::LABELS {
                return Err(at.error(&field, label, format!("at most {} labels", bound::LABELS)));
            }
        }
        Ok(labels)
    };
    let require = list("require", &source.require)?;
    for label in source.require.iter().flatten() {
        let same = |other: &&Label| label.get_ref().split_once('=').is_some_and(|(key, _)| key == other.key);
        if require.iter().filter(same).count() > 1 {
            let message = "this key is required with two values; no node could fit";
            return Err(at.error(&format!("{field}.require"), label, message));
        }
    }
    let forbid = list("forbid", &source.forbid)?;
    for label in source.forbid.iter().flatten() {
        if require.iter().any(|required| required.to_string() == *label.get_ref()) {
            let message = "this label is required as well; no node could fit";
            return Err(at.error(&format!("{field}.forbid"), label, message));
        }
    }
    if let Some(key) = &source.spread
        && !is_word(key.get_ref())
    {
        let message = "expected the key of a label, such as `zone`, or `node`";
        return Err(at.error(&format!("{field}.spread"), key, message));
    }
    if let (Some(key), Some(prefer)) =
        (&source.spread, source.prefer.as_ref().and_then(|prefer| prefer.first()))
        && key.get_ref() == EACH_NODE
    {
        let message = "with `spread = \"node\"` every node that fits gets as many, and none can be preferred";
        return Err(at.error(&format!("{field}.prefer"), prefer, message));
    }
    if let Some(one) = source.apart.iter().flatten().nth(bound::LABELS) {
        return Err(at.error(&format!("{field}.apart"), one, format!("at most {} actors", bound::LABELS)));
    }
    let apart = source.apart.iter().flatten();
    let apart = apart.map(|name| at.parsed(&format!("{field}.apart"), name));
    Ok(Placement {
        require,
        prefer: list("prefer", &source.prefer)?,
        forbid,
        spread: source.spread.as_ref().map(|key| key.get_ref().clone()),
        apart: apart.collect::<Result<_, _>>()?,
    })
}
