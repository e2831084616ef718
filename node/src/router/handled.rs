//! Calls from other nodes that are being handled here: whom their answers go to, and what ends them early.
//!
//! An answer is posted on the thread of the guest that gave it. A task that waits for each answer would have to be woken,
//! often on another thread, and that costs more than all else on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use dashmap::DashMap;
use lattice_proto::envelope::Reply;
use lattice_proto::{Fault, Incarnation, Ran};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::peer::Peer;
use crate::replica::{Answer, LocalActor, TurnContext};

type Key = (Incarnation, u64);

/// By who asked and the number of the call. Bounded by the mailboxes, which took the calls.
type Calls = DashMap<Key, (Arc<TurnContext>, Arc<Answering>)>;

/// All of them.
#[derive(Default)]
pub(super) struct Handled {
    calls: Arc<Calls>,
}

/// Whom one answer goes to.
pub(super) struct Answering {
    calls: Arc<Calls>,
    peer: Arc<Peer>,
    number: u64,
    local: Arc<LocalActor>,
    /// The guest's answer and the deadline may come at once, and only one is sent.
    answered: AtomicBool,
    /// The node does not end before it is sent.
    _unanswered: TaskTrackerToken,
}

impl Handled {
    /// The way back for one call.
    pub fn answering(
        &self,
        peer: &Arc<Peer>,
        number: u64,
        local: Arc<LocalActor>,
        unanswered: TaskTrackerToken,
    ) -> Arc<Answering> {
        Arc::new(Answering {
            calls: self.calls.clone(),
            peer: peer.clone(),
            number,
            local,
            answered: AtomicBool::new(false),
            _unanswered: unanswered,
        })
    }

    /// Must come before the turn can be answered.
    pub fn insert(&self, answering: Arc<Answering>, turn: Arc<TurnContext>) {
        self.calls.insert(answering.key(), (turn, answering));
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The caller gave up on these.
    pub fn cancel(&self, origin: &Incarnation, numbers: &[u64]) {
        for number in numbers {
            if let Some((_, (turn, _))) = self.calls.remove(&(origin.clone(), *number)) {
                turn.cancelled.cancel();
            }
        }
    }

    /// Answers those whose callers wait no more.
    pub fn expire(&self, now: Instant) {
        // Answering takes a call out of the map, which must not be held meanwhile.
        let overdue = self.calls.iter().filter(|entry| entry.value().0.deadline <= now);
        let overdue: Vec<_> = overdue.map(|entry| entry.value().clone()).collect();
        for (turn, answering) in overdue {
            answering.answer(Err(Fault::Deadline(turn.abandon())));
        }
    }
}

impl Answering {
    fn key(&self) -> Key {
        (self.peer.incarnation().clone(), self.number)
    }

    /// Posts the answer, unless another was posted.
    pub fn answer(&self, outcome: Answer) {
        if self.answered.swap(true, Ordering::AcqRel) {
            return;
        }
        self.calls.remove(&self.key());
        let reply = |outcome| Reply { number: self.number, outcome, load: self.local.load() }.encode();
        let mut entry = reply(outcome);
        if let Err((limit, size)) = self.peer.post.fits(&entry) {
            entry = reply(Err(Fault::TooLarge { limit, size, ran: Ran::Yes }));
        }
        self.peer.post.reply(entry);
    }
}
