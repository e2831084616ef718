//! The output gate of one activation: commits what turns made, in their order, and lets answers and letters go when all that
//! their turns saw is committed.
//!
//! While one commit is on its way turns go on, and the next commit holds what all of them made: a hot key is not bound to
//! one round trip for each turn.
//!
//! Letters, and reminders of which the server was not told yet, are in the record from the commit of their turn until they
//! were posted, and a commit later they are taken out of it. So that somebody looks after them should this node be lost, the
//! key is announced before the first such commit: a word in its mail stream, which is taken out when the record has no
//! letters any more.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lattice_proto::letter::{Letter, Number, Origin};
use lattice_proto::reminder::{MAX_REMINDERS, Reminder};
use lattice_proto::state::State;
use lattice_proto::{ActorId, Fault};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::known::Books;
use super::outbox::{Outbox, Posted as Sent};
use super::store::{Claimed, Lost};
use super::{Letters, Tenure, agenda};
use crate::bus::Posted;
use crate::engine::{Done, Ended};
use crate::replica::{Answer, Cause, Outgoing, TurnContext, Waiting};
use crate::telemetry::Span;

/// How long letters that were posted stay in the record, if nothing else is committed.
const SETTLE: Duration = Duration::from_millis(100);

/// How long a key that goes to sleep waits for its letters to be posted.
const LINGER: Duration = Duration::from_secs(1);

/// The longest pause before a key is announced once more.
const ANNOUNCE: Duration = Duration::from_millis(250);

/// What a committer is made of.
pub(super) struct Parts {
    pub actor: ActorId,
    pub tenure: Tenure,
    pub claimed: Claimed,
    pub letters: Letters,
    pub books: Books,
    /// Counts the turns with effects that are committed.
    pub committed: watch::Sender<u64>,
    /// Whether the record holds no letters, and none is about to be put there.
    pub posted: watch::Sender<bool>,
}

/// An answer that is kept back.
struct Kept {
    /// How many turns with effects must be committed before it may go.
    needs: u64,
    /// What its turn began with, if it says what was, and changed nothing.
    read: Option<u64>,
    waiting: Waiting,
    answer: Answer,
    context: Arc<TurnContext>,
}

/// What commits for one key.
pub(super) struct Committer {
    parts: Parts,
    outbox: Outbox,
    /// Turns with effects so far.
    made: u64,
    kept: VecDeque<Kept>,
    /// Whether somebody is told of what the record has to be posted.
    announced: bool,
    /// Letters of the record that were posted, and reminders that were armed; and when the last of them was.
    posted: HashSet<u64>,
    armed: HashSet<u64>,
    since: Instant,
}

impl Committer {
    /// For a key that was just claimed. Says at once what is committed.
    pub fn new(parts: Parts) -> Self {
        let record = parts.claimed.record();
        let outbox = Outbox::new(parts.letters.clone(), parts.actor.clone());
        for letter in &record.outbox {
            parts.books.backlog.add_letter(letter.payload.len());
            outbox.post(letter.clone());
        }
        for reminder in &record.reminders {
            parts.books.backlog.add_reminder(reminder.payload.len());
            if !reminder.armed {
                outbox.arm(reminder.due());
            }
        }
        // Whoever put them there has announced the key before.
        let announced = has_to_post(record);
        parts.posted.send_replace(!announced);
        parts.books.update(record);
        Self {
            parts,
            outbox,
            made: 0,
            kept: VecDeque::new(),
            announced,
            posted: HashSet::new(),
            armed: HashSet::new(),
            since: Instant::now(),
        }
    }

    /// Commits until no more turns come, or the key belongs to another owner.
    ///
    /// Everything that came has been answered when it returns, with the key as it was left.
    pub async fn run(mut self, mut done: mpsc::Receiver<Done>) -> Result<Claimed, Lost> {
        let outcome = self.serve(&mut done).await;
        if let Err(lost) = &outcome {
            let actor = &self.parts.actor;
            tracing::info!(%actor, ?lost, "another owner has this key; what was not committed is undone");
            done.close();
            while let Ok(Done::Turn(ended)) = done.try_recv() {
                self.keep(ended, &mut None);
            }
            self.release();
            for Kept { waiting, context, .. } in self.kept {
                waiting.answer(Err(undone(&context, lost)));
            }
        }
        outcome.map(|()| self.parts.claimed)
    }

