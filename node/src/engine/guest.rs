//! What a store holds for its guest: WASI with nothing in it, limits, and who is being served.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;

use lattice_proto::ActorId;
use lattice_proto::manifest::Settings;
use wasmtime::component::{GuestTaskId, ResourceTable};
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::TICK;
use crate::capability::{self, Outgoing};
use crate::client::Client;
use crate::events::Events;
use crate::logs::{self, Speaker, Speaking};
use crate::replica::{Tally, TurnContext};
use crate::router::Router;
use crate::stores::Stores;
use crate::tap::Taps;
use crate::telemetry::metrics::{Edges, Meter, Pooled};
use crate::topics::Publisher;

/// The most elements of one table. The pool's own limit, so that a guest fares the same where there is none.
const MAX_TABLE: usize = 20_000;

/// Calls that one guest may have on their way at once. Each holds its payload in the node's memory.
pub(crate) const MAX_CALLS: usize = 1_024;

/// A guest that computes is found at it once a tick, in milliseconds; with room for a machine that is busy.
const WAITED: u64 = 3 * TICK.as_millis() as u64;

/// Resources of WASI that one guest may hold.
const MAX_RESOURCES: usize = 10_000;

/// What all replicas of one actor on this node share.
pub struct Home {
    /// Who the actor is.
    pub actor: ActorId,
    /// What its manifest says.
    pub settings: Settings,
    /// Through whom it calls others.
    pub router: Router,
    /// Through what it asks others by HTTP.
    pub client: Client,
    /// What they keep by interfaces of the standard.
    pub stores: Stores,
    /// By what they publish.
    pub topics: Publisher,
    /// What became of their turns.
    pub tally: Tally,
    /// Where their crashes are told.
    pub events: Events,
    /// The actor's version: the revision of its app that last changed what it runs.
    pub version: u64,
    /// Where their turns are measured.
    pub meter: Arc<Meter>,
    /// Where the calls that they make are counted.
    pub edges: Arc<Edges>,
    /// Where their words are kept.
    pub lines: logs::Store,
    /// Who watches their messages.
    pub taps: Taps,
    /// Which stores they were refused, as far as that was told.
    pub refused: logs::Once,
}

impl Home {
    /// The way to the log for a guest that stands for this actor, which is the home's own or one key of it.
    pub(crate) fn speaker(&self, actor: ActorId) -> Speaker {
        Speaker::new(self.lines.clone(), actor, self.version, self.settings.grants.log, self.meter.clone())
    }
}

/// Why a guest stood still.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// It was asked to give way.
    asked: AtomicBool,
    /// It waited for something else.
    waited: AtomicBool,
}

impl Pauses {
    /// The guest stands still.
    pub(super) fn pauses(&self) {
        if !self.asked.swap(false, Ordering::Relaxed) {
            self.waited.store(true, Ordering::Relaxed);
        }
    }
}

/// The turns that run in a store.
pub(super) enum Turns {
    /// By the task that runs them.
    ByTask(HashMap<GuestTaskId, Arc<TurnContext>>),
    /// One after the other, which need no task of Wasmtime's to be told apart.
    Alone(Option<Arc<TurnContext>>),
}

impl Turns {
    fn is_empty(&self) -> bool {
        match self {
            Turns::ByTask(turns) => turns.is_empty(),
            Turns::Alone(turn) => turn.is_none(),
        }
    }

    /// The one that runs, where no other does.
    fn only(&self) -> Option<&Arc<TurnContext>> {
        match self {
            Turns::ByTask(turns) => turns.values().next().filter(|_| turns.len() == 1),
            Turns::Alone(turn) => turn.as_ref(),
        }
    }
}

