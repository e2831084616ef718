//! When calls are due: a thread that does nothing else, so that neither replies nor a busy runtime move the times.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// Times that were told and not yet taken. A runtime that is so far behind has lost the pace anyway; then the thread waits,
/// and the calls are late by that much, which is measured.
const AHEAD: usize = 100_000;

/// Tells each time at which a call is due, as it comes.
pub(super) fn begin(rate: f64, began: Instant, end: Instant) -> mpsc::Receiver<Instant> {
    let (tell, told) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        for due in times(rate, began).take_while(|due| *due < end) {
            let now = Instant::now();
            if due > now {
                std::thread::sleep(due - now);
            }
            if tell.blocking_send(due).is_err() {
                return;
            }
        }
    });
    told
}

/// The times themselves: each counted from the beginning, so that no error adds up.
fn times(rate: f64, began: Instant) -> impl Iterator<Item = Instant> {
    #[allow(clippy::cast_precision_loss, reason = "no run is so long that it shows")]
    (0_u64..).map(move |number| began + Duration::from_secs_f64(number as f64 / rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_the_rate() {
        let began = Instant::now();
        let all: Vec<Instant> = times(3.0, began).take(31).collect();
        assert_eq!(all[0], began);
        assert_eq!(all[30] - began, Duration::from_secs(10));
        assert_eq!(
            times(1_000.0, began).take_while(|due| *due < began + Duration::from_secs(2)).count(),
            2_000
        );
    }
}
