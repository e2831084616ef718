//! The clocks, read at the edge only; whatever decides gets time as an argument.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since the machine started, through suspend as well. `Instant` stops while a Linux machine sleeps, so leases
/// must not be measured with it.
pub fn boottime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// This machine's wall clock, in milliseconds since 1970.
pub fn wall_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// The NATS server's time, as this node knows it: the one clock by which deadlines travel.
#[derive(Debug, Default)]
pub struct ServerClock {
    offset_ms: AtomicI64,
}

impl ServerClock {
    /// Takes a reading: the server stored something at `stored_ms` that was sent and acknowledged at these local times.
    pub fn learn(&self, sent_ms: i64, acknowledged_ms: i64, stored_ms: i64) {
        let middle = sent_ms + (acknowledged_ms - sent_ms) / 2;
        self.offset_ms.store(stored_ms - middle, Ordering::Relaxed);
    }

    /// Milliseconds since 1970 by the server's clock.
    pub fn now_ms(&self) -> i64 {
        wall_ms() + self.offset_ms.load(Ordering::Relaxed)
    }
}
