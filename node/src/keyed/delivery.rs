//! Reads the mailboxes of the shards that this node owns, and delivers what is in them: one letter of a key after the other,
//! in the order of the mailbox, while other keys go on beside it.
//!
//! ```text
//! mail stream ─▶ reader of a shard ─▶ queue of a key ─▶ turn ── committed ─▶ acknowledged
//!                                          │ failed ─▶ again, after a pause ─▶ too often ─▶ dead letters
//!                                          ▼
//!                            the next letter waits for this one
//! ```
//!
//! Rules:
//! 1. A letter is acknowledged when its effect is committed, or it lies with the dead letters; never before.
//! 2. What fails because of where it is handled, as when a key moves, is tried again for as long as it takes. What fails
//!    because of what it is, or of what the key is, is tried [`TRIES`] times.
//! 3. A letter holds memory of the node while it is tried, never while its key is not able to handle it.
//! 4. A key whose letter was given up is not trusted with as many tries of the next one, until one succeeds: a thousand
//!    letters for a key that cannot wake must not hold up the shard.

mod announced;
mod due;
mod queue;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lattice_proto::shard::Shard;
use lattice_proto::{Fault, Ran};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::Letters;
use super::keys::Keyed;
use crate::engine::GIVEN_UP;
use crate::replica::Local;
use crate::router::Router;
use crate::telemetry::Counters;

/// How often a letter is tried that fails because of what it is.
pub(super) const TRIES: u32 = 8;

/// The pauses between these tries: 6 to 13 seconds together.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The longest pause while a key is on its way from one node to another.
const MOVING: Duration = Duration::from_millis(500);

/// What is due that one node handles at once.
const DUE: usize = 1_024;

/// What letters may hold of this node's memory, in KiB: those that are tried, and some that wait for their turn.
const ROOM: usize = 128 << 10;

/// What delivers letters. A cheap handle.
#[derive(Clone)]
pub struct Delivery {
    keyed: Keyed,
    local: Local,
    router: Router,
    letters: Letters,
    counters: Counters,
    room: Arc<Semaphore>,
    /// For what is due: letters must not hold it up.
    room_for_due: Arc<Semaphore>,
}

/// What a fault says of trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It says nothing of the letter.
    Later,
    /// It may do better another time.
    Again,
    /// It never will.
    Never,
}

impl Delivery {
    /// For the keys that are awake on this node.
    pub fn new(keyed: Keyed, local: Local, router: Router, letters: Letters, counters: Counters) -> Self {
        Self {
            keyed,
            local,
            router,
            letters,
            counters,
            room: Arc::new(Semaphore::new(ROOM)),
            room_for_due: Arc::new(Semaphore::new(DUE)),
        }
    }

    /// Reads the mailboxes of whatever shards this node owns, for as long as it runs.
    pub async fn run(self) {
        let mut table = self.keyed.owners.follow();
        let mut readers: BTreeMap<Shard, (u64, AbortOnDropHandle<()>)> = BTreeMap::new();
        loop {
            let count = table.borrow_and_update().shards.count();
            let kept = |shard| self.keyed.owners.kept(shard).map(|epoch| (shard, epoch));
            let mine: BTreeMap<Shard, u64> = (0..count).map(Shard).filter_map(kept).collect();
            readers.retain(|shard, (epoch, _)| mine.get(shard) == Some(epoch));
            for (shard, epoch) in mine {
                readers.entry(shard).or_insert_with(|| {
                    let (letters, due) =
                        (self.clone().read(shard, epoch), self.clone().read_due(shard, epoch));
                    let both = async {
                        tokio::join!(letters, due);
                    };
                    (epoch, AbortOnDropHandle::new(tokio::spawn(both)))
                });
            }
            if table.changed().await.is_err() {
                return;
            }
        }
    }
}

pub(super) fn judge(fault: &Fault) -> Verdict {
    match fault {
        Fault::NotHere { .. } | Fault::Overloaded(_) | Fault::Cancelled(_) | Fault::Unknown(_) => {
            Verdict::Later
        }
        Fault::Deadline(Ran::No) => Verdict::Later,
        // It was given up before, and perhaps not kept.
        Fault::Rejected(rejection) if rejection.code == GIVEN_UP => Verdict::Never,
        Fault::Deadline(_)
        | Fault::NoReplica(_)
        | Fault::NoSuchActor(_)
        | Fault::Trapped(_)
        | Fault::Rejected(_) => Verdict::Again,
        Fault::NoSuchOperation(_)
        | Fault::Malformed(_)
        | Fault::TooLarge { .. }
        | Fault::Denied(_)
        | Fault::Deadlock(_) => Verdict::Never,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
