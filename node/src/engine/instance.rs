//! One guest in one store, serving a mailbox until it is closed, traps, or is given up.
//!
//! Rules:
//! 1. A future of a call that was started is never dropped while the store is to serve on: it would poison the store. The whole
//!    store is dropped instead.
//! 2. A message is looked at before the guest is entered: what expired or was given up meanwhile does not run.
//! 3. A trap ends the store, so it fails every turn in it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use lattice_proto::envelope::TraceParent;
use lattice_proto::{ActorId, Fault, Ran};
use tokio::sync::mpsc;
use wasmtime::component::{Accessor, TypedFunc};
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::handler::Proxy;

use super::compile::Entry;
use super::guest::{self, Guest, Turns};
use super::http::HttpInstance;
use super::inspect::Shape;
use super::links::exports;
use super::prepare::no_http;
use super::runtime::Kind;
use super::settle::settle;
use super::used::metered;
use super::{Compiled, Failure, Home, abi, check};
use crate::replica::{Answer, Cause, InFlight, Message, Turn, TurnContext};
use crate::telemetry::Cold;

/// Component-model handles that one guest may hold; each costs the node memory.
const MAX_HANDLES: usize = 20_000;

/// An instance that takes longer than this to make hangs in its own start function.
pub(super) const START: Duration = Duration::from_secs(10);

/// After a turn of this length the next one waits until others had the thread: whoever sends the answer may wait for just
/// this thread. It is long enough that the pause costs little beside the turn.
pub(super) const LONG: Duration = Duration::from_micros(500);

type Handle = TypedFunc<(abi::Message,), (Result<Vec<u8>, Failure>,)>;

/// Why an instance ended.
#[derive(Debug)]
pub enum Exit {
    /// The mailbox was closed and everything in it was served.
    Closed,
    /// It took no more turns after one overran its deadline, and the last of the others has ended; or none was left in it but those that had
    /// ended while they waited for another actor.
    Retired,
    /// It was given up, because nothing but turns that overran was left in it.
    Overran,
    /// The guest trapped; the reason for its callers, and the whole story with a backtrace for the log.
    Trapped {
        /// The turn that it was in, where it was in one only.
        trace: Option<TraceParent>,
        /// One sentence.
        reason: String,
        /// With a backtrace.
        detail: String,
    },
}

/// What is ready to serve.
pub enum Instance {
    /// One guest, for one message after the other or for many at once.
    Actor(ActorInstance),
    /// A guest for each request.
    Http(HttpInstance),
}

/// A guest that is ready to serve.
pub struct ActorInstance {
    store: Store<Guest>,
    doors: Doors,
    concurrency: usize,
}

/// By what a guest is entered.
struct Doors {
    /// For messages; none where it only exports what others are linked to.
    handle: Option<Handle>,
    /// For calls of what it exports.
    compiled: Compiled,
    instance: wasmtime::component::Instance,
    /// For what comes out again, in bytes.
    payload_limit: usize,
}

impl Compiled {
    /// Makes one guest, and asks its own check where it has one.
    ///
    /// # Errors
    /// One sentence, when memory runs out, the guest traps while it starts, or its own check does not say that it is ready.
    pub async fn instantiate(&self, home: &Arc<Home>) -> Result<Instance, String> {
        let inner = &self.inner;
        let handle = match inner.entry {
            Entry::Handle(handle) => Some(handle),
            Entry::Exports => None,
            Entry::Http(_) => {
                return HttpInstance::make(self, home).await.map(Instance::Http).map_err(Unmade::into_reason);
            }
            Entry::Keyed { .. } => {
                return Err("it is a keyed actor, and its manifest does not say so".to_owned());
            }
        };
        let made = self.make(home, home.actor.clone()).await;
        let (mut store, instance) = made.map_err(Unmade::into_reason)?;
        let handle = match handle {
            None => None,
            Some(handle) => {
                let handle = instance.get_func(&mut store, handle).ok_or("its handler is gone")?;
                Some(handle.typed(&store).map_err(|error| {
                    format!("its handler has another type than lattice:actor@0.1.0: {error:#}")
                })?)
            }
        };
        let concurrency = match inner.shape {
            Shape::Async => home.settings.concurrency as usize,
            Shape::Exports(_) if self.blocks().is_none() => home.settings.concurrency as usize,
            // A guest without async cannot hold two messages at once.
            _ => 1,
        };
        let payload_limit = usize::try_from(home.settings.limits.payload.0).unwrap_or(usize::MAX);
        let doors = Doors { handle, compiled: self.clone(), instance, payload_limit };
        Ok(Instance::Actor(ActorInstance { store, doors, concurrency }))
    }

