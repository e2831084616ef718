//! Who calls whom, counted where the caller runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use dashmap::DashMap;
use lattice_proto::{ActorName, Fault};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::telemetry::attribute;

/// Actors that one caller's calls are told apart by. What an actor may call stands in its manifest; from outside come more.
const MOST: usize = 1_000;

/// By caller; none for those that are no actors.
static ALL: LazyLock<DashMap<Option<ActorName>, Arc<Edges>>> = LazyLock::new(DashMap::new);

/// The calls of one caller.
#[derive(Debug, Default)]
pub struct Edges(RwLock<HashMap<ActorName, Arc<Count>>>);

#[derive(Debug, Default)]
struct Count {
    calls: AtomicU64,
    failed: AtomicU64,
}

/// The calls of this caller; none for those that are no actors.
pub fn edges(caller: Option<&ActorName>) -> Arc<Edges> {
    let caller = caller.cloned();
    if let Some(known) = ALL.get(&caller) {
        return known.clone();
    }
    ALL.entry(caller).or_default().clone()
}

impl Edges {
    /// One call has ended. What an actor answers of itself is no failure of it.
    pub fn count(&self, actor: &ActorName, fault: Option<&Fault>) {
        let failed = fault.is_some_and(|fault| !matches!(fault, Fault::Rejected(_)));
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = known.get(actor) {
            return count.one(failed);
        }
        // Names are made up by whoever asks from outside.
        if known.len() >= MOST || super::known(actor).is_none() {
            return;
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(actor.clone()).or_default().one(failed);
    }
}

impl Count {
    fn one(&self, failed: bool) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
    }
}

/// Has them looked up whenever somebody reads.
pub(super) fn observe(source: &Meter) {
    type Part = fn(&Count) -> &AtomicU64;
    let parts: [(&'static str, &'static str, Part); 2] = [
        ("lattice.actor.calls", "Calls to an actor by who made them, where they were made", |count| {
            &count.calls
        }),
        ("lattice.actor.calls.failed", "Those of them that ended in a fault, less rejections", |count| {
            &count.failed
        }),
    ];
    for (name, what, part) in parts {
        let counter = source.u64_observable_counter(name).with_unit("{call}").with_description(what);
        counter
            .with_callback(move |to| {
                for entry in ALL.iter() {
                    let caller = entry.key().as_ref().map_or("", ActorName::as_str).to_owned();
                    let called = entry.value().0.read().unwrap_or_else(PoisonError::into_inner);
                    for (actor, count) in called.iter() {
                        let attributes = [
                            KeyValue::new(attribute::CALLER, caller.clone()),
                            KeyValue::new(attribute::ACTOR, actor.to_string()),
                        ];
                        to.observe(part(count).load(Ordering::Relaxed), &attributes);
                    }
                }
            })
            .build();
    }
}
