//! The leader's lease, renewed in a task of its own: a plan that takes long to write must not cost the office.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::clock;
use crate::membership::{Keeper, RENEW, Renewal};

/// The leader's lease, being renewed.
pub(super) struct Held {
    /// Until when it surely holds, by `CLOCK_BOOTTIME`; zero once it is lost.
    expires: watch::Receiver<Duration>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Held {
    pub(super) fn start(mut keeper: Keeper) -> Self {
        let (sender, expires) = watch::channel(keeper.expires());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut renew = tokio::time::interval(RENEW);
            renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = renew.tick() => {}
                    () = stopped.cancelled() => return keeper.release().await,
                }
                match keeper.renew().await {
                    Renewal::Lost(_) => {
                        sender.send_replace(Duration::ZERO);
                        return;
                    }
                    Renewal::Kept | Renewal::KeptBefore | Renewal::Retaken | Renewal::Unclear => {
                        sender.send_replace(keeper.expires());
                    }
                }
            }
        });
        Self { expires, stop, task: AbortOnDropHandle::new(task) }
    }

    pub(super) fn is_valid(&self) -> bool {
        clock::boottime() < *self.expires.borrow()
    }

    /// Gives the lease back.
    pub(super) async fn release(self) {
        self.stop.cancel();
        // It ends by itself; an error means that it has ended already.
        let _ = self.task.await;
    }
}