    /// Makes one guest that stands for this actor, and asks its own check where it has one.
    pub(super) async fn make(
        &self,
        home: &Arc<Home>,
        actor: ActorId,
    ) -> Result<(Store<Guest>, wasmtime::component::Instance), Unmade> {
        let inner = &self.inner;
        let mut store = self.store(home, actor);
        let instance = in_time(inner.pre.instantiate_async(&mut store)).await?;
        let instance = instance.map_err(|error| unmade(&error, &store))?;
        if let Some(index) = inner.check {
            let ready = check::ask(&mut store, &instance, index).await;
            ready.map_err(|reason| Unmade::because(reason, &store))?;
        }
        Ok((store, instance))
    }

    /// Makes one guest for one request; whether it is ready was asked of another.
    pub(super) async fn make_http(&self, home: &Arc<Home>) -> Result<(Store<Guest>, Proxy), Unmade> {
        let Entry::Http(entry) = &self.inner.entry else {
            return Err(Unmade::Broken("it was not built for HTTP".to_owned()));
        };
        let mut store = self.store(home, home.actor.clone());
        let proxy = in_time(entry.instantiate_async(&mut store)).await?;
        let proxy = proxy.map_err(|error| unmade(&error, &store))?;
        Ok((store, proxy))
    }

    fn store(&self, home: &Arc<Home>, actor: ActorId) -> Store<Guest> {
        let inner = &self.inner;
        let turns = match inner.entry {
            Entry::Http(_) => Turns::Alone(None),
            _ => Turns::ByTask(HashMap::new()),
        };
        debug_assert!(
            inner.kind == Kind::Full || matches!(turns, Turns::Alone(_)),
            "a plain store has no tasks"
        );
        let engine = &inner.engine.runtime(inner.kind).engine;
        let mut store = Store::new(engine, Guest::new(home.clone(), actor, turns));
        store.limiter(|guest| &mut guest.limiter);
        store.set_epoch_deadline(1);
        store.set_max_component_handles(MAX_HANDLES);
        store.epoch_deadline_callback(guest::on_epoch);
        store
    }
}

async fn in_time<T>(made: impl Future<Output = T>) -> Result<T, Unmade> {
    let late = |_| Unmade::Broken(format!("it did not start within {} seconds", START.as_secs()));
    tokio::time::timeout(START, made).await.map_err(late)
}

impl Instance {
    /// Serves until it ends. Whatever is still in the mailbox then stays there. `cold` is how long it took to be made, where
    /// messages may have waited for that.
    pub async fn serve(
        self,
        mailbox: &mut mpsc::Receiver<Turn>,
        in_flight: &Arc<InFlight>,
        cold: Option<Cold>,
    ) -> Exit {
        match self {
            Instance::Actor(actor) => actor.serve(mailbox, in_flight, cold).await,
            Instance::Http(http) => http.serve(mailbox, in_flight, cold).await,
        }
    }
}

impl ActorInstance {
    /// Serves until it ends. Whatever is still in the mailbox then stays there. `cold` is how long it took to be made, where
    /// messages may have waited for that.
    async fn serve(
        mut self,
        mailbox: &mut mpsc::Receiver<Turn>,
        in_flight: &InFlight,
        cold: Option<Cold>,
    ) -> Exit {
        let (doors, concurrency) = (self.doors, self.concurrency);
        let (home, long) = (self.store.data().home.clone(), self.store.data().long.clone());
        let served = settle(self.store.run_concurrent(async |accessor| match concurrency {
            1 => one_by_one(accessor, &doors, mailbox, in_flight, cold).await,
            _ => side_by_side(accessor, &doors, concurrency, mailbox, in_flight, cold).await,
        }));
        let ended = tokio::select! {
            ended = metered(served, home, long) => Some(ended),
            () = in_flight.given_up() => None,
        };
        end(self.store, ended, in_flight)
    }
}