/// The data of one store.
pub(crate) struct Guest {
    pub(crate) home: Arc<Home>,
    /// Who it is: the actor, and for a keyed one also the key.
    pub(crate) actor: ActorId,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    /// Its way out by HTTP.
    pub(crate) outgoing: Outgoing,
    table: ResourceTable,
    pub(super) limiter: Limiter,
    turns: Turns,
    /// Ticks of the epoch in which the guest was found computing, since it last gave way.
    ticks: u32,
    born: Instant,
    /// When it was last let in, by a message or after it had to give way: milliseconds since it was born.
    resumed: Arc<AtomicU64>,
    /// Calls to other actors that it has not got the answers of yet.
    pub(crate) calls: Arc<Semaphore>,
    /// Whether it gives way as it was asked to, and whether it has waited for something meanwhile.
    pub(super) pauses: Arc<Pauses>,
    /// Its way to the log.
    pub(crate) speaker: Speaker,
    /// The turn that it is in, for what it prints.
    speaking: Speaking,
    /// Set when it was found computing for long.
    pub(super) long: Arc<AtomicBool>,
}

impl Guest {
    pub(super) fn new(home: Arc<Home>, actor: ActorId, turns: Turns) -> Self {
        let mut wasi = WasiCtx::builder();
        for (name, value) in &home.settings.env {
            wasi.env(name, value);
        }
        let (speaker, speaking) = (home.speaker(actor.clone()), Speaking::default());
        let lines = capability::GuestOutput::new(speaker.clone(), speaking.clone());
        wasi.stdout(lines.clone()).stderr(lines);
        // Nothing is reachable from a guest, so not even the attempt is allowed.
        wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let memory = usize::try_from(home.settings.limits.memory.0).unwrap_or(usize::MAX);
        Self {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            outgoing: Outgoing::new(home.clone()),
            table,
            limiter: Limiter {
                memory,
                used: 0,
                pooled: Pooled::new(home.meter.used.memory.clone()),
                last_growth: 0,
                refused: None,
                starved: false,
            },
            turns,
            ticks: 0,
            born: Instant::now(),
            resumed: Arc::default(),
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
            speaker,
            speaking,
            long: Arc::default(),
            pauses: Arc::default(),
            actor,
            home,
        }
    }

    pub(super) fn enter(&mut self, task: GuestTaskId, turn: Arc<TurnContext>) {
        self.ticks = 0;
        self.resumed.store(self.since_birth(), Ordering::Relaxed);
        match &mut self.turns {
            Turns::ByTask(turns) => drop(turns.insert(task, turn)),
            Turns::Alone(_) => debug_assert!(false, "it has one turn at a time, and that is no task"),
        }
        self.speaks();
    }

    /// The same for a store that has one at a time.
    pub(super) fn enter_alone(&mut self, turn: Arc<TurnContext>) {
        self.ticks = 0;
        self.resumed.store(self.since_birth(), Ordering::Relaxed);
        debug_assert!(self.is_alone(), "it has a turn for each task");
        self.turns = Turns::Alone(Some(turn));
        self.speaks();
    }

    /// How many resources of WASI it has.
    pub(super) fn holds(&mut self) -> usize {
        self.table.iter_mut().count()
    }

    /// Whether it has an HTTP body that it has not finished, by WASI 0.2. That of a request to a server counts as well, which nobody can tell
    /// from that of its answer.
    pub(super) fn holds_body(&mut self) -> bool {
        self.table.iter_mut().any(|held| held.is::<HostOutgoingBody>())
    }

    /// The turn that it was for has ended, and another one may come.
    pub(super) fn rests(&mut self) {
        self.turns = Turns::Alone(None);
        self.speaking.set(None);
        // What an earlier request was refused says nothing of a later one's trap.
        (self.limiter.refused, self.limiter.starved) = (None, false);
    }

    /// What it prints belongs to a turn only while that is the only one.
    fn speaks(&self) {
        if !self.speaker.is_heard() {
            return;
        }
        let only = self.turns.only();
        self.speaking.set(only.and_then(|turn| turn.trace.as_ref()).map(|scope| scope.context.parent));
    }

    pub(super) fn leave(&mut self, task: GuestTaskId, turn: &Arc<TurnContext>) {
        let Turns::ByTask(turns) = &mut self.turns else { return };
        // Task ids are used again, so only this turn's own entry goes.
        if turns.get(&task).is_some_and(|current| Arc::ptr_eq(current, turn)) {
            turns.remove(&task);
            self.speaks();
        }
    }

