//! Until when this node may act as the owner of anything: for as long as its lease surely runs.
//!
//! Whoever acts looks here first. No task closes it in time: a process that was stopped and goes on finds it closed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::RENEW;
use crate::clock::boottime;

/// What is taken off a lease, since no two clocks run at quite the same rate.
const MARGIN: Duration = Duration::from_millis(100);

/// A cheap handle. It is closed before the node has a lease.
#[derive(Clone, Default)]
pub struct Fence(Arc<watch::Sender<Held>>);

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// By `CLOCK_BOOTTIME`.
    until: Duration,
    /// How often it was closed before.
    lapses: u64,
    /// Since when it is open, and was renewed in time, by `CLOCK_BOOTTIME`.
    since: Duration,
    /// When it was renewed last, by the same clock.
    renewed: Duration,
}

impl Fence {
    /// The lease is held until `expires`, by `CLOCK_BOOTTIME`.
    pub fn hold(&self, expires: Duration) {
        let now = boottime();
        self.0.send_modify(|held| {
            // Whoever acted before must find out what became of the rest meanwhile.
            let late = now.saturating_sub(held.renewed) > RENEW * 2;
            if late || now >= held.until {
                held.since = now;
            }
            held.lapses += u64::from(now >= held.until);
            held.renewed = now;
            held.until = held.until.max(expires.saturating_sub(MARGIN));
        });
    }

    /// The lease is given back, or somebody else's.
    pub fn close(&self) {
        self.0.send_modify(|held| held.until = Duration::ZERO);
    }

    /// How often it was closed before, if it is open now.
    pub fn open(&self) -> Option<u64> {
        let held = *self.0.borrow();
        (boottime() < held.until).then_some(held.lapses)
    }

    /// For how long it is open and was renewed in time; nothing when it is closed. Others' leases may have ended where this
    /// one was late.
    pub fn unbroken(&self) -> Duration {
        let (held, now) = (*self.0.borrow(), boottime());
        if now < held.until { now.saturating_sub(held.since) } else { Duration::ZERO }
    }

    /// Until when it is open, if it is now, by `CLOCK_BOOTTIME`.
    pub fn until(&self) -> Option<Duration> {
        let until = self.0.borrow().until;
        (boottime() < until).then_some(until)
    }

    /// Waits until it is open and was closed more often than so many times before; gives how often.
    pub async fn opened_after(&self, lapses: u64) -> u64 {
        let open = |held: &Held| boottime() < held.until && held.lapses > lapses;
        // The sender lives as long as this handle.
        self.0.subscribe().wait_for(open).await.map_or(lapses, |held| held.lapses)
    }

    /// Waits until it is open.
    pub async fn opened(&self) {
        // The sender lives as long as this handle.
        let _ = self.0.subscribe().wait_for(|held| boottime() < held.until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_closed_before_the_lease_can_have_run_out_and_tells_that_it_was() {
        let fence = Fence::default();
        assert_eq!(fence.open(), None);
        fence.hold(boottime() + Duration::from_secs(60));
        assert_eq!(fence.open(), Some(1));
        assert!(fence.until().is_some_and(|until| until < boottime() + Duration::from_secs(60)));
        fence.hold(boottime() + Duration::from_secs(90));
        assert_eq!(fence.open(), Some(1), "it was not closed between");
        let unbroken = fence.unbroken();
        assert!(unbroken <= fence.unbroken(), "it goes on");
        fence.close();
        assert_eq!((fence.open(), fence.until(), fence.unbroken()), (None, None, Duration::ZERO));
        fence.hold(boottime() + MARGIN / 2);
        assert_eq!(
            fence.open(),
            None,
            "so short a lease may have run out by the time that somebody acts on it"
        );
        fence.hold(boottime() + Duration::from_secs(60));
        assert_eq!(fence.open(), Some(3));
    }
}
