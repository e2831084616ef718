//! What the guests of one actor use of this node: memory, and time of its processors.
//!
//! The time is estimated: every sixteenth run of a guest is measured and counts sixteen times. One that was still
//! computing when the epoch moved is measured for certain from then on, so that long turns are told exactly.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// One of so many runs is measured.
const ONE_IN: u8 = 16;

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

    fn computed(&self, time: Duration, times: u8) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_mul(times.into());
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// Measures how long a future runs.
pub(super) struct Metered<F> {
    future: F,
    used: Arc<super::Home>,
    /// Whether it was found computing for long.
    long: Arc<AtomicBool>,
}

/// Of a guest of this home, which says by `long` that it computes for long.
pub(super) fn metered<F: Future + Unpin>(
    future: F,
    home: Arc<super::Home>,
    long: Arc<AtomicBool>,
) -> Metered<F> {
    Metered { future, used: home, long }
}

impl<F: Future + Unpin> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        let times = match self.long.load(Ordering::Relaxed) {
            true => {
                self.long.store(false, Ordering::Relaxed);
                1
            }
            false if fastrand::u8(..) < u8::MAX / ONE_IN + 1 => ONE_IN,
            false => return Pin::new(&mut self.future).poll(task),
        };
        let began = Instant::now();
        let polled = Pin::new(&mut self.future).poll(task);
        self.used.used.computed(began.elapsed(), times);
        polled
    }
}
