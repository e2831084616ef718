//! Waiting for a condition, never for time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::process::POLL;
use crate::say;

/// Looks again and again until the observation is the wanted one; returns how long that took. Fails the test after
/// `bound` with the last value that was seen.
pub async fn wait_until<T: Debug>(
    what: &str,
    bound: Duration,
    observe: impl AsyncFnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> Duration {
    let start = Instant::now();
    wait_for(what, bound, observe, wanted).await;
    start.elapsed()
}

/// The same; returns what was seen then.
pub async fn wait_for<T: Debug>(
    what: &str,
    bound: Duration,
    mut observe: impl AsyncFnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let start = Instant::now();
    loop {
        // An observation that hangs must not outlast the bound either.
        let left = bound.saturating_sub(start.elapsed()) + Duration::from_secs(5);
        let seen = tokio::time::timeout(left, observe()).await;
        let Ok(seen) = seen else { panic!("{what}: could not even be observed within {bound:?}") };
        if wanted(&seen) {
            return seen;
        }
        assert!(start.elapsed() < bound, "{what}: not within {bound:?}; last seen: {seen:#?}");
        tokio::time::sleep(POLL).await;
    }
}

/// Prints what was measured beside the bound that the contract states, and fails only at three times the bound:
/// benchmarks judge the bound itself, tests run on busy machines.
pub fn judge(what: &str, measured: Duration, bound: Duration) {
    say(&format!("measured: {what}: {measured:.1?} (bound {bound:?})"));
    assert!(measured <= bound * 3, "{what} took {measured:?}, over three times the bound of {bound:?}");
}
