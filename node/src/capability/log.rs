//! `lattice:actor/log` and `wasi:logging`: a guest's log lines, as events of this node with the actor's name and trace.

use lattice_proto::log;
use wasmtime::component::{ComponentType, Lift, Linker};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::engine::{self, Guest};

#[allow(dead_code, reason = "the derived `Lift` makes them by number")]
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

/// The standard's, which has one more.
#[allow(dead_code, reason = "the derived `Lift` makes them by number")]
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
enum StandardLevel {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    type Store<'a> = StoreContextMut<'a, Guest>;
    linker.instance("lattice:actor/log@0.1.0")?.func_wrap(
        "log",
        |store: Store<'_>, (level, target, message): (Level, String, String)| {
            say(store, level.into(), &target, &message);
            Ok(())
        },
    )?;
    linker.instance("wasi:logging/logging@0.1.0-draft")?.func_wrap(
        "log",
        |store: Store<'_>, (level, context, message): (StandardLevel, String, String)| {
            say(store, level.into(), &context, &message);
            Ok(())
        },
    )
}

/// Without the grant the function is there, so that one artifact fits every manifest, and says nothing.
fn say(mut store: StoreContextMut<'_, Guest>, level: log::Level, target: &str, message: &str) {
    if store.data().speaker.is_heard() {
        let turn = engine::current_turn(store.as_context_mut());
        let trace = turn.and_then(|turn| turn.trace.as_ref().map(|scope| scope.context.parent));
        store.data().speaker.say(level, target, message, trace);
    }
}

impl From<Level> for log::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

impl From<StandardLevel> for log::Level {
    fn from(level: StandardLevel) -> Self {
        match level {
            StandardLevel::Trace => Self::Trace,
            StandardLevel::Debug => Self::Debug,
            StandardLevel::Info => Self::Info,
            StandardLevel::Warn => Self::Warn,
            StandardLevel::Error | StandardLevel::Critical => Self::Error,
        }
    }
}
