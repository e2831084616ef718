//! What became of the turns of one version of an actor on this node, for whoever has to tell a good version from a bad one.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what ended instances saw. What runs is counted by the instances themselves.
#[derive(Debug, Default)]
pub struct Tally {
    crashes: AtomicU64,
    handled: AtomicU64,
    failed: AtomicU64,
}

/// A tally at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Instances that trapped or were given up, and replicas that could not be made again.
    pub crashes: u64,
    /// Turns that ended.
    pub handled: u64,
    /// Those of them that ended with their instance.
    pub failed: u64,
}

impl Tally {
    /// An instance has ended.
    pub fn ended(&self, answered: u64, failed: u64, trapped: bool) {
        self.handled.fetch_add(answered + failed, Ordering::Relaxed);
        self.failed.fetch_add(failed, Ordering::Relaxed);
        self.crashes.fetch_add(u64::from(trapped), Ordering::Relaxed);
    }

    /// A replica could not be started.
    pub fn did_not_start(&self) {
        self.crashes.fetch_add(1, Ordering::Relaxed);
    }

    /// So far.
    pub fn count(&self) -> Count {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Count { crashes: read(&self.crashes), handled: read(&self.handled), failed: read(&self.failed) }
    }
}
