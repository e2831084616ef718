//! The `log` facade, put through to the node.
//!
//! It never formats a message that the level drops.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::wasm::bindings::lattice::actor::log as node;

/// The variable of the manifest's `env` that sets the level.
const LEVEL: &str = "LATTICE_LOG";

struct NodeLog;

/// Sends messages to the node from now on, unless the actor installed a logger of its own.
pub(crate) fn install() {
    let level = std::env::var(LEVEL).ok().and_then(|level| level.parse().ok());
    let level = level.unwrap_or(LevelFilter::Info);
    if log::set_logger(&NodeLog).is_ok() {
        log::set_max_level(level);
    }
    #[cfg(feature = "tracing")]
    crate::spans::install(level);
}

impl Log for NodeLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => node::Level::Error,
            Level::Warn => node::Level::Warn,
            Level::Info => node::Level::Info,
            Level::Debug => node::Level::Debug,
            Level::Trace => node::Level::Trace,
        };
        match record.args().as_str() {
            Some(text) => node::log(level, record.target(), text),
            None => node::log(level, record.target(), &record.args().to_string()),
        }
    }

    fn flush(&self) {}
}
