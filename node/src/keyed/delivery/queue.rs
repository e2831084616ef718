//! The letters of one shard: in a queue for each key, the first of which is tried, while the others wait.
//!
//! A letter that waits is known by its place and is read once more when its turn comes. Where there is room its payload is
//! kept meanwhile, but not with a key that cannot handle what is first: whatever is the matter with it, it must take
//! nothing that other keys need.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lattice_proto::letter::{Letter, Place, Stamp};
use lattice_proto::shard::Shard;
use lattice_proto::subject::Mail;
use lattice_proto::{ActorId, ActorName, Fault, MessageId};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::{Delivery, FIRST_PAUSE, LONGEST_PAUSE, MOVING, ROOM, TRIES, Verdict, judge, lock};
use crate::bus::{Collected, Delivered, Error, Group, Receipt};
use crate::keyed::backoff::Backoff;

/// How much of a reason is kept in a record, in characters.
const MAX_REASON: usize = 256;

/// Letters of one key that are kept in memory before their turn.
const AHEAD: usize = 64;

/// What is here of the mail of one shard, by key.
#[derive(Default)]
pub(super) struct Queues {
    /// Each has a task that works on it.
    letters: HashMap<ActorId, Queue>,
    /// Keys that have announced letters, with the last receipt of each word that says so; each key has a task that looks
    /// after it.
    pub announced: HashMap<ActorId, BTreeMap<u64, Receipt>>,
}

/// The letters of one key, in the order of the mailbox.
#[derive(Default)]
struct Queue {
    letters: VecDeque<Queued>,
    /// Whether the first is being tried again: nothing is kept in memory meanwhile.
    is_stuck: bool,
}

struct Queued {
    id: MessageId,
    place: Place,
    /// In bytes, with all that is in it.
    size: usize,
    /// Of its last delivery: earlier ones are worth nothing.
    receipt: Receipt,
    held: Option<Held>,
}

/// A letter in memory, with the room that it takes.
struct Held {
    letter: Letter,
    _room: OwnedSemaphorePermit,
}

impl Delivery {
    /// Reads the mail of one shard until a later owner does.
    pub(super) async fn read(self, shard: Shard, epoch: u64) {
        let filters = self.letters.subjects.shard_mail_filters(shard).into();
        let group = Group { name: format!("s{shard}"), epoch, filters };
        let mut reader = self.letters.bus.mail[usize::from(shard.partition())].read(group);
        let queues = Arc::<Mutex<Queues>>::default();
        // They end with this.
        let mut workers = JoinSet::new();
        loop {
            match reader.next().await {
                Ok(Collected::Letter(delivered)) => self.take(shard, delivered, &queues, &mut workers).await,
                Ok(Collected::Anew) => {}
                Err(Error::Conflict) => {
                    tracing::debug!(%shard, epoch, "a later owner reads these mailboxes");
                    return;
                }
                Err(error) => tracing::warn!(%shard, %error, "mailboxes cannot be read"),
            }
            while workers.try_join_next().is_some() {}
        }
    }

    /// Puts a letter into the queue of its key.
    async fn take(
        &self,
        shard: Shard,
        delivered: Delivered,
        queues: &Arc<Mutex<Queues>>,
        workers: &mut JoinSet<()>,
    ) {
        let Delivered { subject, payload, place, receipt, .. } = delivered;
        let (mail, actor) = match self.letters.subjects.parse_mail(&subject) {
            Ok((mail, of, actor)) if of == shard => (mail, actor),
            _ => {
                // Nobody who may write there writes such a thing. It stays where it is.
                self.counters.malformed_subjects();
                tracing::error!(subject, "a subject in a mail stream cannot be read");
                return;
            }
        };
        if mail == Mail::Outbox {
            let mut locked = lock(queues);
            if let Some(known) = locked.announced.get_mut(&actor) {
                known.insert(place.sequence, receipt);
                return;
            }
            locked.announced.insert(actor.clone(), BTreeMap::from([(place.sequence, receipt)]));
            drop(locked);
            let (this, queues) = (self.clone(), queues.clone());
            workers.spawn(async move { this.flush(&actor, &queues).await });
            return;
        }
        let letter = match read(payload.clone(), &actor) {
            Ok(letter) => letter,
            Err(reason) => {
                tracing::error!(subject, reason, "a letter cannot be read; it is kept with the dead letters");
                self.bury_garbage(&actor.name, shard, place, payload, &receipt).await;
                return;
            }
        };
        let mut locked = lock(queues);
        let Some(queue) = locked.letters.get_mut(&actor) else {
            let mut queue = Queue::default();
            queue.put(self, letter, payload.len(), place, receipt);
            locked.letters.insert(actor.clone(), queue);
            drop(locked);
            let (this, queues) = (self.clone(), queues.clone());
            workers.spawn(async move { this.work(shard, &actor, &queues).await });
            return;
        };
        // What was not acknowledged for long comes again.
        match queue.letters.iter_mut().find(|known| known.place == place) {
            Some(known) => known.receipt = receipt,
            None => queue.put(self, letter, payload.len(), place, receipt),
        }
    }

