//! What a store holds for its guest: WASI with nothing in it, limits, and who is being served.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lattice_proto::ActorId;
use lattice_proto::manifest::Settings;
use wasmtime::component::{GuestTaskId, ResourceTable};
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::capability;
use crate::replica::TurnContext;
use crate::router::Router;

/// The most tables' elements that one guest may have: ten times what large toolchains emit.
const MAX_TABLE: usize = 1_000_000;

/// What all replicas of one actor on this node share.
pub struct Home {
    /// Who the actor is.
    pub actor: ActorId,
    /// What its manifest says.
    pub settings: Settings,
    /// Through whom it calls others.
    pub router: Router,
}

/// The data of one store.
pub(crate) struct Guest {
    pub(crate) home: Arc<Home>,
    wasi: WasiCtx,
    table: ResourceTable,
    pub(super) limiter: Limiter,
    /// The turns that run in this store, by the task that runs them.
    turns: HashMap<GuestTaskId, Arc<TurnContext>>,
    /// When the guest last came from or went to the outside.
    progress: Instant,
}

impl Guest {
    pub(super) fn new(home: Arc<Home>) -> Self {
        let mut wasi = WasiCtx::builder();
        for (name, value) in &home.settings.env {
            wasi.env(name, value);
        }
        let lines = capability::GuestOutput::new(home.actor.to_string(), home.settings.grants.log);
        wasi.stdout(lines.clone()).stderr(lines);
        // Nothing is reachable from a guest, so not even the attempt is allowed.
        wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        let memory = usize::try_from(home.settings.limits.memory.0).unwrap_or(usize::MAX);
        Self {
            wasi: wasi.build(),
            table: ResourceTable::new(),
            limiter: Limiter { memory, refused: None },
            turns: HashMap::new(),
            progress: Instant::now(),
            home,
        }
    }

    pub(super) fn enter(&mut self, task: GuestTaskId, turn: Arc<TurnContext>) {
        self.progress = Instant::now();
        self.turns.insert(task, turn);
    }

    pub(super) fn leave(&mut self, task: GuestTaskId) {
        self.progress = Instant::now();
        self.turns.remove(&task);
    }

    /// Called when control goes back to the guest, so that only computing counts against `limits.turn`.
    pub(crate) fn made_progress(&mut self) {
        self.progress = Instant::now();
    }
}

/// Which turn a host function was called from. None for what a guest does outside of any turn, while it starts.
pub(crate) fn current_turn(mut store: StoreContextMut<'_, Guest>) -> Option<Arc<TurnContext>> {
    if store.data().turns.len() > 1 {
        // The last of the stack is the task that the node itself started.
        let task = store.async_call_stack().ok()?.last()?;
        return store.data().turns.get(&task).cloned();
    }
    store.data().turns.values().next().cloned()
}

/// What happens when the epoch has moved while the guest computes.
pub(super) fn on_epoch(store: &StoreContextMut<'_, Guest>) -> wasmtime::Result<UpdateDeadline> {
    let guest = store.data();
    let limit: Duration = guest.home.settings.limits.turn.duration();
    if guest.progress.elapsed() > limit {
        return Err(wasmtime::Error::msg(format!(
            "it computed for more than {} without giving way",
            guest.home.settings.limits.turn
        )));
    }
    Ok(UpdateDeadline::Yield(1))
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Holds a guest to its memory limit and remembers when it hit it.
pub(super) struct Limiter {
    memory: usize,
    pub(super) refused: Option<usize>,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.memory {
            self.refused = Some(desired);
            return Ok(false);
        }
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE)
    }
}
