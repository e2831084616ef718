//! One guest that is one key of a keyed actor: woken with its state, and then entered for one message after the other.
//!
//! What a turn gives is handed on as it is. Nothing here commits, and a turn that has ended is answered by whoever takes what
//! is [`Ended`]; only one that changed nothing, and saw nothing that is not committed, is answered here. So is what is still in
//! a guest that ends, as in any instance.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::fault::Rejection;
use lattice_proto::reminder::{Due, MAX_REMINDERS};
use lattice_proto::{ActorId, Fault, MessageId, Ran};
use tokio::sync::{mpsc, oneshot, watch};
use wasmtime::component::{Accessor, ComponentExportIndex, TypedFunc};
use wasmtime::{AsContextMut, Store};

use super::compile::Entry;
use super::effects::{self, Misfit};
use super::guest::Guest;
use super::instance::{LONG, START, Unmade, end, told, unmade};
use super::prepare::{Desk, Prepared, prepare};
use super::settle::settle;
use super::{Compiled, Exit, Failure, Home, abi};
use crate::keyed::{Backlog, Begin, Known, MAX_TIMERS, Tenure, Timer, Timers};
use crate::replica::{
    Answer, Cause, Gate, InFlight, Message, Outgoing, Remind, Respond, Timing, Turn, TurnContext, Waiting,
};
use crate::telemetry::{Span, Subject};

/// How long the turn of a timer may take.
const TIMED: Duration = Duration::from_secs(30);

type TurnFunction = TypedFunc<(abi::KeyedMessage,), (abi::WitOutcome,)>;

/// Why a guest does not wake.
#[derive(Debug)]
pub enum Asleep {
    /// This machine has no room for another guest at the moment; one sentence.
    NoRoom(String),
    /// It cannot be made, or traps; one sentence.
    Broken(String),
    /// It says that it cannot live with its state.
    Refused(Fault),
}

impl From<Unmade> for Asleep {
    fn from(unmade: Unmade) -> Self {
        match unmade {
            Unmade::NoRoom(reason) => Asleep::NoRoom(reason),
            Unmade::Broken(reason) => Asleep::Broken(reason),
        }
    }
}

/// A turn that has ended, with what is to come of it.
pub struct Ended {
    /// Who waits.
    pub waiting: Waiting,
    /// What is to be told, once that is allowed.
    pub answer: Answer,
    /// The new state; none where it is as it was.
    pub state: Option<Bytes>,
    /// Why there was the message.
    pub cause: Cause,
    /// What it sends.
    pub sends: Vec<Outgoing>,
    /// What it says of its reminders.
    pub reminders: Vec<Remind>,
    /// What it began with, by its tenure.
    pub number: u64,
    /// What else is known of it.
    pub context: Arc<TurnContext>,
}

impl Ended {
    /// Whether there is anything to commit.
    pub fn has_effects(&self) -> bool {
        use Cause::{GiveUp, Overwrite, Reminder, Skip};
        let cause = matches!(self.cause, Reminder(_) | Skip(_) | GiveUp(..) | Overwrite(_));
        let reminded = cause && self.answer.is_ok();
        self.state.is_some() || !self.sends.is_empty() || !self.reminders.is_empty() || reminded
    }
}

/// What whoever commits is told, in this order.
#[allow(clippy::large_enum_variant, reason = "nearly all of them are the large one")]
pub enum Done {
    /// A turn has ended.
    Turn(Ended),
    /// The next turn waits until the key was claimed once more. With the id of a reminder of which the server is to be told
    /// once more.
    Confirm(oneshot::Sender<()>, Option<String>),
}

/// A guest that was made for one key, and knows nothing of it.
pub struct Unwoken {
    store: Store<Guest>,
    instance: wasmtime::component::Instance,
    activate: ComponentExportIndex,
    turn: ComponentExportIndex,
}

/// A guest that is awake.
pub struct KeyedInstance {
    store: Store<Guest>,
    turn: TurnFunction,
    payload_limit: usize,
    state_limit: u64,
}

