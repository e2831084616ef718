//! Pauses between tries, each twice as long as the one before up to a bound, with jitter.

use std::time::Duration;

/// The pauses of one thing that is tried.
pub(super) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(5);

    /// Beginning with a few milliseconds.
    pub fn up_to(longest: Duration) -> Self {
        Self::from(Self::FIRST, longest)
    }

    /// Beginning with `first`.
    pub fn from(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// The next pause.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        self.next = (self.next * 2).min(self.longest);
    }
}