    async fn serve(&mut self, done: &mut mpsc::Receiver<Done>) -> Result<(), Lost> {
        loop {
            let settle = self.is_posted().then_some(self.since + SETTLE);
            let first = tokio::select! {
                first = done.recv() => first,
                sent = self.outbox.posted() => {
                    self.sent(sent);
                    continue;
                }
                () = at(settle) => {
                    self.settle().await?;
                    continue;
                }
            };
            let Some(first) = first else { break };
            let (mut next, mut change, mut confirm) = (Some(first), None, None);
            while let Some(one) = next.take() {
                match one {
                    Done::Turn(ended) => {
                        self.keep(ended, &mut change);
                        next = done.try_recv().ok();
                    }
                    // No turn begins until it is answered, so nothing follows.
                    Done::Confirm(answer, reminder) => confirm = Some((answer, reminder)),
                }
            }
            if let Some(change) = change {
                self.commit(change).await?;
            }
            if confirm.is_some() {
                // That a commit is stored says nothing of what another owner has written on top of it.
                self.parts.claimed.confirm().await?;
            }
            self.release();
            if let Some((answer, reminder)) = confirm {
                let known = self.parts.claimed.record().reminders.iter();
                let told = known.filter(|known| Some(&known.id) == reminder.as_ref());
                told.for_each(|known| self.outbox.arm(known.due()));
                // A guest that has ended does not ask any more.
                let _ = answer.send(());
            }
        }
        // Whoever comes next posts what is left.
        let deadline = Instant::now() + LINGER;
        while has_to_post(self.parts.claimed.record()) && !self.is_posted() {
            match tokio::time::timeout_at(deadline, self.outbox.posted()).await {
                Ok(sent) => self.sent(sent),
                Err(_) => return Ok(()),
            }
        }
        if self.is_posted() { self.settle().await } else { Ok(()) }
    }

    /// Takes in a turn that has ended.
    fn keep(&mut self, ended: Ended, change: &mut Option<Change>) {
        let changes = ended.has_effects();
        let Ended { waiting, answer, state, cause, sends, reminders, number, context } = ended;
        let read = (!changes).then_some(number);
        if changes {
            self.made += 1;
            let change = change.get_or_insert_with(|| Change {
                next: self.parts.claimed.record().clone(),
                letters: Vec::new(),
            });
            let (now_ms, backlog) = (self.parts.letters.now_ms(), &self.parts.books.backlog);
            if let Some(state) = state {
                change.next.state = Some(state);
            }
            match cause {
                Cause::Letter(stamp) => change.next.marks.take(&stamp, now_ms),
                Cause::GiveUp(stamp, reason) => change.next.marks.give_up(&stamp, reason, now_ms),
                Cause::Reminder(due) | Cause::Skip(due) => {
                    agenda::handled(&mut change.next, &due, now_ms, backlog);
                }
                Cause::Overwrite(overwrite) => {
                    if overwrite.delete {
                        change.next.state = None;
                    }
                    let none = overwrite.delete.then_some(&[][..]);
                    if let Some(reminders) = overwrite.reminders.as_deref().or(none) {
                        agenda::replace(&mut change.next, reminders, backlog);
                    }
                }
                Cause::Call
                | Cause::Http(_)
                | Cause::Topic(_)
                | Cause::Link(_)
                | Cause::Timer(_)
                | Cause::Show(_) => {}
            }
            for reminder in reminders {
                if !agenda::change(&mut change.next, reminder, now_ms, backlog) {
                    let actor = &self.parts.actor;
                    tracing::error!(%actor, most = MAX_REMINDERS, "a key wants more reminders than it may have");
                }
            }
            for outgoing in sends {
                let letter = self.letter(outgoing, &mut change.next.sent, &context, now_ms);
                change.letters.push(letter);
            }
        }
        self.kept.push_back(Kept { needs: self.made, read, waiting, answer, context });
    }

    /// What a turn sent, as a letter with the next number.
    fn letter(
        &self,
        outgoing: Outgoing,
        sent: &mut Option<Number>,
        context: &TurnContext,
        sent_ms: u64,
    ) -> Letter {
        let Outgoing { target, operation, payload, content_type } = outgoing;
        let last = sent.get_or_insert_with(|| Number {
            origin: Origin::new(*uuid::Uuid::new_v4().as_bytes()),
            number: 0,
        });
        last.number += 1;
        let id = last.origin.letter(last.number);
        let mut span = Span::send(context.trace.clone(), &target, &operation);
        span.carries(&id);
        Letter {
            id,
            target,
            operation,
            payload,
            content_type,
            sender: Some(self.parts.actor.shared()),
            number: Some(*last),
            trace: span.scope().map(|scope| scope.context),
            sent_ms,
            topic: None,
        }
    }

