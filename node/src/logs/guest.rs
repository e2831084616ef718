//! What one guest says: whose words they are, and in the course of which turn.

use std::sync::{Arc, Mutex, PoisonError};

use lattice_proto::ActorId;
use lattice_proto::envelope::TraceParent;
use lattice_proto::log::{Level, MAX_TEXT, cut, plain};

use super::Store;
use crate::telemetry::metrics;

/// The turn that a guest is in, for what it prints: that does not say which of its turns prints it.
#[derive(Debug, Clone, Default)]
pub struct Speaking(Arc<Mutex<Option<TraceParent>>>);

impl Speaking {
    /// It is in this turn alone; or in none, or in several.
    pub fn set(&self, turn: Option<TraceParent>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }

    /// The turn that it is in.
    pub fn turn(&self) -> Option<TraceParent> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One guest's way to the log.
#[derive(Clone)]
pub struct Speaker {
    store: Store,
    actor: ActorId,
    version: u64,
    granted: bool,
}

impl Speaker {
    /// Of a guest of this actor; without the grant what it says is lost.
    pub fn new(store: Store, actor: ActorId, version: u64, granted: bool) -> Self {
        Self { store, actor, version, granted }
    }

    /// Whether anybody hears it.
    pub fn is_heard(&self) -> bool {
        self.granted
    }

    /// Says one line, unless there were too many.
    pub fn say(&self, level: Level, target: &str, text: &str, trace: Option<TraceParent>) {
        if !self.granted {
            return;
        }
        let Self { store, actor, version, .. } = self;
        let (name, key) = (actor.name.as_str(), actor.key.as_deref());
        metrics::log_line(name);
        let (admitted, dropped) = store.admits(&actor.name, text.len().min(MAX_TEXT));
        if let Some(count) = dropped {
            tell_dropped(name, count);
        }
        if !admitted {
            return;
        }
        let cut = cut(text, MAX_TEXT);
        let left_out = text.len() - cut.len();
        let mut text = plain(cut);
        if left_out > 0 {
            text.push_str(&format!(" … ({left_out} more bytes)"));
        }
        let module = plain(lattice_proto::log::cut(target, lattice_proto::log::MAX_TARGET / 8));
        let trace = trace.map(|trace| trace.to_string());
        let trace = trace.as_deref();
        match level {
            Level::Trace => {
                tracing::trace!(target: "guest", actor = name, key, version, module, trace, "{text}")
            }
            Level::Debug => {
                tracing::debug!(target: "guest", actor = name, key, version, module, trace, "{text}")
            }
            Level::Info => {
                tracing::info!(target: "guest", actor = name, key, version, module, trace, "{text}")
            }
            Level::Warn => {
                tracing::warn!(target: "guest", actor = name, key, version, module, trace, "{text}")
            }
            Level::Error => {
                tracing::error!(target: "guest", actor = name, key, version, module, trace, "{text}")
            }
        }
    }
}

/// Says how much of an actor's words is missing.
pub(super) fn tell_dropped(actor: &str, count: u64) {
    metrics::log_lines_dropped(actor, count);
    tracing::warn!(
        actor,
        "{count} lines of its log were left out: on one node an actor may write {} lines and 1 MiB in a second",
        super::limit::LINES
    );
}
