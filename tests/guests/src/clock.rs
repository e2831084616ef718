//! Waiting. In the Wasm build through WASI 0.3, whose clock can be awaited, so that other turns of the instance go on;
//! natively by blocking, because no unit test waits.

use std::time::Duration;

/// Waits so long.
#[cfg(target_family = "wasm")]
pub async fn wait(time: Duration) {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    wasip3::clocks::monotonic_clock::wait_for(nanoseconds).await;
}

/// Waits so long.
#[cfg(not(target_family = "wasm"))]
pub async fn wait(time: Duration) {
    std::thread::sleep(time);
}