/// What a guest serves with.
pub struct Serving<'a> {
    /// Where its messages are.
    pub mailbox: &'a mut mpsc::Receiver<Turn>,
    /// Who waits for what is in it.
    pub in_flight: &'a InFlight,
    /// Whether turns may begin.
    pub tenure: &'a Tenure,
    /// What it is asked with.
    pub confirmed: &'a mut u64,
    /// Where turns go that have ended, in their order.
    pub done: &'a mpsc::Sender<Done>,
    /// How many states were made before, and how many of them are committed.
    pub made: &'a mut u64,
    /// Follows the commits.
    pub committed: &'a watch::Receiver<u64>,
    /// What is committed of letters and reminders.
    pub known: &'a Mutex<Known>,
    /// What waits to be posted.
    pub backlog: &'a Backlog,
    /// What it wants to be told while it is awake.
    pub timers: &'a mut Timers,
    /// What the state and all that waits may have together, in bytes.
    pub room: usize,
    /// The last state that a turn made; what the guest is woken with after a trap.
    pub last: &'a mut Option<Bytes>,
    /// How long it may be without a message.
    pub idle: Duration,
    /// When it falls asleep if none comes; none before the first instance. Timers are no messages, whatever instances they take.
    pub sleeps: &'a mut Option<Instant>,
}

impl Serving<'_> {
    /// Takes in what an operator says the state of a key is, of which there is no guest. False when that is not to be, and
    /// the operator was told why.
    pub async fn overwrite(self, turn: Turn) -> bool {
        let Self { known, backlog, room, committed, made, last, done, timers, .. } = self;
        let desk = Desk { known, backlog, room, committed, made: *made };
        match prepare(turn, desk).await {
            Prepared::Overwritten(ended, state) => {
                *made += 1;
                *last = state;
                timers.clear();
                hand_over(done, ended).await
            }
            Prepared::Answered => false,
            Prepared::Run(turn) | Prepared::Unknown(turn, _) => {
                turn.waiting.answer(Err(turn.context.undone()));
                false
            }
            Prepared::Skipped(ended) => {
                ended.waiting.answer(Err(ended.context.undone()));
                false
            }
        }
    }
}

impl Compiled {
    /// Makes a guest for one key and wakes it with its state.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn wake(
        &self,
        home: &Arc<Home>,
        actor: &ActorId,
        state: Option<Bytes>,
        state_limit: u64,
    ) -> Result<KeyedInstance, Asleep> {
        self.unwoken(home, actor).await?.wake(state, state_limit).await
    }

    /// Makes a guest for one key.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn unwoken(&self, home: &Arc<Home>, actor: &ActorId) -> Result<Unwoken, Asleep> {
        let Entry::Keyed { activate, turn } = self.inner.entry else {
            return Err(Asleep::Broken(
                "it is a replicated actor, and its manifest does not say so".to_owned(),
            ));
        };
        let (store, instance) = self.make(home, actor.clone()).await?;
        Ok(Unwoken { store, instance, activate, turn })
    }
}

impl Unwoken {
    /// Wakes it with the state of its key.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn wake(self, state: Option<Bytes>, state_limit: u64) -> Result<KeyedInstance, Asleep> {
        let Self { mut store, instance, activate, turn } = self;
        let (home, actor) = (store.data().home.clone(), store.data().actor.clone());
        let missing = |what: &str| Asleep::Broken(format!("its `{what}` is gone or has another type"));
        let activate = instance
            .get_func(&mut store, activate)
            .and_then(|f| f.typed::<(String, Option<Vec<u8>>), (Result<(), Failure>,)>(&store).ok())
            .ok_or_else(|| missing(abi::ACTIVATE))?;
        let turn = instance
            .get_func(&mut store, turn)
            .and_then(|f| f.typed(&store).ok())
            .ok_or_else(|| missing(abi::TURN))?;
        let key = actor.key.as_deref().unwrap_or_default().to_owned();
        let woken = activate.call_async(&mut store, (key, state.map(Vec::from)));
        match tokio::time::timeout(START, woken).await {
            Ok(Ok((Ok(()),))) => {}
            Ok(Ok((Err(failure),))) => return Err(Asleep::Refused(failure.into_answer(false))),
            Ok(Err(error)) => {
                tracing::warn!(%actor, detail = ?error, "a keyed actor trapped as it was woken");
                return Err(unmade(&error, &store).into());
            }
            Err(_) => {
                return Err(Asleep::Broken(format!("it did not wake within {} seconds", START.as_secs())));
            }
        }
        let payload_limit = usize::try_from(home.settings.limits.payload.0).unwrap_or(usize::MAX);
        Ok(KeyedInstance { store, turn, payload_limit, state_limit })
    }
}

