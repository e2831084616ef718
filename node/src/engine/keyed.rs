//! One guest that is one key of a keyed actor: woken with its state, and then entered for one message after the other.
//!
//! What a turn gives is handed on as it is. Nothing here commits, and a turn that has ended is answered by whoever takes what
//! is [`Ended`]; what is still in a guest that ends is answered here, as in any instance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::fault::Rejection;
use lattice_proto::{ActorId, Fault, Ran};
use tokio::sync::{mpsc, watch};
use wasmtime::component::{Accessor, TypedFunc};
use wasmtime::{AsContextMut, Store};

use super::compile::Entry;
use super::guest::Guest;
use super::instance::{LONG, START, end, explain, told};
use super::settle::settle;
use super::{Compiled, Exit, Failure, Home, abi};
use crate::replica::{Answer, Gate, InFlight, Message, Turn, TurnContext, Waiting};

type TurnFunction = TypedFunc<(abi::KeyedMessage,), (abi::WitOutcome,)>;

/// Why a guest does not wake.
#[derive(Debug)]
pub enum Asleep {
    /// It cannot be made, or traps; one sentence.
    Broken(String),
    /// It says that it cannot live with its state.
    Refused(Fault),
}

/// A turn that has ended, with what is to come of it.
pub struct Ended {
    /// Who waits.
    pub waiting: Waiting,
    /// What is to be told, once that is allowed.
    pub answer: Answer,
    /// The new state; none where it is as it was.
    pub state: Option<Bytes>,
    /// What else is known of it.
    pub context: Arc<TurnContext>,
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
    /// Where turns go that have ended, in their order.
    pub ended: &'a mpsc::Sender<Ended>,
    /// How many states were made before, and how many of them are committed.
    pub made: &'a mut u64,
    /// Follows the commits.
    pub committed: &'a watch::Receiver<u64>,
    /// The last state that a turn made; what the guest is woken with after a trap.
    pub last: &'a mut Option<Bytes>,
    /// How long it may be without a message.
    pub idle: Duration,
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
        let Entry::Keyed { activate, turn } = self.inner.entry else {
            return Err(Asleep::Broken(
                "it is a replicated actor, and its manifest does not say so".to_owned(),
            ));
        };
        let (mut store, instance) = self.make(home, actor.clone()).await.map_err(Asleep::Broken)?;
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
                return Err(Asleep::Broken(explain(&error, &store)));
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
    let Serving { mailbox, in_flight, ended, made, committed, last, idle } = serving;
    while !in_flight.is_retiring() {
        let turn = match tokio::time::timeout(idle, mailbox.recv()).await {
            Ok(Some(turn)) => turn,
            Ok(None) => return Ok(()),
            Err(_) => {
                // Nothing more is let in; what came in this very moment is served.
                mailbox.close();
                continue;
            }
        };
        let Some(turn) = turn.begin() else { continue };
        let began = Instant::now();
        if *committed.borrow() < *made {
            turn.context.wait_for(Gate::new(committed.clone(), *made));
        }
        let done = run(accessor, function, limits, turn, in_flight).await?;
        if let Some(state) = &done.state {
            *made += 1;
            *last = Some(state.clone());
        }
        // Whoever commits has ended; so does this.
        if let Err(refused) = ended.send(done).await {
            let Ended { waiting, context, .. } = refused.0;
            waiting.answer(Err(context.undone()));
            return Ok(());
        }
        if began.elapsed() > LONG {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Runs one turn to its end. An error is a trap.
async fn run(
    accessor: &Accessor<Guest>,
    function: TurnFunction,
    (payload_limit, state_limit): (usize, u64),
    turn: Turn,
    in_flight: &InFlight,
) -> wasmtime::Result<Ended> {
    let Turn { context, message, waiting } = turn;
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
    let abi::WitOutcome { reply, state, sends, reminders } = outcome;
    // When the reply is a failure nothing of the rest takes effect.
    let failed = reply.is_err();
    let state = state.filter(|_| !failed).map(Bytes::from);
    let answer = told(reply, payload_limit, &context);
    let too_large = state.as_ref().map(|state| state.len() as u64).filter(|size| *size > state_limit);
    let unserved = !failed && (!sends.is_empty() || !reminders.is_empty());
    let (answer, state) = match too_large {
        Some(size) => (Err(Fault::TooLarge { limit: state_limit, size, ran: Ran::Yes }), None),
        None if unserved => (Err(not_served()), None),
        None => (answer, state),
    };
    if too_large.is_some() || unserved {
        // The guest lives on with a state that never was: another one is woken with the last one that counts.
        in_flight.retire();
    }
    // It is there: nothing else takes turns out before they end.
    let waiting = in_flight.take(slot).ok_or_else(|| wasmtime::Error::msg("a turn was lost"))?;
    Ok(Ended { waiting, answer, state, context })
}

fn not_served() -> Fault {
    Fault::Rejected(Rejection {
        code: "not-served".to_owned(),
        message: "this version of Lattice serves neither sends nor reminders yet".to_owned(),
        details: None,
    })
}

fn keyed_message(context: &TurnContext, message: Message) -> abi::KeyedMessage {
    let Message { operation, payload, content_type, caller, attempt } = message;
    let remaining = context.deadline.saturating_duration_since(Instant::now());
    abi::KeyedMessage {
        id: context.id.shared(),
        operation: operation.shared(),
        payload: payload.into(),
        content_type: content_type.as_str().to_owned(),
        cause: abi::Cause::Call(caller),
        remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
        traceparent: context.trace.as_ref().map(|trace| trace.parent.to_string()).unwrap_or_default(),
        attempt,
    }
}