    async fn commit(&mut self, change: Change) -> Result<(), Lost> {
        let Change { mut next, letters } = change;
        self.forget_posted(&mut next);
        next.outbox.extend(letters.iter().cloned());
        if has_to_post(&next) && !self.announced {
            self.announce().await;
        }
        let before = self.parts.claimed.record().generation;
        self.store(next).await?;
        for letter in letters {
            self.outbox.post(letter);
        }
        for reminder in &self.parts.claimed.record().reminders {
            if reminder.generation > before {
                self.outbox.arm(reminder.due());
            }
        }
        self.parts.committed.send_replace(self.made);
        Ok(())
    }

    /// Takes letters out of the record that were posted, where that was all of them.
    async fn settle(&mut self) -> Result<(), Lost> {
        let mut next = self.parts.claimed.record().clone();
        self.forget_posted(&mut next);
        self.store(next).await
    }

    async fn store(&mut self, next: State) -> Result<(), Lost> {
        self.parts.claimed.commit(next).await?;
        self.parts.books.update(self.parts.claimed.record());
        if !has_to_post(self.parts.claimed.record()) {
            // The word that is in the stream may be taken out now, and what comes next needs another.
            self.announced = false;
            self.parts.posted.send_replace(true);
        }
        Ok(())
    }

    /// Leaves out of a record what was posted. It is not needed again, whatever becomes of the commit.
    fn forget_posted(&mut self, next: &mut State) {
        let (posted, backlog) = (&self.posted, &self.parts.books.backlog);
        next.outbox.retain(|letter| {
            let goes = letter.number.is_some_and(|number| posted.contains(&number.number));
            if goes {
                backlog.remove_letter(letter.payload.len());
            }
            !goes
        });
        for reminder in &mut next.reminders {
            reminder.armed |= self.armed.contains(&reminder.generation);
        }
        self.posted.clear();
        self.armed.clear();
    }

    /// Says that this key will have letters, before it has any.
    async fn announce(&mut self) {
        self.parts.posted.send_replace(false);
        let mut pause = Backoff::up_to(ANNOUNCE);
        while self.parts.letters.announce(&self.parts.actor).await != Posted::Stored {
            pause.wait().await;
        }
        self.announced = true;
    }

    fn sent(&mut self, sent: Sent) {
        match sent {
            Sent::Letter(number) => self.posted.insert(number),
            Sent::Reminder(generation) => self.armed.insert(generation),
        };
        self.since = Instant::now();
    }

    /// Whether the record has something to be posted, and all of that was.
    fn is_posted(&self) -> bool {
        let record = self.parts.claimed.record();
        let armed = |reminder: &Reminder| reminder.armed || self.armed.contains(&reminder.generation);
        has_to_post(record) && self.posted.len() == record.outbox.len() && record.reminders.iter().all(armed)
    }

    /// Lets everything go that saw no more than what is committed. In `strict` mode what was read must hold to this moment.
    fn release(&mut self) {
        let committed = *self.parts.committed.borrow();
        while let Some(first) = self.kept.pop_front_if(|first| first.needs <= committed) {
            let Kept { read, waiting, answer, context, .. } = first;
            let tenure = &self.parts.tenure;
            let stale = tenure.is_strict() && read.is_some_and(|number| !tenure.holds(number));
            waiting.answer(if stale { Err(context.undone()) } else { answer });
        }
    }
}

/// Whether a record holds letters that may not have been posted, or reminders that may not be armed.
fn has_to_post(record: &State) -> bool {
    !record.outbox.is_empty() || record.reminders.iter().any(|reminder| !reminder.armed)
}

/// What the next commit makes of the record.
struct Change {
    next: State,
    letters: Vec<Letter>,
}

/// At this time; never, where there is none.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What a caller is told whose turn saw a state that is not committed.
fn undone(context: &TurnContext, lost: &Lost) -> Fault {
    match lost {
        Lost::Taken => context.undone(),
        Lost::Unknown => {
            Fault::Unknown(format!("{} (another node took it over while it handled this)", context.actor))
        }
    }
}