    /// Delivers the letters of one key, one after the other, until none is left.
    async fn work(&self, shard: Shard, actor: &ActorId, queues: &Mutex<Queues>) {
        let mut tries = TRIES;
        loop {
            let first = {
                let mut locked = lock(queues);
                let queue = locked.letters.get_mut(actor).map(|queue| &mut queue.letters);
                let first = queue.and_then(VecDeque::front_mut);
                let first = first.map(|first| (first.id.clone(), first.place, first.size, first.held.take()));
                if first.is_none() {
                    locked.letters.remove(actor);
                }
                first
            };
            let Some((id, place, size, held)) = first else { return };
            let waiting = Waiting { shard, actor, id: &id, place, size };
            let handled = self.handle(waiting, held, queues, tries).await;
            tries = if handled == Handled::GivenUp { 1 } else { TRIES };
            let done = lock(queues).letters.get_mut(actor).and_then(|queue| {
                queue.is_stuck = false;
                queue.letters.pop_front()
            });
            // The receipt of one that is not there any more may be that of another letter by now.
            if let Some(done) = done.filter(|_| handled != Handled::Gone) {
                done.receipt.give().await;
            }
        }
    }

    /// Delivers one letter, or gives it up.
    async fn handle(
        &self,
        waiting: Waiting<'_>,
        mut held: Option<Held>,
        queues: &Mutex<Queues>,
        tries: u32,
    ) -> Handled {
        let (mut tried, mut pause) = (0, Backoff::from(FIRST_PAUSE, LONGEST_PAUSE));
        let mut moving = Backoff::up_to(MOVING);
        let (mut given_up, mut is_told): (Option<Fault>, bool) = (None, false);
        loop {
            let first = match held.take() {
                Some(first) => first,
                None => {
                    // Nobody waits for room who has some.
                    stick(queues, waiting.actor);
                    match self.read_again(&waiting).await {
                        Some(first) => first,
                        None => return Handled::Gone,
                    }
                }
            };
            let letter = &first.letter;
            let stamp = letter.stamp(waiting.place);
            if given_up.is_none() {
                let Err(fault) = self.router.deliver(letter, stamp, tried + 1).await else {
                    return Handled::Done;
                };
                let verdict = judge(&fault);
                tried += u32::from(verdict != Verdict::Later);
                if verdict == Verdict::Never || tried >= tries {
                    given_up = Some(fault);
                } else {
                    drop(first);
                    stick(queues, waiting.actor);
                    match verdict {
                        Verdict::Later => self.settled(&mut moving).await,
                        _ => pause.wait().await,
                    }
                    continue;
                }
            }
            let Some(fault) = &given_up else { continue };
            is_told = is_told || self.no_effect(letter, stamp, fault).await;
            if is_told {
                match self.letters.bury(letter, fault.to_string(), tried).await {
                    Ok(()) => {
                        let of_letter = judge(fault) == Verdict::Never
                            || matches!(fault, Fault::Rejected(_) | Fault::Trapped(_));
                        return if of_letter { Handled::Done } else { Handled::GivenUp };
                    }
                    Err(error) => {
                        tracing::warn!(%error, letter = %letter.id, "a letter that was given up is not kept yet");
                    }
                }
            }
            drop(first);
            stick(queues, waiting.actor);
            if is_told { pause.wait().await } else { self.settled(&mut moving).await }
        }
    }

