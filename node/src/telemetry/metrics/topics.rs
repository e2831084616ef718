//! What is measured of topics: what actors publish and handle, and for a leader what waits for them. A node that does not lead
//! says nothing of the latter, so that nothing is told twice.

use std::sync::{Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::INSTRUMENTS;
use crate::telemetry::attribute;

/// As this node saw them last; none while it does not lead. Held to read all of them.
static SEEN: Mutex<Option<Vec<Backlog>>> = Mutex::new(None);

/// What waits for one subscription.
#[derive(Debug, Clone)]
pub struct Backlog {
    /// Who subscribes.
    pub actor: String,
    /// The pattern.
    pub topics: String,
    /// Messages that nobody has taken yet.
    pub pending: u64,
    /// Messages that are being handled, or are to come again.
    pub in_hand: u64,
}

/// What waits is measured for as long as this lives.
pub struct Subscriptions;

impl Drop for Subscriptions {
    fn drop(&mut self) {
        *SEEN.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// This node looks after subscriptions from now on.
pub fn subscriptions() -> Subscriptions {
    Subscriptions
}

/// The leader sees this.
pub fn backlogs(seen: Vec<Backlog>) {
    *SEEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
}

/// An actor published a message; empty where it was none.
pub fn published(actor: &str) {
    INSTRUMENTS.published.add(1, &[KeyValue::new(attribute::ACTOR, actor.to_owned())]);
}

/// A message was taken for an actor that subscribes, and this is what became of it.
pub fn heard(actor: &str, outcome: &'static str) {
    let actor = KeyValue::new(attribute::ACTOR, actor.to_owned());
    INSTRUMENTS.heard.add(1, &[actor, KeyValue::new(attribute::OUTCOME, outcome)]);
}

/// Has what waits looked up whenever somebody reads.
pub(super) fn observe(source: &Meter) {
    type Part = fn(&Backlog) -> u64;
    let parts: [(&'static str, &'static str, Part); 2] = [
        (
            "lattice.topic.pending",
            "Messages of topics that wait for a subscription, as the leader says",
            |seen| seen.pending,
        ),
        (
            "lattice.topic.in_hand",
            "Messages of topics that are being handled or are to come again, as the leader says",
            |seen| seen.in_hand,
        ),
    ];
    for (name, what, part) in parts {
        let gauge = source.u64_observable_gauge(name).with_unit("{message}").with_description(what);
        gauge
            .with_callback(move |to| {
                for seen in SEEN.lock().unwrap_or_else(PoisonError::into_inner).iter().flatten() {
                    let actor = KeyValue::new(attribute::ACTOR, seen.actor.clone());
                    to.observe(part(seen), &[actor, KeyValue::new(attribute::TOPIC, seen.topics.clone())]);
                }
            })
            .build();
    }
}
