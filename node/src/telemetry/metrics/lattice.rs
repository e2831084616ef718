//! What the leader sees of the whole lattice. A node that does not lead says nothing of it, so that nothing is told twice.

use std::sync::{Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::telemetry::attribute;

/// As this node saw it last; none while it does not lead. Held to read all of it.
static SEEN: Mutex<Option<Lattice>> = Mutex::new(None);

/// The lattice at one moment.
#[derive(Debug, Clone, Default)]
pub struct Lattice {
    /// Each actor with the replicas that are wanted and those that take messages.
    pub actors: Vec<(String, u32, u32)>,
    /// How many nodes are in each state.
    pub nodes: Vec<(&'static str, u64)>,
}

/// What is measured of the lattice for as long as this lives.
pub struct Leading;

impl Drop for Leading {
    fn drop(&mut self) {
        *SEEN.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The leader sees this.
pub fn lattice(seen: Lattice) {
    *SEEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
}

/// Reads what this node saw last; nothing while it does not lead.
fn seen(read: impl FnOnce(&Lattice)) {
    if let Some(seen) = &*SEEN.lock().unwrap_or_else(PoisonError::into_inner) {
        read(seen);
    }
}

/// Has it looked up whenever somebody reads.
pub(super) fn observe(source: &Meter) {
    type Part = fn(&(String, u32, u32)) -> u32;
    let parts: [(&'static str, &'static str, Part); 2] = [
        ("lattice.spec.replicas", "Replicas that are wanted in the lattice, as its leader says", |actor| {
            actor.1
        }),
        (
            "lattice.status.replicas",
            "Replicas in the lattice that take messages, as its leader says",
            |actor| actor.2,
        ),
    ];
    for (name, what, part) in parts {
        let gauge = source.u64_observable_gauge(name).with_unit("{replica}").with_description(what);
        gauge
            .with_callback(move |to| {
                seen(|seen| {
                    for actor in &seen.actors {
                        to.observe(part(actor).into(), &[KeyValue::new(attribute::ACTOR, actor.0.clone())]);
                    }
                });
            })
            .build();
    }
    source
        .u64_observable_gauge("lattice.nodes")
        .with_unit("{node}")
        .with_description("Nodes of the lattice by their state, as its leader says")
        .with_callback(|to| {
            seen(|seen| {
                for (state, count) in &seen.nodes {
                    to.observe(*count, &[KeyValue::new("lattice.node.state", *state)]);
                }
            });
        })
        .build();
}
