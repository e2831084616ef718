//! `lattice:actor/trace`: spans of a guest's own, under the turn that it is in.

use opentelemetry::Value;
use wasmtime::component::{ComponentType, Lift, Linker};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::engine::{self, Guest};
use crate::replica::TurnContext;

#[derive(ComponentType, Lift)]
#[component(variant)]
enum Said {
    #[component(name = "text")]
    Text(String),
    #[component(name = "integer")]
    Integer(i64),
    #[component(name = "float")]
    Float(f64),
    #[component(name = "flag")]
    Flag(bool),
}

impl From<Said> for Value {
    fn from(said: Said) -> Self {
        match said {
            Said::Text(text) => text.into(),
            Said::Integer(number) => number.into(),
            Said::Float(number) => number.into(),
            Said::Flag(flag) => flag.into(),
        }
    }
}

/// Does something with the spans of the turn that the guest is in.
fn with<T: Default>(mut store: StoreContextMut<'_, Guest>, what: impl FnOnce(&TurnContext) -> T) -> T {
    engine::current_turn(store.as_context_mut()).map(|turn| what(&turn)).unwrap_or_default()
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    type Store<'a> = StoreContextMut<'a, Guest>;
    let mut trace = linker.instance("lattice:actor/trace@0.1.0")?;
    trace.func_wrap("start", |store: Store<'_>, (name, parent): (String, u64)| {
        let start =
            |turn: &TurnContext| turn.trace.as_ref().map_or(0, |scope| turn.own.start(scope, parent, &name));
        Ok((with(store, start),))
    })?;
    trace.func_wrap("note", |store: Store<'_>, (span, key, value): (u64, String, Said)| {
        with(store, |turn| turn.own.note(span, &key, value.into()));
        Ok(())
    })?;
    type Attributes = Vec<(String, Said)>;
    trace.func_wrap("event", |store: Store<'_>, (span, name, attributes): (u64, String, Attributes)| {
        let attributes = attributes.into_iter().map(|(key, value)| (key, value.into())).collect();
        with(store, |turn| turn.own.event(span, &name, attributes));
        Ok(())
    })?;
    trace.func_wrap("fail", |store: Store<'_>, (span, reason): (u64, String)| {
        with(store, |turn| turn.own.fail(span, &reason));
        Ok(())
    })?;
    trace.func_wrap("end", |store: Store<'_>, (span,): (u64,)| {
        with(store, |turn| turn.own.end(span));
        Ok(())
    })?;
    trace.func_wrap("under", |store: Store<'_>, (span,): (u64,)| {
        with(store, |turn| turn.own.under(span));
        Ok(())
    })
}
