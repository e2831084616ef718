//! What is measured of one actor on this node, ready to be written to.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use lattice_proto::{ActorName, Fault, Operation};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram};

use super::{INSTRUMENTS, OPERATIONS, Used};
use crate::telemetry::attribute;

/// Stands for operations that are not told apart.
const OTHER: &str = "_other";

/// By actor. One that was deleted stays: a name costs little, and comes back more often than not.
static METERS: LazyLock<DashMap<ActorName, Arc<Meter>>> = LazyLock::new(DashMap::new);

/// The measures of an actor, if something was measured of it before.
pub fn known(actor: &ActorName) -> Option<Arc<Meter>> {
    METERS.get(actor).map(|meter| meter.clone())
}

/// The measures of an actor that is deployed. Of one that is not, nothing is to be measured by its name.
pub fn meter(actor: &ActorName) -> Arc<Meter> {
    if let Some(meter) = METERS.get(actor) {
        return meter.clone();
    }
    METERS.entry(actor.clone()).or_insert_with(|| Arc::new(Meter::new(actor.clone()))).clone()
}

/// The measures of one actor.
#[derive(Debug)]
pub struct Meter {
    actor: ActorName,
    /// Read by every call and written when an operation is new, so readers must not wait for each other.
    operations: RwLock<HashMap<Operation, Arc<Measures>>>,
    other: Arc<Measures>,
    lines: BoundCounter<u64>,
    lines_dropped: BoundCounter<u64>,
    /// What all of its guests on this node use, whatever their version.
    pub used: Used,
}

/// The measures of one operation, bound to its names.
#[derive(Debug)]
struct Measures {
    attributes: [KeyValue; 2],
    /// By kind of fault, each from the first time on. Read by each failure, and hardly ever written.
    failures: RwLock<HashMap<&'static str, BoundCounter<u64>>>,
    called: BoundHistogram<f64>,
    handled: BoundHistogram<f64>,
    queued: BoundHistogram<f64>,
    committed: BoundHistogram<f64>,
}

impl Measures {
    fn new(actor: &ActorName, operation: &str) -> Self {
        let attributes = [
            KeyValue::new(attribute::ACTOR, actor.to_string()),
            KeyValue::new(attribute::RPC_METHOD, operation.to_owned()),
        ];
        Self {
            called: INSTRUMENTS.called.bind(&attributes),
            handled: INSTRUMENTS.handled.bind(&attributes),
            queued: INSTRUMENTS.queued.bind(&attributes),
            committed: INSTRUMENTS.committed.bind(&attributes),
            failures: RwLock::default(),
            attributes,
        }
    }

    fn failed(&self, kind: &'static str) {
        let known = self.failures.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = known.get(kind) {
            return counter.add(1);
        }
        drop(known);
        let [actor, operation] = self.attributes.clone();
        let attributes = [actor, operation, KeyValue::new(attribute::ERROR_TYPE, kind)];
        let mut known = self.failures.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(kind).or_insert_with(|| INSTRUMENTS.failures.bind(&attributes)).add(1);
    }
}

/// What became of a turn, and when.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    /// It came to the mailbox.
    pub came: Instant,
    /// The guest was entered; none where it never was.
    pub begun: Option<Instant>,
    /// The guest answered, where that had to be committed.
    pub answered: Option<Instant>,
    /// Its caller got what came of it.
    pub ended: Instant,
    /// It was of no use any more when it left the mailbox.
    pub late: bool,
}

impl Meter {
    fn new(actor: ActorName) -> Self {
        let other = Arc::new(Measures::new(&actor, OTHER));
        // Counted from nothing on, so that the first time shows as a change.
        let attributes = [KeyValue::new(attribute::ACTOR, actor.to_string())];
        for counter in [&INSTRUMENTS.traps, &INSTRUMENTS.restarts, &INSTRUMENTS.refused] {
            counter.add(0, &attributes);
        }
        let lines = INSTRUMENTS.log_lines.bind(&attributes);
        let lines_dropped = INSTRUMENTS.log_lines_dropped.bind(&attributes);
        lines.add(0);
        lines_dropped.add(0);
        Self { actor, operations: RwLock::default(), other, lines, lines_dropped, used: Used::default() }
    }

    /// A turn has ended. Kept apart, so that what metrics cost can be told from what tracing does.
    #[inline(never)]
    pub fn ended(&self, operation: &Operation, moments: Moments, fault: Option<&Fault>) {
        let Moments { came, begun, answered, ended, late } = moments;
        let Some(begun) = begun else {
            // One that was refused came to nobody's mailbox, or to one that was full.
            if late {
                let known = self.operations.read().unwrap_or_else(PoisonError::into_inner);
                let measures = known.get(operation).unwrap_or(&self.other);
                measures.queued.record(ended.saturating_duration_since(came).as_secs_f64());
            }
            return;
        };
        self.with(operation, fault, |measures| {
            measures.handled.record(ended.saturating_duration_since(came).as_secs_f64());
            measures.queued.record(begun.saturating_duration_since(came).as_secs_f64());
            if let Some(answered) = answered {
                measures.committed.record(ended.saturating_duration_since(answered).as_secs_f64());
            }
        });
    }

    /// A guest wrote a line.
    pub fn line(&self) {
        self.lines.add(1);
    }

    /// So many lines were left out.
    pub fn lines_dropped(&self, count: u64) {
        self.lines_dropped.add(count);
    }

    /// An attempt at another node was answered. Kept apart as [`Self::ended`] is.
    #[inline(never)]
    pub fn called(&self, operation: &Operation, took: Duration, fault: Option<&Fault>) {
        self.with(operation, fault, |measures| measures.called.record(took.as_secs_f64()));
    }

    /// A call has failed, wherever that was.
    pub fn failed(&self, operation: &Operation, fault: &Fault) {
        let known = self.operations.read().unwrap_or_else(PoisonError::into_inner);
        known.get(operation).unwrap_or(&self.other).failed(fault.kind());
    }

    fn with(&self, operation: &Operation, fault: Option<&Fault>, write: impl FnOnce(&Measures)) {
        let known = self.operations.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(measures) = known.get(operation) {
            return write(measures);
        }
        let full = known.len() >= OPERATIONS;
        drop(known);
        // Whoever asks for what is not there must not fill the list with names of his own.
        let answered = match fault {
            None => true,
            Some(fault) => matches!(fault, Fault::Rejected(_) | Fault::Trapped(_)),
        };
        if full || !answered {
            return write(&self.other);
        }
        let mut known = self.operations.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= OPERATIONS {
            return write(&self.other);
        }
        let new = || Arc::new(Measures::new(&self.actor, operation.as_str()));
        write(known.entry(operation.clone()).or_insert_with(new));
    }
}
