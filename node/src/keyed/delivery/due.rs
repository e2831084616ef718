//! What is due of the reminders of one shard: told to its keys, many at once, since each is about one reminder only.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lattice_proto::letter::Letter;
use lattice_proto::reminder::Due;
use lattice_proto::shard::Shard;
use lattice_proto::{ActorId, Fault, MessageId};
use tokio::task::JoinSet;

use super::{Delivery, FIRST_PAUSE, LONGEST_PAUSE, MOVING, TRIES, Verdict, judge, lock};
use crate::bus::{Collected, Delivered, Error, Group};
use crate::keyed::backoff::Backoff;
use crate::replica::Cause;

impl Delivery {
    /// Reads what is due in one shard until a later owner does.
    pub(super) async fn read_due(self, shard: Shard, epoch: u64) {
        let group = Group {
            name: format!("d{shard}"),
            epoch,
            filters: vec![self.letters.subjects.shard_due_filter(shard)],
        };
        let mut reader = self.letters.bus.due.read(group);
        let handled = Arc::<Mutex<HashSet<u64>>>::default();
        // They end with this.
        let mut workers = JoinSet::new();
        loop {
            let delivered = match reader.next().await {
                Ok(Collected::Letter(delivered)) => delivered,
                Ok(Collected::Anew) => continue,
                Err(Error::Conflict) => return,
                Err(error) => {
                    tracing::warn!(%shard, %error, "what is due cannot be read");
                    continue;
                }
            };
            while workers.try_join_next().is_some() {}
            let Delivered { subject, payload, place, receipt, .. } = delivered;
            let actor = self.letters.subjects.parse_due(&subject).ok().filter(|(of, _)| *of == shard);
            let (Some((_, actor)), Ok(due)) = (actor, Due::decode(payload)) else {
                self.counters.malformed_records();
                tracing::error!(subject, "what is due cannot be read");
                continue;
            };
            // What comes again while it is being handled is the same.
            if !lock(&handled).insert(place.sequence) {
                continue;
            }
            let (this, handled) = (self.clone(), handled.clone());
            workers.spawn(async move {
                this.remind(&actor, due).await;
                receipt.give().await;
                lock(&handled).remove(&place.sequence);
            });
        }
    }

    /// Has a key handle what is due; or gives that up, and has it go on to what comes next.
    async fn remind(&self, actor: &ActorId, due: Due) {
        let id = due.message(actor);
        let (mut tried, mut pause) = (0, Backoff::from(FIRST_PAUSE, LONGEST_PAUSE));
        let mut moving = Backoff::up_to(MOVING);
        let mut given_up: Option<Fault> = None;
        loop {
            // Nobody closes it. It is held for one try at a time: what waits for a key that does not wake takes no room.
            let Ok(room) = self.room_for_due.acquire().await else { return };
            let outcome = match &given_up {
                None => self.router.remind(actor, id.clone(), Cause::Reminder(due.clone()), tried + 1).await,
                Some(fault) => self.skip(actor, &id, &due, fault, tried).await,
            };
            drop(room);
            let Err(fault) = outcome else { return };
            match judge(&fault) {
                Verdict::Later => {
                    moving.wait().await;
                    continue;
                }
                // Its app was deleted, and its keys are kept: it is told when the actor is there again.
                _ if matches!(fault, Fault::NoSuchActor(_)) => {}
                // A key that cannot even be told that is one that does not wake. What it wants is in its record still.
                _ if given_up.is_some() => {}
                Verdict::Again if tried + 1 < TRIES => tried += 1,
                Verdict::Again | Verdict::Never => {
                    tried += 1;
                    given_up = Some(fault);
                }
            }
            pause.wait().await;
        }
    }

    /// Keeps what a reminder would have told with the dead letters, and has its key go on.
    async fn skip(
        &self,
        actor: &ActorId,
        id: &MessageId,
        due: &Due,
        fault: &Fault,
        tried: u32,
    ) -> Result<Bytes, Fault> {
        let shown = self.router.remind(actor, id.clone(), Cause::Show(due.clone()), tried).await?;
        if let Ok(letter) = Letter::decode(shown) {
            let kept = self.letters.bury(&letter, fault.to_string(), tried).await;
            // It is tried again then, as what says nothing of the key.
            kept.map_err(|error| Fault::Overloaded(format!("the dead letters ({error})")))?;
        }
        self.router.remind(actor, id.clone(), Cause::Skip(due.clone()), tried).await
    }
}
