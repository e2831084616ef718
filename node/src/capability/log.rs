//! `lattice:actor/log`: a guest's log lines, as events of this node with the actor's name and trace.

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

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.instance("lattice:actor/log@0.1.0")?.func_wrap(
        "log",
        |mut store: StoreContextMut<'_, Guest>, (level, target, message): (Level, String, String)| {
            // Without the grant the function is there, so that one artifact fits every manifest, and says nothing.
            if store.data().speaker.is_heard() {
                let turn = engine::current_turn(store.as_context_mut());
                let trace = turn.and_then(|turn| turn.trace.as_ref().map(|scope| scope.context.parent));
                store.data().speaker.say(level.into(), &target, &message, trace);
            }
            Ok(())
        },
    )
}

impl From<Level> for lattice_proto::log::Level {
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
