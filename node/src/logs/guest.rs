//! What one guest says: whose words they are, and in the course of which turn.

use std::sync::{Arc, Mutex, PoisonError};

use lattice_proto::envelope::TraceParent;
use lattice_proto::log::{Level, MAX_TEXT, cut, plain};
use lattice_proto::{ActorId, ActorName};

use super::Store;
use super::limit::{GUESTS, NODE};
use crate::telemetry::metrics::{self, Meter};

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
    meter: Arc<Meter>,
}

impl Speaker {
    /// Of a guest of this actor; without the grant what it says is lost.
    pub fn new(store: Store, actor: ActorId, version: u64, granted: bool, meter: Arc<Meter>) -> Self {
        Self { store, actor, version, granted, meter }
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
        self.meter.line();
        // Asked before it is made fit to be shown, so that a flood costs little.
        let length = text.len().min(MAX_TEXT);
        if !store.admits(&actor.name, length) {
            return;
        }
        let shown = shown(text);
        if let Some(more) = shown.len().checked_sub(length).filter(|more| *more > 0) {
            store.charge(&actor.name, more);
        }
        let module = plain(lattice_proto::log::cut(target, lattice_proto::log::MAX_TARGET / 8));
        let trace = trace.map(|trace| trace.to_string());
        let trace = trace.as_deref();
        match level {
            Level::Trace => {
                tracing::trace!(target: "guest", actor = name, key, version, module, trace, "{shown}")
            }
            Level::Debug => {
                tracing::debug!(target: "guest", actor = name, key, version, module, trace, "{shown}")
            }
            Level::Info => {
                tracing::info!(target: "guest", actor = name, key, version, module, trace, "{shown}")
            }
            Level::Warn => {
                tracing::warn!(target: "guest", actor = name, key, version, module, trace, "{shown}")
            }
            Level::Error => {
                tracing::error!(target: "guest", actor = name, key, version, module, trace, "{shown}")
            }
        }
    }
}

/// A guest's words as one bounded entry: escaped, cut, and with its further lines indented, so that none of them passes for a
/// line of the node's.
fn shown(text: &str) -> String {
    let plain = plain(cut(text, MAX_TEXT)).replace('\n', "\n    ");
    let cut = cut(&plain, MAX_TEXT);
    match cut.len() < plain.len() || text.len() > MAX_TEXT {
        true => format!("{cut} … (of {} bytes)", text.len()),
        false => plain,
    }
}

/// The target of what is said when something was left out.
pub(super) const LEFT_OUT: &str = "lattice_node::logs::left_out";

/// Says how much of an actor's log is missing.
pub(super) fn tell_dropped(actor: &ActorName, count: u64) {
    if let Some(meter) = metrics::known(actor) {
        meter.lines_dropped(count);
    }
    tracing::warn!(
        target: LEFT_OUT,
        actor = actor.as_str(),
        "{count} lines of its log were left out: on one node an actor may write {} lines and 1 MiB in a second, and the \
         node {} lines about it",
        GUESTS.lines,
        NODE.lines
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_bounded_when_they_are_escaped() {
        let bells = "\u{7}".repeat(MAX_TEXT);
        assert!(shown(&bells).len() < MAX_TEXT + 64);
        assert_eq!(shown("a\n2026 ERROR node: b"), "a\n    2026 ERROR node: b");
        assert!(shown(&"x".repeat(MAX_TEXT + 1)).ends_with("(of 16385 bytes)"));
    }
}