    /// Whether its store has one turn at a time.
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self.turns, Turns::Alone(_))
    }

    fn since_birth(&self) -> u64 {
        millis_since(self.born)
    }

    /// Called after a call that really went out and came back: the guest has given way meanwhile.
    pub(crate) fn gave_way(&mut self) {
        self.ticks = 0;
    }
}

/// Which turn a host function was called from. None for what a guest does outside of any turn, while it starts.
pub(crate) fn current_turn(mut store: StoreContextMut<'_, Guest>) -> Option<Arc<TurnContext>> {
    // Of a store that has no tasks Wasmtime must not be asked for one.
    if let Turns::Alone(turn) = &store.data().turns {
        return turn.clone();
    }
    // The last of the stack is the task that the node itself started. A task may go on after it has answered; it belongs
    // to no turn then, and must not be taken for the next one.
    let task = store.async_call_stack().ok()?.last()?;
    let Turns::ByTask(turns) = &store.data().turns else { return None };
    turns.get(&task).cloned()
}

fn millis_since(born: Instant) -> u64 {
    u64::try_from(born.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What happens when the epoch has moved while the guest computes.
///
/// Each call stands for at most one tick of computing, however long the guest waited before it and however busy the
/// machine is. What a guest does outside of any turn counts as well: nobody waits for it.
pub(super) fn on_epoch(mut store: StoreContextMut<'_, Guest>) -> wasmtime::Result<UpdateDeadline> {
    let guest = store.data_mut();
    if guest.pauses.waited.swap(false, Ordering::Relaxed) {
        guest.ticks = 0;
    }
    // A guest that comes here long after it was let in again has waited for something meanwhile, and not computed: then
    // it would have been here before.
    // Outside of any turn there is no deadline that would end it, so nothing is forgiven there.
    let idle = guest.turns.is_empty();
    let computing =
        idle || guest.since_birth().saturating_sub(guest.resumed.load(Ordering::Relaxed)) < WAITED;
    guest.ticks = if computing { guest.ticks.saturating_add(1) } else { 0 };
    guest.long.store(computing, Ordering::Relaxed);
    if TICK.saturating_mul(guest.ticks) > guest.home.settings.limits.turn.duration() {
        return Err(wasmtime::Error::msg(format!(
            "it computed for more than {} without giving way",
            guest.home.settings.limits.turn
        )));
    }
    let (born, resumed) = (guest.born, guest.resumed.clone());
    guest.pauses.asked.store(true, Ordering::Relaxed);
    // How long others keep the processor is not the guest's doing, so it is let in again when this future ends.
    let give_way = async move {
        tokio::task::yield_now().await;
        resumed.store(millis_since(born), Ordering::Relaxed);
    };
    Ok(UpdateDeadline::YieldCustom(1, Box::pin(give_way)))
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outgoing, table: &mut self.table, ctx: &mut self.http }
    }
}

/// Whether the system refused memory, or to map more of it.
pub(super) fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<rustix::io::Errno>().is_some_and(|errno| *errno == rustix::io::Errno::NOMEM)
}

/// Holds a guest to its memory limit and remembers when it hit it.
pub(super) struct Limiter {
    /// All linear memories of the store together, in bytes.
    memory: usize,
    used: usize,
    /// The same as part of what all guests of the actor have.
    pooled: Pooled,
    /// Given back when the growth fails after all.
    last_growth: usize,
    pub(super) refused: Option<usize>,
    /// Whether the system had no memory to give it.
    pub(super) starved: bool,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.used.saturating_add(desired.saturating_sub(current));
        if total > self.memory {
            self.refused = Some(total);
            return Ok(false);
        }
        self.last_growth = total - self.used;
        self.used = total;
        self.pooled.set(total as u64);
        self.refused = None;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.starved |= is_out_of_memory(&error);
        self.used = self.used.saturating_sub(std::mem::take(&mut self.last_growth));
        self.pooled.set(self.used as u64);
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE)
    }
}
