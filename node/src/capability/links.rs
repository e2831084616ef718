//! Interfaces of other actors: each function of theirs that a component imports is a call over the mesh.
//!
//! A function of WIT has no place for what can happen to a call. So where one fails, the guest that made it traps, with a sentence that
//! says which call it was and what became of it. Where the turn itself has ended meanwhile, it does not: nobody hears what it would say, and
//! other turns may run beside it. It waits, until the instance ends.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lattice_proto::envelope::{Aim, Link};
use lattice_proto::{ActorId, ActorName, Fault, InterfaceName, Operation, Ran};
use wasmtime::component::{Accessor, Linker, Val};
use wasmtime::{AsContextMut, StoreContextMut};

use super::call::{Caller, Prepared, Wanted};
use crate::engine::links::room::{self, Held, Room};
use crate::engine::{Function, Guest, MAX_CALLS, Sided, links};

/// What counts as one of the calls that a guest may have on their way, in bytes of values: while a call is on its way its arguments stay in the
/// node's memory as values too, which may take hundreds of times their text. All of those that one guest waits for together have 64 MiB; while
/// Wasmtime takes them out of the guest, what that is allowed for one call comes on top of it.
const WEIGHED: usize = room::MOST / MAX_CALLS;

/// Adds the interfaces that one component imports.
pub(crate) fn define(
    linker: &mut Linker<Guest>,
    imports: &BTreeMap<InterfaceName, BTreeMap<Operation, Sided>>,
    room: &Room,
) -> wasmtime::Result<()> {
    for (interface, functions) in imports {
        let mut instance = linker.instance(interface.as_str())?;
        for (operation, import) in functions {
            let link = links::aim(interface, &import.function);
            let (function, room) = (Arc::new(import.function.clone()), room.clone());
            let imported = Arc::new(Imported { link, operation: operation.clone(), function, room });
            match import.is_async {
                true => instance.func_new_concurrent(
                    operation.as_str(),
                    move |accessor: &Accessor<Guest>, _, arguments, results| {
                        let imported = imported.clone();
                        Box::pin(async move {
                            let prepared = accessor
                                .with(|mut access| imported.prepare(access.as_context_mut(), arguments))?;
                            let reply = imported.finish(prepared).await?;
                            accessor.with(|mut access| access.data_mut().gave_way());
                            imported.give(reply, results).await
                        })
                    },
                )?,
                false => instance.func_new_async(
                    operation.as_str(),
                    move |mut store: StoreContextMut<'_, Guest>, _, arguments, results| {
                        let imported = imported.clone();
                        Box::new(async move {
                            let prepared = imported.prepare(store.as_context_mut(), arguments)?;
                            let reply = imported.finish(prepared).await?;
                            store.data_mut().gave_way();
                            imported.give(reply, results).await
                        })
                    },
                )?,
            }
        }
    }
    Ok(())
}

/// One function of another actor.
struct Imported {
    link: Link,
    operation: Operation,
    /// Its type.
    function: Arc<Function>,
    /// For what it gives.
    room: Room,
}

/// A call that is to be made, and of whom.
struct Call {
    prepared: Prepared,
    actor: ActorName,
    /// Whether its turn has the instance to itself.
    is_alone: bool,
}

impl Imported {
    /// Checks a call against the guest's manifest and its turn.
    fn prepare(&self, store: StoreContextMut<'_, Guest>, arguments: &[Val]) -> wasmtime::Result<Call> {
        let is_alone = store.data().is_alone();
        let caller = Caller::now(store).map_err(|fault| self.failed(None, &fault))?;
        let settings = &caller.home.settings;
        let Some(actor) = settings.link(&self.link.interface).cloned() else {
            let (caller, interface) = (&caller.home.actor, &self.link.interface);
            let hint =
                format!("no actor answers it; add `{interface}` to `links` of `{caller}` in the manifest");
            return Err(self.failed(None, &Fault::Denied(hint)));
        };
        let wanted = self.wanted(&actor, arguments, settings.limits.payload.0);
        match wanted.and_then(|wanted| caller.prepare(wanted)) {
            Ok(prepared) => Ok(Call { prepared, actor, is_alone }),
            Err(fault) => Err(self.failed(Some(&actor), &fault)),
        }
    }

    fn wanted(&self, actor: &ActorName, arguments: &[Val], limit: u64) -> Result<Wanted, Fault> {
        let held: usize = arguments.iter().map(links::wave::held).sum();
        let weight = 1 + held / WEIGHED;
        if weight > MAX_CALLS {
            let (limit, size) = ((MAX_CALLS * WEIGHED) as u64, held as u64);
            return Err(Fault::TooLarge { limit, size, ran: Ran::No });
        }
        let payload = links::wave::arguments(&self.operation, arguments, limit)?;
        Ok(Wanted {
            target: ActorId { name: actor.clone(), key: None },
            operation: self.operation.clone(),
            payload,
            content_type: links::wave::content_type(),
            timeout_ms: None,
            aim: Aim::Link(self.link.clone()),
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
        })
    }

    async fn finish(&self, Call { prepared, actor, is_alone }: Call) -> wasmtime::Result<(Bytes, ActorName)> {
        let turn = prepared.turn();
        let fault = match prepared.finish().await {
            Ok(payload) => return Ok((payload, actor)),
            Err(fault) => fault,
        };
        // A call over a link has no deadline but its turn's, and another node may find it past a moment earlier.
        let is_late = matches!(fault, Fault::Deadline(_)) || Instant::now() >= turn.deadline;
        // An answer by HTTP goes on after its deadline, and with an instance of its own; there it is a call that failed.
        match !is_alone && (is_late || turn.cancelled.is_cancelled()) {
            true => turn.wait_in_vain().await,
            false => Err(self.failed(Some(&actor), &fault)),
        }
    }

    /// Hands the guest what came back.
    async fn give(&self, (payload, actor): (Bytes, ActorName), results: &mut [Val]) -> wasmtime::Result<()> {
        let function = self.function.clone();
        let read = move |payload: &[u8], share: &mut room::Share| {
            links::wave::read_result(&function, payload, share)
        };
        let read = self.room.read(payload, Held::Moment, read).await;
        let (value, _) = read.map_err(|unread| self.failed(Some(&actor), &unread.of_reply()))?;
        for (slot, value) in results.iter_mut().zip(value) {
            *slot = value;
        }
        Ok(())
    }

    /// What the guest traps with.
    fn failed(&self, actor: Option<&ActorName>, fault: &dyn Display) -> wasmtime::Error {
        let name = links::named(&self.link.interface, &self.operation);
        let of = actor.map(|actor| format!(" of `{actor}`")).unwrap_or_default();
        wasmtime::Error::msg(format!("its call of `{name}`{of} failed: {fault}"))
    }
}
