//! Measures the time that guests compute.
//!
//! The time is estimated: every sixteenth run of a guest is measured and counts sixteen times. One that was still
//! computing when the epoch moved is measured for certain from then on, so that long turns are told exactly.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use super::Home;

/// One of so many runs is measured.
const ONE_IN: u8 = 16;

/// Measures how long a future runs.
pub(super) struct Metered<F> {
    future: F,
    home: Arc<Home>,
    /// Whether it was found computing for long.
    long: Arc<AtomicBool>,
}

/// Of a guest of this home, which says by `long` that it computes for long.
pub(super) fn metered<F: Future + Unpin>(future: F, home: Arc<Home>, long: Arc<AtomicBool>) -> Metered<F> {
    Metered { future, home, long }
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
        self.home.meter.used.computed(began.elapsed(), times);
        polled
    }
}
