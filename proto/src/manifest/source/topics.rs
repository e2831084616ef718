//! `subscribe = ["orders.>", { topic = "stock.*.low", operation = "reorder" }]` and `grants.publish = ["orders.created", "audit.>"]`.

use std::collections::BTreeSet;

use toml::{Spanned, Value};

use super::{Error, Text};
use crate::id::TopicPattern;
use crate::manifest::{ON_MESSAGE, Subscription, bound};

pub(super) fn subscriptions(
    at: &Text<'_>,
    field: &str,
    source: &[Spanned<Value>],
) -> Result<Vec<Subscription>, Error> {
    is_bounded(at, field, source)?;
    let mut subscriptions: Vec<Subscription> = Vec::with_capacity(source.len());
    for one in source {
        let subscription = read(one.get_ref()).map_err(|reason| at.error(field, one, reason))?;
        let topic = &subscription.topic;
        if let Some(Subscription { topic: other, .. }) =
            subscriptions.iter().find(|other| other.topic.meets(topic))
        {
            let reason = format!(
                "`{topic}` and `{other}` stand for the same topics, and an actor handles each message once; leave one of \
                 them out"
            );
            return Err(at.error(field, one, reason));
        }
        subscriptions.push(subscription);
    }
    Ok(subscriptions)
}

pub(super) fn patterns(
    at: &Text<'_>,
    field: &str,
    source: Option<&[Spanned<String>]>,
) -> Result<BTreeSet<TopicPattern>, Error> {
    let patterns = source.unwrap_or_default();
    is_bounded(at, field, patterns)?;
    patterns.iter().map(|pattern| at.parsed(field, pattern)).collect()
}

fn is_bounded<T>(at: &Text<'_>, field: &str, source: &[Spanned<T>]) -> Result<(), Error> {
    match source.get(bound::TOPICS) {
        Some(last) => Err(at.error(field, last, format!("expected at most {} of them", bound::TOPICS))),
        None => Ok(()),
    }
}

fn read(subscription: &Value) -> Result<Subscription, String> {
    const SHAPE: &str =
        "expected topics such as `\"orders.>\"`, or `{ topic = \"orders.>\", operation = \"on_message\" }`";
    let (topic, operation) = match subscription {
        Value::String(topic) => (topic.as_str(), ON_MESSAGE),
        Value::Table(fields) => {
            if let Some(other) = fields.keys().find(|name| !matches!(name.as_str(), "topic" | "operation")) {
                return Err(format!("unknown field `{other}`; {SHAPE}"));
            }
            let topic = fields.get("topic").and_then(Value::as_str).ok_or(SHAPE)?;
            let operation = fields.get("operation").map_or(Some(ON_MESSAGE), Value::as_str).ok_or(SHAPE)?;
            (topic, operation)
        }
        _ => return Err(SHAPE.to_owned()),
    };
    Ok(Subscription {
        topic: topic.parse().map_err(|error| format!("{error}"))?,
        operation: operation.parse().map_err(|error| format!("{error}"))?,
    })
}