    /// Waits until a key may be here again that is on its way, or whose owner may not act: with the last case hundreds of keys
    /// wait at once, and ask nobody for anything meanwhile.
    async fn settled(&self, moving: &mut Backoff) {
        moving.wait().await;
        if self.keyed.owners.open().is_none() {
            self.keyed.owners.opened().await;
        }
    }

    /// Reads a letter that waits, as soon as there is room for it; none when it is not there any more.
    async fn read_again(&self, waiting: &Waiting<'_>) -> Option<Held> {
        let &Waiting { shard, actor, id, place, size } = waiting;
        let mail = &self.letters.bus.mail[usize::from(shard.partition())];
        let mut pause = Backoff::from(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            // Nobody closes it.
            let room = self.room.clone().acquire_many_owned(units(size)).await.ok()?;
            match mail.at(place).await {
                Ok(payload) => {
                    // It was read before, so it is a letter; a stream that was made anew holds others in its place.
                    let letter = read(payload?, actor).ok().filter(|letter| letter.id == *id)?;
                    return Some(Held { letter, _room: room });
                }
                Err(error) => {
                    drop(room);
                    tracing::debug!(%error, %actor, letter = %id, "a letter cannot be read yet");
                    pause.wait().await;
                    // The only error is a connection that is closed for good, and the node with it.
                    let _ = self.letters.bus.calls.link().wait_for(|link| link.up).await;
                }
            }
        }
    }

    /// Has a key know that a letter will have no effect, before it lies with the dead letters: it comes again perhaps, and
    /// must not be both. A key that cannot be told so cannot handle the letter either. False when it is to be told again.
    async fn no_effect(&self, letter: &Letter, stamp: Stamp, fault: &Fault) -> bool {
        let reason: String = fault.to_string().chars().take(MAX_REASON).collect();
        let told = self.router.give_up(letter, stamp, reason).await;
        told.is_ok() || told.is_err_and(|fault| judge(&fault) != Verdict::Later)
    }

    /// Keeps what cannot be read as a letter with the dead ones. Where that fails it comes again.
    async fn bury_garbage(
        &self,
        actor: &ActorName,
        shard: Shard,
        place: Place,
        payload: Bytes,
        receipt: &Receipt,
    ) {
        self.counters.malformed_records();
        let id = format!("garbage-{}-{}", shard.partition(), place.sequence);
        if let Ok(id) = id.parse()
            && self.letters.bury_garbage(actor, &id, payload).await.is_ok()
        {
            receipt.give().await;
        }
    }
}

/// The letter that is tried.
struct Waiting<'a> {
    shard: Shard,
    actor: &'a ActorId,
    id: &'a MessageId,
    place: Place,
    size: usize,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handled {
    /// It had its effect, or was given up for what it is.
    Done,
    /// It was given up for what its key is.
    GivenUp,
    /// It is not there any more.
    Gone,
}

/// Lets nothing of a key stay in memory that waits for its first letter.
fn stick(queues: &Mutex<Queues>, actor: &ActorId) {
    if let Some(queue) = lock(queues).letters.get_mut(actor) {
        queue.is_stuck = true;
        queue.letters.iter_mut().for_each(|queued| queued.held = None);
    }
}

impl Queue {
    fn put(&mut self, delivery: &Delivery, letter: Letter, size: usize, place: Place, receipt: Receipt) {
        let room = (!self.is_stuck && self.letters.len() < AHEAD)
            .then(|| delivery.room.clone().try_acquire_many_owned(units(size)).ok());
        let id = letter.id.clone();
        let held = room.flatten().map(|room| Held { letter, _room: room });
        self.letters.push_back(Queued { id, place, size, receipt, held });
    }
}

/// What a letter of so many bytes takes of the room.
fn units(size: usize) -> u32 {
    u32::try_from(size / 1_024 + 1).unwrap_or(u32::MAX).min(ROOM as u32)
}

/// A letter for this key; or why it is none.
fn read(payload: Bytes, actor: &ActorId) -> Result<Letter, String> {
    let letter = Letter::decode(payload).map_err(|error| error.to_string())?;
    if letter.target == *actor { Ok(letter) } else { Err("it is for somebody else".to_owned()) }
}
