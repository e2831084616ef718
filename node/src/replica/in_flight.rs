//! The turns inside one instance: who waits for each, and what to do with those that never end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lattice_proto::Fault;
use lattice_proto::envelope::TraceParent;
use tokio::sync::Notify;

use super::GRACE;
use super::turn::{Answer, TurnContext, Waiting};

/// Shared by the instance, which enters and answers turns, and the watchdog, which looks at their deadlines.
#[derive(Default)]
pub struct InFlight {
    /// Held for a map operation only, by the instance's task and ten times a second by the watchdog.
    turns: Mutex<BTreeMap<u64, (Arc<TurnContext>, Waiting)>>,
    entered: AtomicU64,
    slots: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    retiring: AtomicBool,
    give_up: Notify,
}

impl InFlight {
    /// A turn enters the guest.
    pub fn enter(&self, context: Arc<TurnContext>, waiting: Waiting) -> u64 {
        self.entered.fetch_add(1, Ordering::Relaxed);
        let slot = self.slots.fetch_add(1, Ordering::Relaxed);
        self.turns().insert(slot, (context, waiting));
        slot
    }

    /// A turn was on its way into the guest, and does not come to it.
    pub fn refuse(&self, slot: u64, fault: Fault) {
        let turn = self.turns().remove(&slot);
        if let Some((_, waiting)) = turn {
            self.entered.fetch_sub(1, Ordering::Relaxed);
            waiting.answer(Err(fault));
        }
    }

    /// A turn begins that is looked after elsewhere; it is counted here only.
    pub fn begins(&self) {
        self.entered.fetch_add(1, Ordering::Relaxed);
    }

    /// Such a turn has ended: by an answer, or with its instance.
    pub fn ends(&self, answered: bool) {
        let count = if answered { &self.answered } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// The guest has answered.
    pub fn answer(&self, slot: u64, answer: Answer) {
        if let Some(waiting) = self.take(slot) {
            waiting.answer(answer);
        }
    }

    /// The guest has answered, and what it says is to be kept back for now.
    pub fn take(&self, slot: u64) -> Option<Waiting> {
        let turn = self.turns().remove(&slot);
        self.answered.fetch_add(1, Ordering::Relaxed);
        turn.map(|(context, mut waiting)| {
            context.own.finish();
            waiting.answered();
            waiting
        })
    }

    /// The guest trapped; each turn in it is told. Gives the trace of the turn, where it was in one only.
    pub fn trapped(&self, reason: &str, detail: &str) -> Option<TraceParent> {
        let trapped: Vec<Arc<TurnContext>> = {
            let mut turns = self.turns();
            turns.values_mut().for_each(|(_, waiting)| waiting.trapped(reason, detail));
            turns.values().map(|(context, _)| context.clone()).collect()
        };
        // What is told may wait for others, so that nothing is held meanwhile.
        trapped.iter().for_each(|context| context.own.finish());
        let only = trapped.first().filter(|_| trapped.len() == 1);
        only.and_then(|context| context.trace.as_ref()).map(|scope| scope.context.parent)
    }

    /// How many turns were answered by the guest itself.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// How many turns are in the guest.
    pub fn running(&self) -> u64 {
        let ended = self.answered() + self.failed();
        self.entered.load(Ordering::Relaxed).saturating_sub(ended)
    }

    /// How many turns ended with the instance.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// The instance is gone.
    pub fn fail_all(&self, fault: &Fault) {
        let turns = std::mem::take(&mut *self.turns());
        self.failed.fetch_add(turns.len() as u64, Ordering::Relaxed);
        for (_, waiting) in turns.into_values() {
            waiting.answer(Err(fault.clone()));
        }
    }

    /// Nothing that is in the instance counts any more.
    pub fn undo_all(&self) {
        let turns = std::mem::take(&mut *self.turns());
        for (context, waiting) in turns.into_values() {
            waiting.answer(Err(context.undone()));
        }
    }

    /// The instance is to take no more turns.
    pub fn retire(&self) {
        self.retiring.store(true, Ordering::Relaxed);
    }

    /// Whether the instance should take no more turns.
    pub fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::Relaxed)
    }

    /// Returns when the instance is to be dropped: nothing but turns that overran is in it.
    pub async fn given_up(&self) {
        loop {
            self.give_up.notified().await;
            // The turn that it was about may have ended since, and another may have begun.
            let (turns, now) = (self.turns(), Instant::now());
            if !turns.is_empty() && turns.values().all(|(context, _)| context.has_overrun(now, GRACE)) {
                return;
            }
        }
    }

    /// Whether all that is in it are turns that wait for what nobody answers any more.
    pub fn are_in_vain(&self) -> bool {
        let turns = self.turns();
        !turns.is_empty() && turns.values().all(|(context, _)| context.is_in_vain())
    }

    /// Gives the instance up when nothing but overrun turns is left in it, and retires it when some are.
    pub(crate) fn check(&self, now: Instant) {
        let turns = self.turns();
        let overrun = turns.values().filter(|(context, _)| context.has_overrun(now, GRACE)).count();
        if overrun == 0 {
            return;
        }
        self.retiring.store(true, Ordering::Relaxed);
        if overrun == turns.len() {
            self.give_up.notify_one();
        }
    }

    fn turns(&self) -> MutexGuard<'_, BTreeMap<u64, (Arc<TurnContext>, Waiting)>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
