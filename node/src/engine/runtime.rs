//! The two engines of Wasmtime on a node, with what each of them links and has compiled.
//!
//! One can all that components can: guests whose functions are async, and many turns at once in one store. For that Wasmtime keeps a record of
//! each task, which has to be made with each store and each call. A component that was built for the HTTP of WASI 0.2, which has no async
//! functions, and gets an instance for each request, has no use for it and pays for it most: it runs on the other engine,
//! which is told to leave all of that out.

use std::path::Path;
use std::time::Duration;

use lattice_proto::Digest;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::cache::Cache;
use super::{Error, Guest};
use crate::capability;

/// How often running guests are asked to give way. Short enough that a spinning guest delays others little, long
/// enough that the check costs nothing.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// The stack of a guest. Wasmtime's own default.
const STACK: usize = 512 << 10;

/// What a slot for a table keeps of its memory, in bytes. It is set to zero by hand, which spares a call of the system for each table that
/// fits, and a page fault at its first use. Memories get no such part: what a guest has written to
/// lies in several places of them, the first of them behind its stack, and where exactly only `PAGEMAP_SCAN` would tell, which passes over
/// a page that is on its way to another place or to swap. The next guest would read what is in it.
const TABLE_KEPT: usize = 16 << 10;

/// What an engine can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All.
    Full,
    /// No async functions, and one call at a time.
    Plain,
}

/// One engine.
pub(super) struct Runtime {
    pub(super) engine: wasmtime::Engine,
    pub(super) linker: Linker<Guest>,
    cache: Cache,
}

impl Runtime {
    /// With `pool` guest memories reserved, if they can be had, and compiled code under `data`.
    pub(super) fn start(kind: Kind, data: &Path, pool: u32) -> Result<Self, Error> {
        let refused = |error: wasmtime::Error| Error::Start(format!("{error:#}"));
        let engine = match wasmtime::Engine::new(&config(kind, Some(pool))) {
            Ok(engine) => engine,
            Err(error) => {
                // Every pooled memory reserves gigabytes of address space, which not every system grants.
                tracing::warn!(%error, ?kind, pool, "cannot reserve the pool of guest memories; they are allocated on demand");
                wasmtime::Engine::new(&config(kind, None)).map_err(refused)?
            }
        };
        let mut linker = Linker::new(&engine);
        match kind {
            Kind::Full => capability::link(&mut linker),
            Kind::Plain => capability::link_plain(&mut linker),
        }
        .map_err(refused)?;
        let cache = Cache::open(data, &engine)?;
        Ok(Self { engine, linker, cache })
    }

    /// Whether there is compiled code of an artifact.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.cache.has(digest)
    }

    /// An artifact, as it was compiled before or is now.
    pub(super) fn component(&self, digest: &Digest, bytes: &[u8]) -> wasmtime::Result<Component> {
        match self.cache.load(&self.engine, digest) {
            Some(component) => Ok(component),
            None => {
                let component = Component::new(&self.engine, bytes)?;
                self.cache.store(digest, &component);
                Ok(component)
            }
        }
    }
}

fn config(kind: Kind, pool: Option<u32>) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true).max_wasm_stack(STACK).async_stack_size(STACK * 2);
    match kind {
        Kind::Full => config.wasm_component_model_async(true),
        Kind::Plain => config.concurrency_support(false),
    };
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

/// Advances the epochs of engines for as long as any of them lives.
pub(super) fn tick(engines: &[&wasmtime::Engine]) {
    let engines: Vec<_> = engines.iter().map(|engine| engine.weak()).collect();
    let thread = std::thread::Builder::new().name("epoch".to_owned());
    let spawned = thread.spawn(move || {
        loop {
            let mut living = false;
            for engine in engines.iter().filter_map(|engine| engine.upgrade()) {
                engine.increment_epoch();
                living = true;
            }
            if !living {
                break;
            }
            std::thread::sleep(TICK);
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "cannot start the thread that interrupts spinning guests");
    }
}
