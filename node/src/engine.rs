//! Compiles, caches, limits and instantiates guests. It never reads the network, and with `capability` it is the only
//! place that names Wasmtime.
//!
//! A guest cannot be cancelled from outside: only dropping its store ends it. Hence one store per replica, an epoch
//! that ticks so that a spinning guest gives way, and a watchdog (in `replica`) that drops what overran.

mod abi;
mod cache;
mod check;
mod compile;
mod effects;
mod guest;
mod http;
mod inspect;
mod instance;
mod keyed;
pub(crate) mod links;
mod prepare;
mod settle;
mod used;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::capability;

pub(crate) use abi::{CallOptions, Failure};
pub use compile::Compiled;
pub use guest::Home;
pub(crate) use guest::{Guest, MAX_CALLS, current_turn};
pub use inspect::{Needs, Refused};
pub use instance::{Exit, Instance};
pub use keyed::{Asleep, Done, Ended, KeyedInstance, Serving, Unwoken};
pub use links::{Function, Links, Sided};
pub use prepare::GIVEN_UP;

/// How often running guests are asked to give way. Short enough that a spinning guest delays others little, long
/// enough that the check costs nothing.
const TICK: Duration = Duration::from_millis(10);

/// The stack of a guest. Wasmtime's own default.
const STACK: usize = 512 << 10;

/// What a slot for a table keeps of its memory, in bytes. It is set to zero by hand, which spares a call of the system for each table that
/// fits, and a page fault at its first use. Memories get no such part: what a guest has written to
/// lies in several places of them, the first of them behind its stack, and where exactly only `PAGEMAP_SCAN` would tell, which passes over
/// a page that is on its way to another place or to swap. The next guest would read what is in it.
const TABLE_KEPT: usize = 16 << 10;

/// Mappings of memory that a guest takes: two for its stack, from the start on, and up to four for its memory.
const MAPPINGS: u64 = 6;

/// Those that the process needs for itself.
const SPARE: u64 = 4_000;

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Wasmtime refused its configuration.
    #[error("cannot start the Wasm engine: {0}")]
    Start(String),
    /// The folder of compiled code cannot be used.
    #[error("cannot use the cache of compiled code: {0}")]
    Cache(#[from] std::io::Error),
}

/// A cheap handle on the one engine of this node.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    engine: wasmtime::Engine,
    linker: Linker<Guest>,
    cache: cache::Cache,
    /// For the values that arrive over links.
    room: links::room::Room,
}

impl Engine {
    /// Starts an engine that keeps compiled code under `data` and reserves `pool` guest memories.
    ///
    /// # Errors
    /// When Wasmtime refuses or the cache folder cannot be made.
    pub fn start(data: &Path, pool: u32) -> Result<Self, Error> {
        let wanted = u64::from(pool) * MAPPINGS + SPARE;
        if let Some(allowed) = mappings().filter(|allowed| wanted > *allowed) {
            tracing::warn!(
                pool,
                "so many guests may take {wanted} mappings of memory, and the system allows {allowed}: lower `pool`, or allow \
                 more with `sysctl -w vm.max_map_count={wanted}`"
            );
        }
        let engine = match wasmtime::Engine::new(&config(Some(pool))) {
            Ok(engine) => engine,
            Err(error) => {
                // Every pooled memory reserves gigabytes of address space, which not every system grants.
                tracing::warn!(%error, pool, "cannot reserve the pool of guest memories; they are allocated on demand");
                wasmtime::Engine::new(&config(None)).map_err(|error| Error::Start(format!("{error:#}")))?
            }
        };
        let mut linker = Linker::new(&engine);
        capability::link(&mut linker).map_err(|error| Error::Start(format!("{error:#}")))?;
        let cache = cache::Cache::open(data, &engine)?;
        tick(&engine);
        let room = links::room::Room::default();
        Ok(Self { shared: Arc::new(Shared { engine, linker, cache, room }) })
    }
}

/// How many mappings a process may have, where the system says so.
fn mappings() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?;
    text.trim().parse().ok()
}

fn config(pool: Option<u32>) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(STACK)
        .async_stack_size(STACK * 2)
        .wasm_component_model_async(true);
    if let Some(pool) = pool {
        let mut pooling = PoolingAllocationConfig::new();
        pooling
            .total_component_instances(pool)
            // A component made by Rust's own toolchain has a module, a shim and a fix-up.
            .total_core_instances(pool.saturating_mul(4))
            .total_memories(pool)
            .total_tables(pool.saturating_mul(4))
            .total_stacks(pool)
            .total_gc_heaps(pool)
            .max_memories_per_component(4)
            .max_tables_per_component(16)
            .max_core_instances_per_component(32)
            .max_component_instance_size(1 << 20)
            .max_core_instance_size(1 << 20)
            .table_keep_resident(TABLE_KEPT);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling));
    }
    config
}

/// Advances the epoch for as long as the engine lives.
fn tick(engine: &wasmtime::Engine) {
    let engine = engine.weak();
    let thread = std::thread::Builder::new().name("epoch".to_owned());
    let spawned = thread.spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "cannot start the thread that interrupts spinning guests");
    }
}
