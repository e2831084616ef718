//! Interfaces of other actors: each function of theirs that a component imports is a call over the mesh.
//!
//! A function of WIT has no place for what can happen to a call. So where one fails, the guest that made it traps, with a sentence that
//! says which call it was and what became of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lattice_proto::envelope::{Aim, Link};
use lattice_proto::{ActorId, ActorName, Fault, InterfaceName, Operation, Ran};
use wasmtime::component::types::ComponentFunc;
use wasmtime::component::{Accessor, Linker, Val};
use wasmtime::{AsContextMut, StoreContextMut};

use super::call::{Caller, Prepared, Wanted};
use crate::engine::{Guest, Import, MAX_CALLS, links};

/// What counts as one of the calls that a guest may have on their way, in bytes of values: while a call is on its way its arguments stay in the
/// node's memory as values too, which may take hundreds of times their text. All of one guest's together have 64 MiB.
const WEIGHED: usize = 64 << 10;

/// Adds the interfaces that one component imports.
pub(crate) fn define(
    linker: &mut Linker<Guest>,
    imports: &BTreeMap<InterfaceName, BTreeMap<Operation, Import>>,
) -> wasmtime::Result<()> {
    for (interface, functions) in imports {
        let mut instance = linker.instance(interface.as_str())?;
        for (operation, import) in functions {
            let link = links::aim(interface, &import.function);
            let imported = Arc::new(Imported { link, operation: operation.clone() });
            match import.is_async {
                true => instance.func_new_concurrent(
                    operation.as_str(),
                    move |accessor: &Accessor<Guest>, kind, arguments, results| {
                        let imported = imported.clone();
                        Box::pin(async move {
                            let prepared = accessor
                                .with(|mut access| imported.prepare(access.as_context_mut(), arguments))?;
                            let reply = imported.finish(prepared).await?;
                            accessor.with(|mut access| access.data_mut().gave_way());
                            imported.give(&kind, &reply, results)
                        })
                    },
                )?,
                false => instance.func_new_async(
                    operation.as_str(),
                    move |mut store: StoreContextMut<'_, Guest>, kind, arguments, results| {
                        let imported = imported.clone();
                        Box::new(async move {
                            let prepared = imported.prepare(store.as_context_mut(), arguments)?;
                            let reply = imported.finish(prepared).await?;
                            store.data_mut().gave_way();
                            imported.give(&kind, &reply, results)
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
}

/// A call that is to be made, and of whom.
struct Call {
    prepared: Prepared,
    actor: ActorName,
}

impl Imported {
    /// Checks a call against the guest's manifest and its turn.
    fn prepare(&self, store: StoreContextMut<'_, Guest>, arguments: &[Val]) -> wasmtime::Result<Call> {
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
            Ok(prepared) => Ok(Call { prepared, actor }),
            Err(fault) => Err(self.failed(Some(&actor), &fault)),
        }
    }

    fn wanted(&self, actor: &ActorName, arguments: &[Val], limit: u64) -> Result<Wanted, Fault> {
        let payload = links::wave::arguments(&self.operation, arguments, limit)?;
        let held: usize = arguments.iter().map(links::wave::held).sum();
        let weight = 1 + held / WEIGHED;
        if weight > MAX_CALLS {
            let (limit, size) = ((MAX_CALLS * WEIGHED) as u64, held as u64);
            return Err(Fault::TooLarge { limit, size, ran: Ran::No });
        }
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

    async fn finish(&self, Call { prepared, actor }: Call) -> wasmtime::Result<(Bytes, ActorName)> {
        match prepared.finish().await {
            Ok(payload) => Ok((payload, actor)),
            Err(fault) => Err(self.failed(Some(&actor), &fault)),
        }
    }

    /// Hands the guest what came back.
    fn give(
        &self,
        kind: &ComponentFunc,
        (payload, actor): &(Bytes, ActorName),
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        let value =
            links::wave::read_result(kind, payload).map_err(|fault| self.failed(Some(actor), &fault))?;
        for (slot, value) in results.iter_mut().zip(value) {
            *slot = value;
        }
        Ok(())
    }

    /// What the guest traps with.
    fn failed(&self, actor: Option<&ActorName>, fault: &Fault) -> wasmtime::Error {
        let name = links::named(&self.link.interface, &self.operation);
        let of = actor.map(|actor| format!(" of `{actor}`")).unwrap_or_default();
        wasmtime::Error::msg(format!("its call of `{name}`{of} failed: {fault}"))
    }
}