/// Ends an instance that serves no more, and tells those who are still in it. `ended` is none when it was given up.
pub(super) fn end(
    store: Store<Guest>,
    ended: Option<wasmtime::Result<wasmtime::Result<()>>>,
    in_flight: &InFlight,
) -> Exit {
    // Its turns had ended, and it only waited for what nobody answers any more: that says nothing of the guest.
    let in_vain = ended.is_none() && in_flight.are_in_vain();
    let exit = match ended {
        Some(Ok(Ok(()))) if in_flight.is_retiring() => Exit::Retired,
        Some(Ok(Ok(()))) => Exit::Closed,
        Some(Ok(Err(error)) | Err(error)) => {
            let (reason, detail) = (explain(&error, &store), story(&error));
            Exit::Trapped { trace: in_flight.trapped(&reason, &detail), reason, detail }
        }
        None if in_vain => Exit::Retired,
        None => Exit::Overran,
    };
    // The store goes first, so that nothing of the guest runs on after its callers were told.
    drop(store);
    in_flight.fail_all(&match &exit {
        Exit::Retired if in_vain => Fault::Deadline(Ran::Yes),
        Exit::Closed | Exit::Retired => Fault::Unknown("the instance stopped".to_owned()),
        Exit::Overran => Fault::Deadline(Ran::Yes),
        Exit::Trapped { reason, .. } => Fault::Trapped(reason.clone()),
    });
    exit
}

/// The common case, without any bookkeeping for several turns.
async fn one_by_one(
    accessor: &Accessor<Guest>,
    doors: &Doors,
    mailbox: &mut mpsc::Receiver<Turn>,
    in_flight: &InFlight,
    cold: Option<Cold>,
) -> wasmtime::Result<()> {
    let home = accessor.with(|mut access| access.data_mut().home.clone());
    // An instance whose turn overran and then ended after all is not trusted with another.
    while !in_flight.is_retiring()
        && let Some(turn) = mailbox.recv().await
    {
        if let Some(turn) = begin(turn, cold, &home) {
            let began = Instant::now();
            run(accessor, doors, turn, in_flight).await?;
            if began.elapsed() > LONG {
                tokio::task::yield_now().await;
            }
        }
    }
    Ok(())
}

async fn side_by_side(
    accessor: &Accessor<Guest>,
    doors: &Doors,
    concurrency: usize,
    mailbox: &mut mpsc::Receiver<Turn>,
    in_flight: &InFlight,
    cold: Option<Cold>,
) -> wasmtime::Result<()> {
    let home = accessor.with(|mut access| access.data_mut().home.clone());
    let mut running = FuturesUnordered::new();
    let mut open = true;
    while open || !running.is_empty() {
        // An instance with a turn that overran takes no new ones, and is dropped when the others are done.
        let retiring = in_flight.is_retiring();
        if retiring && running.is_empty() {
            return Ok(());
        }
        let admits = open && running.len() < concurrency && !retiring;
        tokio::select! {
            done = running.next(), if !running.is_empty() => {
                if let Some(done) = done {
                    done?;
                }
            }
            turn = mailbox.recv(), if admits => match turn {
                Some(turn) => {
                    if let Some(turn) = begin(turn, cold, &home) {
                        running.push(run(accessor, doors, turn, in_flight));
                    }
                }
                None => open = false,
            },
        }
    }
    Ok(())
}

/// A turn that leaves the mailbox, if it is still worth running.
pub(super) fn begin(turn: Turn, cold: Option<Cold>, home: &Home) -> Option<Turn> {
    let mut turn = turn.begin()?;
    turn.show_to(&home.taps, home.version);
    if let Some(cold) = cold {
        turn.waiting.waited_for(cold);
    }
    Some(turn)
}