impl KeyedInstance {
    /// Serves until it ends. Whatever is still in the mailbox then stays there.
    pub async fn serve(mut self, serving: Serving<'_>) -> Exit {
        let (turn, limits) = (self.turn, (self.payload_limit, self.state_limit));
        let in_flight = serving.in_flight;
        let ended = tokio::select! {
            ended = settle(self.store.run_concurrent(async |accessor| {
                one_by_one(accessor, turn, limits, serving).await
            })) => Some(ended),
            () = in_flight.given_up() => None,
        };
        end(self.store, ended, in_flight)
    }
}

async fn one_by_one(
    accessor: &Accessor<Guest>,
    function: TurnFunction,
    limits: (usize, u64),
    serving: Serving<'_>,
) -> wasmtime::Result<()> {
    let Serving {
        mailbox,
        in_flight,
        tenure,
        confirmed,
        done,
        made,
        committed,
        known,
        backlog,
        timers,
        room,
        last,
        idle,
        sleeps,
    } = serving;
    let actor = accessor.with(|mut access| access.data_mut().actor.clone());
    let sleeps = sleeps.get_or_insert_with(|| Instant::now() + idle);
    // Of a timer that is due and messages that wait, each has its turn.
    let mut timer_first = false;
    while !in_flight.is_retiring() {
        // A timer waits while nothing may begin, and ends with the mailbox.
        let ticks = timer_first && !mailbox.is_closed() && tenure.is_open();
        let due = if ticks { timers.take(Instant::now()) } else { None };
        let (turn, is_message) = match due {
            Some((id, timer)) => (timed(&actor, id, timer), false),
            None => tokio::select! {
                biased;
                turn = mailbox.recv() => match turn {
                    Some(turn) => (turn, true),
                    // A closed mailbox ends it.
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until((*sleeps).into()) => {
                    // Nothing more is let in; what came in this very moment is served.
                    mailbox.close();
                    *sleeps = Instant::now() + idle;
                    continue;
                }
                () = ripe(timers.next(), tenure) => {
                    timer_first = true;
                    continue;
                }
            },
        };
        timer_first = is_message;
        if is_message {
            *sleeps = Instant::now() + idle;
        }
        let desk = Desk { known, backlog, room, committed, made: *made };
        let turn = match prepare(turn, desk).await {
            Prepared::Run(turn) => turn,
            Prepared::Answered => continue,
            Prepared::Overwritten(ended, state) => {
                // This guest knows nothing of it: another one is woken with it.
                in_flight.retire();
                *made += 1;
                *last = state;
                timers.clear();
                if !hand_over(done, ended).await {
                    return Ok(());
                }
                continue;
            }
            Prepared::Unknown(turn, id) => {
                // Another owner may know it, of which nothing was heard here yet. If it is not so, what is due of that
                // reminder was lost perhaps, and is told to the server once more.
                let (answer, answered) = oneshot::channel();
                let sent = done.send(Done::Confirm(answer, Some(id))).await;
                if sent.is_err() || answered.await.is_err() {
                    turn.waiting.answer(Err(turn.context.undone()));
                    return Ok(());
                }
                turn.waiting.answer(Ok(Bytes::new()));
                continue;
            }
            Prepared::Skipped(ended) => {
                *made += 1;
                if !hand_over(done, ended).await {
                    return Ok(());
                }
                continue;
            }
        };
        match may_begin(tenure, confirmed, turn.context.deadline, done).await {
            Some(true) => {}
            Some(false) => {
                // What else is there goes the same way.
                mailbox.close();
                turn.waiting.answer(Err(turn.context.undone()));
                continue;
            }
            // Whoever commits has ended; so does this.
            None => {
                turn.waiting.answer(Err(turn.context.undone()));
                return Ok(());
            }
        }
        let Some(turn) = turn.begin() else { continue };
        let began = Instant::now();
        if *committed.borrow() < *made {
            turn.context.wait_for(Gate::new(committed.clone(), *made));
        }
        if tenure.is_strict() {
            turn.context.let_out_under(tenure.clone(), *confirmed);
        }
        let kept = last.as_ref().map_or(0, Bytes::len);
        let room = Room { kept, room, backlog, known, timers };
        let (ended, told) = run(accessor, function, limits, room, turn, in_flight).await?;
        timers.change(told, Instant::now());
        if is_message {
            *sleeps = Instant::now() + idle;
        }
        let ended = Ended { number: *confirmed, ..ended };
        if ended.has_effects() {
            *made += 1;
        } else if *committed.borrow() >= *made {
            // Nothing comes of it, and all that it saw is committed: nobody is to be waited for.
            let Ended { waiting, answer, context, .. } = ended;
            let stale = tenure.is_strict() && !tenure.holds(*confirmed);
            waiting.answer(if stale { Err(context.undone()) } else { answer });
            give_way(began).await;
            continue;
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
            *last = Some(state.clone());
        }
        if !hand_over(done, ended).await {
            return Ok(());
        }
        give_way(began).await;
    }
    Ok(())
}

/// Lets others have a worker that a turn had for long.
async fn give_way(began: Instant) {
    if began.elapsed() > LONG {
        tokio::task::yield_now().await;
    }
}

/// At this time, or as soon after it as turns may begin; never, where there is none.
async fn ripe(time: Option<Instant>, tenure: &Tenure) {
    match time {
        Some(time) => {
            tokio::time::sleep_until(time.into()).await;
            tenure.opened().await;
        }
        None => std::future::pending().await,
    }
}

/// The turn of a timer. Nobody waits for it, so what goes wrong is only written down.
fn timed(actor: &ActorId, id: String, timer: Timer) -> Turn {
    let Timer { operation, payload, content_type, .. } = timer;
    let message_id: MessageId = uuid::Uuid::now_v7()
        .simple()
        .to_string()
        .parse()
        .unwrap_or_else(|_| unreachable!("a UUID is a word"));
    let subject = Subject { actor, operation: operation.as_str(), message: message_id.as_str(), attempt: 1 };
    let span = Span::handle(None, &subject);
    let message = Message {
        operation,
        payload,
        content_type,
        caller: Some(actor.shared()),
        attempt: 1,
        cause: Cause::Timer(id.clone()),
    };
    let whose = actor.clone();
    let respond = Respond::Hand(Box::new(move |answer| {
        if let Err(fault) = answer {
            tracing::warn!(actor = %whose, timer = id, %fault, "the turn of a timer failed");
        }
    }));
    Turn::new(message_id, actor.clone(), Vec::new(), Instant::now() + TIMED, message, span, respond)
}

/// Gives a turn that has ended to whoever commits; false when that has ended.
async fn hand_over(done: &mpsc::Sender<Done>, ended: Ended) -> bool {
    let Err(mpsc::error::SendError(Done::Turn(ended))) = done.send(Done::Turn(ended)).await else {
        return true;
    };
    let Ended { waiting, context, .. } = ended;
    waiting.answer(Err(context.undone()));
    false
}

/// Waits until a turn may begin; false when the key belongs to another owner, none when whoever commits has found that out.
/// A turn whose deadline has passed may begin as well: it says so by itself.
async fn may_begin(
    tenure: &Tenure,
    confirmed: &mut u64,
    deadline: Instant,
    done: &mpsc::Sender<Done>,
) -> Option<bool> {
    loop {
        match tenure.begin(*confirmed, deadline).await {
            Begin::Now | Begin::Late => return Some(true),
            Begin::Over => return Some(false),
            Begin::Confirmed(number) => {
                let (answer, answered) = oneshot::channel();
                done.send(Done::Confirm(answer, None)).await.ok()?;
                answered.await.ok()?;
                *confirmed = number;
            }
        }
    }
}

/// Runs one turn to its end, and gives what it says of its timers. An error is a trap.
async fn run(
    accessor: &Accessor<Guest>,
    function: TurnFunction,
    (payload_limit, state_limit): (usize, u64),
    room: Room<'_>,
    turn: Turn,
    in_flight: &InFlight,
) -> wasmtime::Result<(Ended, Vec<Timing>)> {
    let Turn { context, message, waiting } = turn;
    let cause = message.cause.clone();
    let message = keyed_message(&context, message);
    let slot = in_flight.enter(context.clone(), waiting);
    let call = accessor.with(|mut access| {
        let call = function.start_call_concurrent(access.as_context_mut(), (message,))?;
        let task = call.task();
        access.data_mut().enter(task, context.clone());
        wasmtime::error::Ok((task, call))
    });
    let (task, call) = call?;
    let (outcome,) = function.finish_call_concurrent(accessor, call).await?;
    accessor.with(|mut access| access.data_mut().leave(task, &context));
    let abi::WitOutcome { reply, state, sends, reminders, timers } = outcome;
    // When the reply is a failure nothing of the rest takes effect.
    let failed = reply.is_err();
    let answer = match (&cause, reply) {
        (Cause::Call, reply) => told(reply, payload_limit, &context),
        // Nobody reads it.
        (_, Ok(_)) => Ok(Bytes::new()),
        (_, reply) => told(reply, payload_limit, &context),
    };
    let effects = match failed {
        true => Ok((None, Vec::new(), Vec::new(), Vec::new())),
        false => {
            let size = state.as_ref().map_or(room.kept, Vec::len);
            let grants = |sends: &[abi::Outgoing]| {
                (!sends.is_empty()).then(|| accessor.with(|mut access| access.data_mut().home.clone()))
            };
            let large = state.as_ref().map(|state| state.len() as u64).filter(|size| *size > state_limit);
            let effects = match large {
                Some(size) => Err(Fault::TooLarge { limit: state_limit, size, ran: Ran::Yes }),
                None => effects::letters(grants(&sends).as_deref(), sends, payload_limit).and_then(|sends| {
                    let reminders = effects::reminders(reminders, payload_limit)?;
                    Ok((sends, reminders, effects::timers(timers, payload_limit)?))
                }),
            };
            effects.and_then(|(sends, reminders, timers)| {
                room.fits(size, &sends, &reminders, &timers, &context)?;
                Ok((state.map(Bytes::from), sends, reminders, timers))
            })
        }
    };
    let (answer, state, sends, reminders, timers) = match effects {
        Ok((state, sends, reminders, timers)) => (answer, state, sends, reminders, timers),
        Err(fault) => {
            // The guest lives on with a state that never was: another one is woken with the last one that counts.
            in_flight.retire();
            (Err(fault), None, Vec::new(), Vec::new(), Vec::new())
        }
    };
    // It is there: nothing else takes turns out before they end.
    let waiting = in_flight.take(slot).ok_or_else(|| wasmtime::Error::msg("a turn was lost"))?;
    Ok((Ended { waiting, answer, state, cause, sends, reminders, number: 0, context }, timers))
}

/// What a key has room for.
struct Room<'a> {
    /// The bytes of the state before the turn.
    kept: usize,
    /// What state, letters and reminders may take together, in bytes.
    room: usize,
    backlog: &'a Backlog,
    known: &'a Mutex<Known>,
    timers: &'a Timers,
}

