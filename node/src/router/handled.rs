//! Calls from other nodes that are being handled here: whom their answers go to, and what ends them early.
//!
//! An answer is posted on the thread of the guest that gave it. A task that waits for each answer would have to be woken,
//! often on another thread, and that costs more than all else on the way.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dashmap::{DashMap, Entry};
use lattice_proto::envelope::Reply;
use lattice_proto::{Fault, Incarnation, Ran};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::peer::Peer;
use crate::replica::{Answer, LocalActor, TurnContext};

type Key = (Incarnation, u64);

/// All of them.
#[derive(Default)]
pub(super) struct Handled {
    calls: Arc<Calls>,
}

/// By who asked and the number of the call. Bounded by the mailboxes, which took the calls.
#[derive(Default)]
struct Calls {
    map: DashMap<Key, (Arc<TurnContext>, Arc<Answering>)>,
    /// How many there are, since asking the map for it takes all of its locks.
    count: AtomicUsize,
}

/// What is held until a call is answered: its part of the room for payloads, and what keeps the node from ending.
type Held = (Option<OwnedSemaphorePermit>, TaskTrackerToken);

/// Whom one answer goes to.
pub(super) struct Answering {
    calls: Arc<Calls>,
    peer: Arc<Peer>,
    number: u64,
    local: Arc<LocalActor>,
    /// The guest's answer and the deadline may come at once, and only one is sent.
    answered: AtomicBool,
    /// Let go of by the answer: of one by HTTP the body may still be on its way.
    held: Mutex<Option<Held>>,
}

impl Handled {
    /// The way back for one call.
    pub fn answering(
        &self,
        peer: &Arc<Peer>,
        number: u64,
        local: Arc<LocalActor>,
        held: Held,
    ) -> Arc<Answering> {
        Arc::new(Answering {
            calls: self.calls.clone(),
            peer: peer.clone(),
            number,
            local,
            answered: AtomicBool::new(false),
            held: Mutex::new(Some(held)),
        })
    }

    /// Must come before the turn can be answered. False when a call of that number is there already.
    pub fn insert(&self, answering: Arc<Answering>, turn: Arc<TurnContext>) -> bool {
        match self.calls.map.entry(answering.key()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                self.calls.count.fetch_add(1, Ordering::Relaxed);
                vacant.insert((turn, answering));
                true
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.calls.count.load(Ordering::Relaxed) == 0
    }

    /// The caller gave up on these.
    pub fn cancel(&self, origin: &Incarnation, numbers: &[u64]) {
        for number in numbers {
            if let Some(turn) = self.calls.map.get(&(origin.clone(), *number)).map(|entry| entry.0.clone()) {
                turn.cancelled.cancel();
            }
        }
    }

    /// Answers those whose callers wait no more.
    pub fn expire(&self, now: Instant) {
        // Answering takes a call out of the map, which must not be held meanwhile.
        let overdue = self.calls.map.iter().filter(|entry| entry.value().0.deadline <= now);
        let overdue: Vec<_> = overdue.map(|entry| entry.value().clone()).collect();
        for (turn, answering) in overdue {
            answering.answer(Err(Fault::Deadline(turn.abandon())), false);
        }
    }
}

impl Answering {
    fn key(&self) -> Key {
        (self.peer.incarnation().clone(), self.number)
    }

    /// Nothing is posted: its number belongs to another call.
    pub fn disown(&self) {
        self.answered.store(true, Ordering::Release);
    }

    /// Posts the answer, and whether spans of the call are kept here, unless another was posted: then it is false.
    pub fn answer(&self, outcome: Answer, kept: bool) -> bool {
        if self.answered.swap(true, Ordering::AcqRel) {
            return false;
        }
        let own = |_: &Key, (_, known): &(Arc<TurnContext>, Arc<Answering>)| std::ptr::eq(&**known, self);
        if self.calls.map.remove_if(&self.key(), own).is_some() {
            self.calls.count.fetch_sub(1, Ordering::Relaxed);
        }
        let reply = |outcome| Reply { number: self.number, outcome, load: self.local.load(), kept }.encode();
        let mut entry = reply(outcome);
        if let Err((limit, size)) = self.peer.post.fits(&entry) {
            entry = reply(Err(Fault::TooLarge { limit, size, ran: Ran::Yes }));
        }
        self.peer.post.reply(entry);
        drop(self.held.lock().unwrap_or_else(PoisonError::into_inner).take());
        true
    }
}
