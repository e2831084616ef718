//! How much one actor may write on one node. Pure, with time as an argument.

use std::time::Instant;

/// Lines in a second, on average, and at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub lines: f64,
    pub burst: f64,
}

/// What an actor's guests may write.
pub(super) const GUESTS: Rate = Rate { lines: 500.0, burst: 2_000.0 };

/// What the node may write about an actor, as backtraces of keys that trap one after the other.
pub(super) const NODE: Rate = Rate { lines: 20.0, burst: 200.0 };

/// Bytes in a second, on average, and at once.
const BYTES: f64 = 1_048_576.0;

/// What one actor has left.
#[derive(Debug)]
pub(super) struct Limit {
    rate: Rate,
    lines: f64,
    bytes: f64,
    at: Instant,
    dropped: u64,
}

impl Limit {
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, lines: rate.burst, bytes: BYTES, at: now, dropped: 0 }
    }

    /// Whether a line of so many bytes may be written.
    pub fn admits(&mut self, bytes: usize, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.lines = (self.lines + since * self.rate.lines).min(self.rate.burst);
        self.bytes = (self.bytes + since * BYTES).min(BYTES);
        #[allow(clippy::cast_precision_loss, reason = "a line is some kilobytes at most")]
        let bytes = bytes as f64;
        if self.lines < 1.0 || self.bytes < bytes {
            self.dropped += 1;
            return false;
        }
        self.lines -= 1.0;
        self.bytes -= bytes;
        true
    }

    /// A line that was admitted turned out to have so many bytes more, which those after it go without.
    pub fn charge(&mut self, bytes: usize) {
        #[allow(clippy::cast_precision_loss, reason = "a line is some kilobytes at most")]
        let bytes = bytes as f64;
        self.bytes -= bytes;
    }

    /// How many were dropped since that was asked last.
    pub fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let now = Instant::now();
        let mut limit = Limit::new(GUESTS, now);
        let passed = (0..5_000).filter(|_| limit.admits(10, now)).count();
        assert_eq!(passed, 2_000);
        assert_eq!((limit.dropped(), limit.dropped()), (3_000, 0));
        let later = now + Duration::from_secs(1);
        let passed = (0..5_000).filter(|_| limit.admits(10, later)).count();
        assert_eq!(passed, 500, "a second's worth");
    }

    #[test]
    fn long_lines_count_by_their_bytes() {
        let now = Instant::now();
        let mut limit = Limit::new(GUESTS, now);
        let passed = (0..1_000).filter(|_| limit.admits(16 << 10, now)).count();
        assert_eq!(passed, 64);
        limit.charge(1 << 20);
        assert!(!limit.admits(1, now + Duration::from_secs(1)), "what was charged is made up for first");
        assert!(limit.admits(1, now + Duration::from_secs(2)));
    }
}