impl Room<'_> {
    fn fits(
        &self,
        state: usize,
        sends: &[Outgoing],
        reminders: &[Remind],
        timers: &[Timing],
        context: &TurnContext,
    ) -> Result<(), Fault> {
        let known = lock(self.known);
        let fits = effects::fits(sends, reminders, state, self.backlog, &known, self.room)
            .and_then(|()| effects::timers_fit(timers, self.timers, self.room));
        let too_many = |code: &str, message| {
            Fault::Rejected(Rejection { code: code.to_owned(), message, details: None })
        };
        fits.map_err(|misfit| match misfit {
            Misfit::TooLarge(size) => {
                Fault::TooLarge { limit: self.room as u64, size: size as u64, ran: Ran::Yes }
            }
            Misfit::TooManyReminders => too_many(
                "too-many-reminders",
                format!("a key has {MAX_REMINDERS} reminders at most; cancel some"),
            ),
            Misfit::TooManyTimers => {
                too_many("too-many-timers", format!("a key has {MAX_TIMERS} timers at most; cancel some"))
            }
            // Nothing of it is left, so it may be tried again, unless it called others.
            Misfit::Later => match context.has_called() {
                false => Fault::Overloaded(format!(
                    "{} (its letters wait for mailboxes that have no room)",
                    context.actor
                )),
                true => Fault::Unknown(format!(
                    "{} (its letters wait for mailboxes that have no room)",
                    context.actor
                )),
            },
        })
    }
}

fn lock(known: &Mutex<Known>) -> std::sync::MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keyed_message(context: &TurnContext, message: Message) -> abi::KeyedMessage {
    let Message { operation, payload, content_type, caller, attempt, cause } = message;
    let remaining = context.deadline.saturating_duration_since(Instant::now());
    abi::KeyedMessage {
        id: context.id.shared(),
        operation: operation.shared(),
        payload: payload.into(),
        content_type: content_type.as_str().to_owned(),
        cause: match cause {
            Cause::Letter(_) => abi::Cause::Send(caller),
            Cause::Reminder(Due { id, due_ms, .. }) => {
                abi::Cause::Reminder(abi::Occurrence { id, due: due_ms })
            }
            Cause::Timer(id) => abi::Cause::Timer(id),
            // The others do not enter the guest.
            Cause::Call | Cause::Show(_) | Cause::Skip(_) | Cause::GiveUp(..) | Cause::Overwrite(_) => {
                abi::Cause::Call(caller)
            }
        },
        remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
        traceparent: context.trace.as_ref().map(|trace| trace.parent.to_string()).unwrap_or_default(),
        attempt,
    }
}
