//! `lattice:actor/log`: a guest's log lines, as events of this node with the actor's name and trace.

use wasmtime::component::{ComponentType, Lift, Linker};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::engine::{self, Guest};

/// Longer lines are cut: a guest must not fill this node's log with one call.
const MAX_LINE: usize = 8 << 10;

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
            if store.data().home.settings.grants.log {
                let turn = engine::current_turn(store.as_context_mut());
                let trace = turn.and_then(|turn| turn.trace.as_ref().map(|trace| trace.parent.to_string()));
                emit(
                    level,
                    &store.data().home.actor.to_string(),
                    cut(&target),
                    cut(&message),
                    trace.as_deref(),
                );
            }
            Ok(())
        },
    )
}

fn emit(level: Level, actor: &str, module: &str, message: &str, trace: Option<&str>) {
    match level {
        Level::Trace => tracing::trace!(target: "guest", actor, module, trace, "{message}"),
        Level::Debug => tracing::debug!(target: "guest", actor, module, trace, "{message}"),
        Level::Info => tracing::info!(target: "guest", actor, module, trace, "{message}"),
        Level::Warn => tracing::warn!(target: "guest", actor, module, trace, "{message}"),
        Level::Error => tracing::error!(target: "guest", actor, module, trace, "{message}"),
    }
}

fn cut(text: &str) -> &str {
    match text.char_indices().map(|(at, _)| at).find(|at| *at >= MAX_LINE) {
        Some(at) => &text[..at],
        None => text,
    }
}
