//! Calls of what a component exports, by actors that are linked to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lattice_proto::envelope::Link;
use lattice_proto::{Digest, Fault, InterfaceName, Operation, Ran};
use wasmtime::AsContextMut;
use wasmtime::component::{Accessor, Component, ComponentExportIndex, Instance, Val};

use super::room::{Held, Room, Share};
use super::{Function, Links, answering, fingerprint, named, wave};
use crate::engine::Guest;
use crate::replica::{InFlight, Message, Turn, TurnContext};

/// What is entered for each function that others can be linked to.
#[derive(Default)]
pub(in crate::engine) struct Exports(BTreeMap<InterfaceName, BTreeMap<Operation, Exported>>);

/// One function.
struct Exported {
    index: ComponentExportIndex,
    function: Arc<Function>,
    fingerprint: Digest,
}

impl Exports {
    /// Of a component that was read.
    pub(in crate::engine) fn find(component: &Component, links: &Links) -> Self {
        let mut found = Self::default();
        for (interface, functions) in &links.exports {
            let Some(parent) = component.get_export_index(None, interface.as_str()) else { continue };
            for (operation, export) in functions {
                let index = component.get_export_index(Some(&parent), operation.as_str());
                let (Ok(export), Some(index)) = (export, index) else { continue };
                let (function, fingerprint) =
                    (Arc::new(export.function.clone()), fingerprint(&export.function));
                let exported = Exported { index, function, fingerprint };
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
            false => Err(Fault::NoSuchOperation(format!(
                "{name} (of the types that its caller was built with; deploy the two together)"
            ))),
        }
    }
}

/// The function that a turn means, with its arguments and the room that they take.
async fn enters<'a>(
    exports: &'a Exports,
    room: &Room,
    link: &Link,
    message: Message,
    context: &TurnContext,
) -> Result<(&'a Exported, Vec<Val>, Share), Fault> {
    let Message { operation, payload, .. } = message;
    let exported = exports.get(link, &operation)?;
    let (function, name) = (exported.function.clone(), named(&link.interface, &operation));
    let read = room.read(payload, Held::Turn, move |payload, share| {
        wave::read_arguments(&operation, &function, payload, share)
    });
    let read = context.cancelled.run_until_cancelled(read);
    match tokio::time::timeout_at(context.deadline.into(), read).await {
        Ok(Some(Ok((arguments, share)))) => Ok((exported, arguments, share)),
        Ok(Some(Err(unread))) => Err(unread.of_arguments(&name)),
        Ok(None) => Err(Fault::Cancelled(Ran::No)),
        Err(_) => Err(Fault::Deadline(Ran::No)),
    }
}

/// Runs one turn that is a call of such a function to its end. An error is a trap.
pub(in crate::engine) async fn run(
    accessor: &Accessor<Guest>,
    instance: Instance,
    (exports, room): (&Exports, &Room),
    (link, turn): (Link, Turn),
    limit: u64,
    in_flight: &InFlight,
) -> wasmtime::Result<()> {
    let Turn { context, message, waiting } = turn;
    // Before its arguments are read: an instance with a turn in it is not given up for what others in it do.
    let slot = in_flight.enter(context.clone(), waiting);
    let (exported, arguments, held) = match enters(exports, room, &link, message, &context).await {
        Ok(entered) => entered,
        Err(fault) => {
            in_flight.refuse(slot, fault);
            return Ok(());
        }
    };
    let mut results = vec![Val::Bool(false); usize::from(exported.function.result.is_some())];
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
    drop((arguments, held));
    in_flight.answer(slot, wave::result(results, limit).await);
    Ok(())
}
