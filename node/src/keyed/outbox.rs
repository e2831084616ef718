//! Posts the letters that commits of one key have sent: those for one receiver in their order, one after the other, so that
//! none overtakes another that its mailbox had no room for.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use lattice_proto::ActorId;
use lattice_proto::letter::Letter;
use lattice_proto::reminder::Due;
use lattice_proto::state::HORIZON;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::Letters;
use super::backoff::Backoff;
use crate::bus;

/// The longest pause before a mailbox that was full is tried again.
const LONGEST: Duration = Duration::from_secs(2);

#[allow(
    clippy::large_enum_variant,
    reason = "nearly all of them are the large one, and boxing it would cost each letter"
)]
enum Item {
    Letter(Letter),
    Reminder(Due),
}

/// What is sure to be there.
pub(super) enum Posted {
    /// The letter of this number.
    Letter(u64),
    /// The occurrence of this generation.
    Reminder(u64),
}

/// What one key sends. Dropped, it posts nothing more: what is left is posted by whoever claims the key next.
pub(super) struct Outbox {
    to_post: mpsc::UnboundedSender<Item>,
    posted: mpsc::UnboundedReceiver<Posted>,
    _task: AbortOnDropHandle<()>,
}

impl Outbox {
    /// An empty one. It holds what the record of the key holds, which is bounded: of each reminder the one that is being told
    /// to the server, and the last one.
    pub fn new(letters: Letters, actor: ActorId) -> Self {
        let (to_post, queue) = mpsc::unbounded_channel();
        let (done, posted) = mpsc::unbounded_channel();
        let task = AbortOnDropHandle::new(tokio::spawn(run(letters, actor, queue, done)));
        Self { to_post, posted, _task: task }
    }

    /// Has a letter posted that is committed.
    pub fn post(&self, letter: Letter) {
        // It runs for as long as this lives.
        let _ = self.to_post.send(Item::Letter(letter));
    }

    /// Has the server told when an occurrence is due that is committed.
    pub fn arm(&self, due: Due) {
        let _ = self.to_post.send(Item::Reminder(due));
    }

    /// What was posted next. Cancel safe.
    pub async fn posted(&mut self) -> Posted {
        match self.posted.recv().await {
            Some(posted) => posted,
            None => std::future::pending().await,
        }
    }
}

async fn run(
    letters: Letters,
    actor: ActorId,
    mut queue: mpsc::UnboundedReceiver<Item>,
    posted: mpsc::UnboundedSender<Posted>,
) {
    // By receiver: one is on its way, and these wait.
    let mut waiting: HashMap<ActorId, VecDeque<Letter>> = HashMap::new();
    // By id: one is being told to the server, and this one is next.
    let mut to_arm: HashMap<String, Option<Due>> = HashMap::new();
    let (mut on_their_way, mut being_armed) = (FuturesUnordered::new(), FuturesUnordered::new());
    loop {
        tokio::select! {
            item = queue.recv() => match item {
                None => return,
                Some(Item::Reminder(due)) => match to_arm.get_mut(&due.id) {
                    Some(next) => *next = Some(due),
                    None => {
                        to_arm.insert(due.id.clone(), None);
                        being_armed.push(arm(&letters, &actor, due));
                    }
                },
                Some(Item::Letter(letter)) => match waiting.get_mut(&letter.target) {
                    Some(queue) => queue.push_back(letter),
                    None => {
                        waiting.insert(letter.target.clone(), VecDeque::new());
                        on_their_way.push(post(&letters, letter));
                    }
                },
            },
            Some(letter) = on_their_way.next() => {
                let letter: Letter = letter;
                let _ = posted.send(Posted::Letter(letter.number.map_or(0, |number| number.number)));
                match waiting.get_mut(&letter.target).and_then(VecDeque::pop_front) {
                    Some(next) => on_their_way.push(post(&letters, next)),
                    None => drop(waiting.remove(&letter.target)),
                }
            }
            Some(due) = being_armed.next() => {
                let due: Due = due;
                let _ = posted.send(Posted::Reminder(due.generation));
                match to_arm.get_mut(&due.id).and_then(Option::take) {
                    Some(next) => being_armed.push(arm(&letters, &actor, next)),
                    None => drop(to_arm.remove(&due.id)),
                }
            }
        }
    }
}

/// Tells the server when an occurrence is due, however long it takes.
async fn arm(letters: &Letters, actor: &ActorId, due: Due) -> Due {
    let mut pause = Backoff::up_to(LONGEST);
    while !letters.arm(actor, &due).await {
        pause.wait().await;
    }
    due
}

/// Posts one letter, however long it takes; one that is too old is given up.
async fn post(letters: &Letters, letter: Letter) -> Letter {
    let mut pause = Backoff::up_to(LONGEST);
    // A receiver remembers senders for a certain time, within which a letter must not be posted for the last time.
    let too_old = u64::try_from(HORIZON.as_millis() / 2).unwrap_or(u64::MAX);
    let mut reason = "nobody was there to post it".to_owned();
    loop {
        let age = letters.now_ms().saturating_sub(letter.sent_ms);
        if age > too_old {
            let given_up = format!("it could not be posted for {} minutes: {reason}", age / 60_000);
            if letters.bury(&letter, given_up, 0).await.is_ok() {
                return letter;
            }
            pause.wait().await;
            continue;
        }
        reason = match letters.post(&letter).await {
            bus::Posted::Stored => return letter,
            bus::Posted::Full => "the mailbox had no room for it".to_owned(),
            bus::Posted::Unsent => "NATS could not be reached".to_owned(),
            bus::Posted::Unsure(reason) => reason,
        };
        pause.wait().await;
    }
}
