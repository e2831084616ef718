//! Keys that have announced letters: each is woken, should it sleep, until its record holds no letters any more.

use std::sync::Mutex;

use lattice_proto::ActorId;
use lattice_proto::reminder::Due;

use super::queue::Queues;
use super::{Delivery, FIRST_PAUSE, LONGEST_PAUSE, lock};
use crate::keyed::backoff::Backoff;
use crate::replica::Cause;

impl Delivery {
    /// Sees to it that a key posts what it has sent, and then forgets that it was announced.
    pub(super) async fn flush(&self, actor: &ActorId, queues: &Mutex<Queues>) {
        loop {
            // Only what came before the key is looked at: it may announce more letters at any time.
            let receipts = {
                let mut locked = lock(queues);
                let receipts = locked.announced.get_mut(actor).map(std::mem::take).unwrap_or_default();
                if receipts.is_empty() {
                    locked.announced.remove(actor);
                    return;
                }
                receipts
            };
            self.wait_until_posted(actor).await;
            for receipt in receipts.into_values() {
                receipt.give().await;
            }
        }
    }

    /// Wakes a key, and waits until its record holds no letters.
    async fn wait_until_posted(&self, actor: &ActorId) {
        // No reminder is called so: whoever is asked for it claims the key once more before it says so.
        let probe = Due { id: String::new(), generation: 0, due_ms: 0 };
        let mut pause = Backoff::from(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let keys = self.local.get(&actor.name).and_then(|local| local.keys().cloned());
            if let Some(keys) = keys
                && let Some(activation) = keys.awake(actor)
                && activation.has_posted().await
                // Another owner may have announced the key since, of which nothing was heard here yet.
                && self.router.remind(actor, probe.message(actor), Cause::Show(probe.clone()), 1).await.is_ok()
            {
                return;
            }
            pause.wait().await;
        }
    }
}
