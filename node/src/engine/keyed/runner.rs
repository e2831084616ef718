//! Runs the turns of one guest, one at a time, in the order in which they may begin.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lattice_proto::ActorId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Sleep;
use wasmtime::component::Accessor;

use super::super::guest::{Guest, Home};
use super::super::instance::{self, LONG};
use super::super::prepare::{Desk, Prepared, is_for_guest, prepare};
use super::room::Room;
use super::timed::{ripe, timed};
use super::{Done, Ended, Limits, Serving, TurnFunction, turn};
use crate::keyed::Begin;
use crate::replica::{Gate, Remind, Timing, Turn};

/// Everything that a guest runs its turns with.
pub(super) struct Runner<'a> {
    accessor: &'a Accessor<Guest>,
    function: TurnFunction,
    limits: Limits,
    actor: ActorId,
    home: Arc<Home>,
    serving: Serving<'a>,
    /// Of a timer that is due and messages that wait, each has its turn.
    timer_first: bool,
    /// Rings when it may be time to sleep. It is not set anew for each message, which would cost more than to look when it rings.
    alarm: Pin<Box<Sleep>>,
}

/// Why there are no more turns.
pub(super) enum Stop {
    /// Whoever commits has ended.
    Over,
    /// The guest trapped.
    Trapped(wasmtime::Error),
}

impl From<wasmtime::Error> for Stop {
    fn from(error: wasmtime::Error) -> Self {
        Stop::Trapped(error)
    }
}

/// What comes next.
enum Next {
    Message(Turn),
    Timer(Turn),
}

impl<'a> Runner<'a> {
    /// Before the first turn of this instance.
    pub fn new(
        accessor: &'a Accessor<Guest>,
        function: TurnFunction,
        limits: Limits,
        serving: Serving<'a>,
    ) -> Self {
        let (actor, home) = accessor.with(|mut access| {
            let guest = access.data_mut();
            (guest.actor.clone(), guest.home.clone())
        });
        let sleeps = *serving.sleeps.get_or_insert_with(|| Instant::now() + serving.idle);
        let alarm = Box::pin(tokio::time::sleep_until(sleeps.into()));
        Self { accessor, function, limits, actor, home, serving, timer_first: false, alarm }
    }

