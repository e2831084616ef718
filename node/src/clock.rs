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

/// What the wall clock of this machine is wrong by, in milliseconds: nothing, unless a test wants it so.
static SKEW_MS: AtomicI64 = AtomicI64::new(0);

/// Makes the wall clock wrong, for whoever reads it in this process.
pub fn skew(ms: i64) {
    SKEW_MS.store(ms, Ordering::Relaxed);
}

/// This machine's wall clock, in milliseconds since 1970.
pub fn wall_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX).saturating_add(SKEW_MS.load(Ordering::Relaxed))
}

/// The NATS server's time, as this node knows it: the one clock by which deadlines travel.
///
/// It is kept as an offset to the time since this machine started, so that no step of the wall clock moves a deadline.
#[derive(Debug, Default)]
pub struct ServerClock {
    offset_ms: AtomicI64,
}

impl ServerClock {
    /// Takes a reading: the server stored something at `stored_ms`, in milliseconds since 1970 by its own clock, that
    /// was sent and acknowledged at these times by [`boottime`].
    pub fn learn(&self, sent: Duration, acknowledged: Duration, stored_ms: i64) {
        let middle = sent + acknowledged.saturating_sub(sent) / 2;
        self.offset_ms.store(stored_ms - millis(middle), Ordering::Relaxed);
    }

    /// Milliseconds since 1970 by the server's clock.
    pub fn now_ms(&self) -> i64 {
        let offset = self.offset_ms.load(Ordering::Relaxed);
        // Before the first reading this machine's own wall clock has to do.
        if offset == 0 { wall_ms() } else { millis(boottime()) + offset }
    }

    /// The same after so long, as it travels.
    pub fn in_ms(&self, time: Duration) -> u64 {
        u64::try_from(self.now_ms().saturating_add(millis(time))).unwrap_or(0)
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