/// Runs one turn to its end. An error is a trap.
async fn run(
    accessor: &Accessor<Guest>,
    doors: &Doors,
    turn: Turn,
    in_flight: &InFlight,
) -> wasmtime::Result<()> {
    if let Cause::Link(link) = &turn.message.cause {
        let (inner, link) = (&doors.compiled.inner, link.clone());
        let (exports, room) = (&inner.exports, &inner.engine.shared.room);
        let limit = doors.payload_limit as u64;
        // Boxed, so that the turns of a handler, which are many more, do not have its size.
        let run = exports::run(accessor, doors.instance, (exports, room), (link, turn), limit, in_flight);
        return Box::pin(run).await;
    }
    let Turn { context, message, waiting } = turn;
    // Nothing is kept here by which a letter could be known again.
    let Message { operation, payload, content_type, caller, attempt, cause } = message;
    if matches!(cause, Cause::Http(_)) {
        waiting.answer(Err(no_http()));
        return Ok(());
    }
    let Some(handle) = doors.handle else {
        let exported = doors.compiled.links().exported();
        let reason = format!("{operation} (it takes no messages; others are linked to {exported})");
        waiting.answer(Err(Fault::NoSuchOperation(reason)));
        return Ok(());
    };
    let remaining = context.deadline.saturating_duration_since(Instant::now());
    let message = abi::Message {
        id: context.id.shared(),
        operation: operation.shared(),
        payload: payload.into(),
        content_type: content_type.as_str().to_owned(),
        caller,
        remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
        traceparent: context.trace.as_ref().map(|scope| scope.context.parent.to_string()),
        attempt,
    };
    let slot = in_flight.enter(context.clone(), waiting);
    let call = accessor.with(|mut access| {
        let call = handle.start_call_concurrent(access.as_context_mut(), (message,))?;
        let task = call.task();
        access.data_mut().enter(task, context.clone());
        wasmtime::error::Ok((task, call))
    });
    // What cannot even be started has poisoned nothing yet, but says that the store is unusable.
    let (task, call) = call?;
    let (answer,) = handle.finish_call_concurrent(accessor, call).await?;
    accessor.with(|mut access| access.data_mut().leave(task, &context));
    in_flight.answer(slot, told(answer, doors.payload_limit, &context));
    Ok(())
}

/// What a caller is told of a guest's reply.
pub(super) fn told(reply: Result<Vec<u8>, Failure>, limit: usize, context: &TurnContext) -> Answer {
    match reply {
        Ok(payload) if payload.len() > limit => {
            Err(Fault::TooLarge { limit: limit as u64, size: payload.len() as u64, ran: Ran::Yes })
        }
        Ok(payload) => Ok(payload.into()),
        Err(failure) => Err(failure.into_answer(context.has_called())),
    }
}

/// Why a guest could not be made; one sentence.
pub(super) enum Unmade {
    /// This machine has no room for another one at the moment.
    NoRoom(String),
    /// Whatever the moment.
    Broken(String),
}

impl Unmade {
    pub(super) fn into_reason(self) -> String {
        let (Unmade::NoRoom(reason) | Unmade::Broken(reason)) = self;
        reason
    }

    /// What a guest that was refused memory does then says nothing about the guest.
    fn because(reason: String, store: &Store<Guest>) -> Self {
        if store.data().limiter.starved { Unmade::NoRoom(reason) } else { Unmade::Broken(reason) }
    }
}

/// Why a guest could not be made, or woken.
pub(super) fn unmade(error: &wasmtime::Error, store: &Store<Guest>) -> Unmade {
    let reason = explain(error, store);
    // The pool is used up; or the system makes no further mappings, of which each guest takes several.
    match error.is::<wasmtime::PoolConcurrencyLimitError>() || guest::is_out_of_memory(error) {
        true => Unmade::NoRoom(reason),
        false => Unmade::because(reason, store),
    }
}

/// All that is known of a trap, with the guest's frames; those of the node say nothing of it.
pub(super) fn story(error: &wasmtime::Error) -> String {
    format!("{error:#}")
}

/// One sentence for callers and operators.
pub(super) fn explain(error: &wasmtime::Error, store: &Store<Guest>) -> String {
    if let Some(wanted) = store.data().limiter.refused {
        let limit = store.data().home.settings.limits.memory;
        return format!("it asked for {wanted} bytes of memory, and its limit is {limit}");
    }
    error.root_cause().to_string()
}