    /// Runs turns until the mailbox is closed and empty, or the guest is to be replaced. An error is a trap.
    pub async fn run(mut self) -> wasmtime::Result<()> {
        while !self.serving.in_flight.is_retiring() {
            let Some(next) = self.next().await else { break };
            match self.serve(next).await {
                Ok(()) => {}
                Err(Stop::Over) => break,
                Err(Stop::Trapped(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// It is idle since then.
    fn stay_awake(&mut self, since: Instant) {
        *self.serving.sleeps = Some(since + self.serving.idle);
    }

    /// Waits for a message or a timer; none when the mailbox is closed and empty.
    async fn next(&mut self) -> Option<Next> {
        loop {
            let Serving { mailbox, tenure, timers, sleeps, .. } = &mut self.serving;
            // A timer waits while nothing may begin, and ends with the mailbox.
            if self.timer_first
                && !timers.is_empty()
                && !mailbox.is_closed()
                && tenure.is_open()
                && let Some((id, timer)) = timers.take(Instant::now())
            {
                self.timer_first = false;
                return Some(Next::Timer(timed(&self.actor, id, timer, timers.failing())));
            }
            tokio::select! {
                biased;
                turn = mailbox.recv() => {
                    self.timer_first = true;
                    return turn.map(Next::Message);
                }
                () = self.alarm.as_mut() => {
                    let now = Instant::now();
                    if sleeps.is_none_or(|sleeps| sleeps <= now) {
                        // Nothing more is let in; what came in this very moment is served.
                        mailbox.close();
                        self.stay_awake(now);
                    }
                    let again = self.serving.sleeps.unwrap_or(now + self.serving.idle);
                    self.alarm.as_mut().reset(again.into());
                }
                () = ripe(timers.next(), tenure) => self.timer_first = true,
            }
        }
    }

    /// Does what is to be done with it, by the guest if need be.
    async fn serve(&mut self, next: Next) -> Result<(), Stop> {
        let (turn, is_message) = match next {
            Next::Message(turn) => (turn, true),
            Next::Timer(turn) => (turn, false),
        };
        let Some(turn) = self.prepare(turn).await? else {
            if is_message {
                self.stay_awake(Instant::now());
            }
            return Ok(());
        };
        let Some(turn) = self.begin(turn).await? else { return Ok(()) };
        let began = Instant::now();
        if is_message {
            // Also when the guest traps.
            self.stay_awake(began);
        }
        let (ended, timers) = self.enter(turn).await?;
        let now = Instant::now();
        self.serving.timers.change(timers, now);
        if is_message {
            self.stay_awake(now);
        }
        self.finish(ended).await?;
        if now - began > LONG {
            // Others have a worker that this turn had for long.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// A turn that the guest has a part in; none when it was done without.
    async fn prepare(&mut self, turn: Turn) -> Result<Option<Turn>, Stop> {
        if is_for_guest(&turn) {
            return Ok(Some(turn));
        }
        let Serving { known, backlog, room, committed, .. } = self.serving;
        let desk = Desk { known, backlog, room, committed, made: *self.serving.made };
        match prepare(turn, desk).await {
            Prepared::Run(turn) => Ok(Some(turn)),
            Prepared::Answered => Ok(None),
            Prepared::Overwritten(ended, state) => {
                // This guest knows nothing of it: another one is woken with it.
                self.serving.in_flight.retire();
                *self.serving.made += 1;
                *self.serving.last = state;
                self.serving.timers.clear();
                hand_over(self.serving.done, ended).await.map(|()| None)
            }
            Prepared::Unknown(turn, id) => {
                // Another owner may know it, of which nothing was heard here yet. If it is not so, what is due of that
                // reminder was lost perhaps, and is told to the server once more.
                match self.confirm(Some(id)).await {
                    Ok(()) => turn.waiting.answer(Ok(Bytes::new())),
                    Err(over) => {
                        turn.waiting.answer(Err(turn.context.undone()));
                        return Err(over);
                    }
                }
                Ok(None)
            }
            Prepared::Skipped(ended) => {
                *self.serving.made += 1;
                hand_over(self.serving.done, ended).await.map(|()| None)
            }
        }
    }

    /// Waits until a turn may begin; none when it cannot any more, and was answered.
    async fn begin(&mut self, turn: Turn) -> Result<Option<Turn>, Stop> {
        match self.may_begin(turn.context.deadline).await {
            Ok(true) => Ok(instance::begin(turn, self.serving.cold, &self.home)),
            // The key is another owner's, and what else is there goes the same way.
            Ok(false) => {
                self.serving.mailbox.close();
                turn.waiting.answer(Err(turn.context.undone()));
                Ok(None)
            }
            Err(over) => {
                turn.waiting.answer(Err(turn.context.undone()));
                Err(over)
            }
        }
    }

    /// Waits until a turn may begin; false when the key belongs to another owner. A turn whose deadline has passed may begin as
    /// well: it says so by itself.
    async fn may_begin(&mut self, deadline: Instant) -> Result<bool, Stop> {
        loop {
            match self.serving.tenure.begin(*self.serving.confirmed, deadline).await {
                Begin::Now | Begin::Late => return Ok(true),
                Begin::Over => return Ok(false),
                Begin::Confirmed(number) => {
                    self.confirm(None).await?;
                    *self.serving.confirmed = number;
                }
            }
        }
    }

    /// Waits until the key was claimed once more.
    async fn confirm(&self, reminder: Option<String>) -> Result<(), Stop> {
        let (answer, answered) = oneshot::channel();
        self.serving.done.send(Done::Confirm(answer, reminder)).await.map_err(|_| Stop::Over)?;
        answered.await.map_err(|_| Stop::Over)
    }

    /// Runs a turn in the guest.
    async fn enter(&mut self, turn: Turn) -> Result<(Ended, Vec<Timing>), Stop> {
        let Serving { in_flight, tenure, committed, known, backlog, room, .. } = self.serving;
        let (made, number) = (*self.serving.made, *self.serving.confirmed);
        let settled = *committed.borrow() >= made;
        if !settled {
            turn.context.wait_for(Gate::new(committed.clone(), made));
        }
        if tenure.is_strict() {
            turn.context.let_out_under(tenure.clone(), number);
        }
        let kept = self.serving.last.as_ref().map_or(0, Bytes::len);
        let room = Room { kept, room, settled, backlog, known, timers: self.serving.timers };
        let (ended, timers) =
            turn::run(self.accessor, self.function, self.limits, room, turn, in_flight).await?;
        Ok((Ended { number, ..ended }, timers))
    }

    /// Hands a turn on that has ended, or answers it where nothing comes of it.
    async fn finish(&mut self, ended: Ended) -> Result<(), Stop> {
        let Serving { tenure, committed, backlog, done, .. } = self.serving;
        if ended.has_effects() {
            *self.serving.made += 1;
        } else if *committed.borrow() >= *self.serving.made {
            // All that it saw is committed: nobody is to be waited for.
            let Ended { waiting, answer, context, number, .. } = ended;
            let stale = tenure.is_strict() && !tenure.holds(number);
            waiting.answer(if stale { Err(context.undone()) } else { answer });
            return Ok(());
        }
        for outgoing in &ended.sends {
            backlog.add_letter(outgoing.payload.len());
        }
        for reminder in &ended.reminders {
            if let Remind::Set { payload, .. } = reminder {
                backlog.add_reminder(payload.len());
            }
        }
        if let Some(state) = &ended.state {
            *self.serving.last = Some(state.clone());
        }
        let mut ended = ended;
        ended.waiting.commits();
        hand_over(done, ended).await
    }
}

/// Gives a turn that has ended to whoever commits.
pub(super) async fn hand_over(done: &mpsc::Sender<Done>, ended: Ended) -> Result<(), Stop> {
    let Err(mpsc::error::SendError(Done::Turn(ended))) = done.send(Done::Turn(ended)).await else {
        return Ok(());
    };
    let Ended { waiting, context, .. } = ended;
    waiting.answer(Err(context.undone()));
    Err(Stop::Over)
}
