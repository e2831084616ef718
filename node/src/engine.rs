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
mod runtime;
mod settle;
mod used;

use std::path::Path;
use std::sync::Arc;

pub(crate) use abi::{CallOptions, Failure};
pub use compile::Compiled;
pub use guest::Home;
pub(crate) use guest::{Guest, MAX_CALLS, current_turn};
pub use inspect::{Needs, Refused};
pub use instance::{Exit, Instance};
pub use keyed::{Asleep, Done, Ended, KeyedInstance, Serving, Unwoken};
pub use links::{Function, Links, Sided};
pub use prepare::GIVEN_UP;

use runtime::{Kind, Runtime, TICK};

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

/// A cheap handle on what compiles and runs the guests of this node.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    full: Runtime,
    plain: Runtime,
    /// For the values that arrive over links.
    room: links::room::Room,
}

impl Engine {
    /// Starts an engine that keeps compiled code under `data` and reserves `pool` guest memories for each kind of guest.
    ///
    /// # Errors
    /// When Wasmtime refuses or the cache folder cannot be made.
    pub fn start(data: &Path, pool: u32) -> Result<Self, Error> {
        let wanted = 2 * u64::from(pool) * MAPPINGS + SPARE;
        if let Some(allowed) = mappings().filter(|allowed| wanted > *allowed) {
            tracing::warn!(
                pool,
                "so many guests may take {wanted} mappings of memory, and the system allows {allowed}: lower `pool`, or allow \
                 more with `sysctl -w vm.max_map_count={wanted}`"
            );
        }
        let start = |kind| Runtime::start(kind, data, pool);
        let (full, plain) = (start(Kind::Full)?, start(Kind::Plain)?);
        runtime::tick(&[&full.engine, &plain.engine]);
        let room = links::room::Room::default();
        Ok(Self { shared: Arc::new(Shared { full, plain, room }) })
    }

    /// What guests of this kind run on.
    fn runtime(&self, kind: Kind) -> &Runtime {
        match kind {
            Kind::Full => &self.shared.full,
            Kind::Plain => &self.shared.plain,
        }
    }
}

/// How many mappings a process may have, where the system says so.
fn mappings() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?;
    text.trim().parse().ok()
}
