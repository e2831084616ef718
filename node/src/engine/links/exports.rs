//! Calls of what a component exports, by actors that are linked to it.

use std::collections::BTreeMap;

use lattice_proto::envelope::Link;
use lattice_proto::{Digest, Fault, InterfaceName, Operation};
use wasmtime::AsContextMut;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Accessor, Component, ComponentExportIndex, Instance, Val};

use super::{Links, answering, fingerprint, named, wave};
use crate::engine::{Engine, Guest};
use crate::replica::{InFlight, Message, Turn};

/// What is entered for each function that others can be linked to.
#[derive(Default)]
pub(in crate::engine) struct Exports(BTreeMap<InterfaceName, BTreeMap<Operation, Exported>>);

/// One function.
struct Exported {
    index: ComponentExportIndex,
    kind: ComponentFunc,
    fingerprint: Digest,
}

impl Exports {
    /// Of a component that was read.
    pub(in crate::engine) fn find(engine: &Engine, component: &Component, links: &Links) -> Self {
        let engine = &engine.shared.engine;
        let kind = component.component_type();
        let mut found = Self::default();
        for (interface, functions) in &links.exports {
            let export = kind.get_export(engine, interface.as_str()).map(|export| export.ty);
            let parent = component.get_export_index(None, interface.as_str());
            let (Some(ComponentItem::ComponentInstance(instance)), Some(parent)) = (export, parent) else {
                continue;
            };
            for (operation, export) in functions {
                let index = component.get_export_index(Some(&parent), operation.as_str());
                let kind = instance.get_export(engine, operation.as_str()).map(|export| export.ty);
                let (Ok(function), Some(index), Some(ComponentItem::ComponentFunc(kind))) =
                    (export, index, kind)
                else {
                    continue;
                };
                let exported = Exported { index, kind, fingerprint: fingerprint(function) };
                found.0.entry(interface.clone()).or_default().insert(operation.clone(), exported);
            }
        }
        found
    }

    /// The function that a link means, if it is what the caller takes it for.
    fn get(&self, link: &Link, operation: &Operation) -> Result<&Exported, Fault> {
        let found = answering(&self.0, &link.interface).and_then(|(_, functions)| functions.get(operation));
        let name = named(&link.interface, operation);
        let exported = found.ok_or_else(|| Fault::NoSuchOperation(name.clone()))?;
        match exported.fingerprint == link.fingerprint {
            true => Ok(exported),
            false => Err(Fault::Malformed(format!(
                "`{name}` has other types in the version that runs than its caller was built with; deploy the two together"
            ))),
        }
    }
}

/// Runs one turn that is a call of such a function to its end. An error is a trap.
pub(in crate::engine) async fn run(
    accessor: &Accessor<Guest>,
    instance: Instance,
    exports: &Exports,
    (link, turn): (Link, Turn),
    limit: u64,
    in_flight: &InFlight,
) -> wasmtime::Result<()> {
    let Turn { context, message, waiting } = turn;
    let Message { operation, payload, .. } = message;
    let entered = exports
        .get(&link, &operation)
        .and_then(|exported| Ok((exported, wave::read_arguments(&operation, &exported.kind, &payload)?)));
    let (exported, arguments) = match entered {
        Ok(entered) => entered,
        Err(fault) => {
            waiting.answer(Err(fault));
            return Ok(());
        }
    };
    // The values take its place.
    drop(payload);
    let mut results = vec![Val::Bool(false); exported.kind.results().len()];
    let slot = in_flight.enter(context.clone(), waiting);
    let (function, task, call) = {
        let (arguments, results) = (&arguments[..], &mut results[..]);
        accessor.with(|mut access| {
            let function = instance.get_func(access.as_context_mut(), exported.index);
            let function =
                function.ok_or_else(|| wasmtime::Error::msg("a function that it exports is gone"))?;
            let call = function.start_call_concurrent(access.as_context_mut(), arguments, results)?;
            let task = call.task();
            access.data_mut().enter(task, context.clone());
            wasmtime::error::Ok((function, task, call))
        })?
    };
    function.finish_call_concurrent(accessor, call).await?;
    accessor.with(|mut access| access.data_mut().leave(task, &context));
    in_flight.answer(slot, wave::result(&results, limit));
    Ok(())
}
