//! What the guests of one actor use of this node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What all guests of one actor use together.
#[derive(Debug, Default)]
pub struct Used {
    /// Linear memory, in bytes.
    pub memory: Arc<AtomicU64>,
    nanos: AtomicU64,
}

impl Used {
    /// The time that they computed so far.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// One of them computed for so long; it stands for so many runs.
    pub fn computed(&self, time: Duration, times: u8) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_mul(times.into());
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}
