//! `lattice:actor/mesh`: calls from one actor to another, in both worlds.

use lattice_proto::envelope::{Aim, ContentType};
use lattice_proto::{ActorId, Fault, Operation};
use wasmtime::component::{Accessor, Linker};
use wasmtime::{AsContextMut, StoreContextMut};

use super::call::{Caller, Prepared, Wanted};
use crate::engine::{CallOptions, Failure, Guest};

/// What a guest passes to `call`.
type Arguments = (String, String, Vec<u8>, CallOptions);

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut mesh = linker.instance("lattice:actor/mesh@0.1.0")?;
    mesh.func_wrap_concurrent("call", |accessor: &Accessor<Guest>, arguments: Arguments| {
        Box::pin(async move {
            let prepared = accessor.with(|mut access| prepare(access.as_context_mut(), arguments));
            let outcome = match prepared {
                Ok(prepared) => {
                    let outcome = finish(prepared).await;
                    accessor.with(|mut access| access.data_mut().gave_way());
                    outcome
                }
                Err(fault) => Err(fault.into()),
            };
            Ok((outcome,))
        })
    })?;
    mesh.func_wrap("self-id", |store: StoreContextMut<'_, Guest>, (): ()| {
        Ok((store.data().actor.to_string(),))
    })?;

    let mut mesh = linker.instance("lattice:actor/blocking-mesh@0.1.0")?;
    mesh.func_wrap_async("call", |mut store: StoreContextMut<'_, Guest>, arguments: Arguments| {
        Box::new(async move {
            let prepared = prepare(store.as_context_mut(), arguments);
            let outcome = match prepared {
                Ok(prepared) => {
                    let outcome = finish(prepared).await;
                    store.data_mut().gave_way();
                    outcome
                }
                Err(fault) => Err(fault.into()),
            };
            Ok((outcome,))
        })
    })?;
    mesh.func_wrap("self-id", |store: StoreContextMut<'_, Guest>, (): ()| {
        Ok((store.data().actor.to_string(),))
    })
}

/// Checks what the guest asks for against its manifest and its turn.
fn prepare(store: StoreContextMut<'_, Guest>, arguments: Arguments) -> Result<Prepared, Fault> {
    let (to, operation, payload, options) = arguments;
    let caller = Caller::now(store)?;
    let target: ActorId = to.parse().map_err(|error| Fault::Malformed(format!("{error}")))?;
    let operation: Operation = operation.parse().map_err(|error| Fault::Malformed(format!("{error}")))?;
    let content_type =
        ContentType::parse(&options.content_type).map_err(|error| Fault::Malformed(error.to_string()))?;
    let home = &caller.home;
    if !home.settings.grants.call.contains(&target.name) {
        let (caller, name) = (&home.actor, &target.name);
        let hint = format!(
            "`{caller}` may not call `{name}`; add it to `grants.call` of `{caller}` in the manifest"
        );
        return Err(Fault::Denied(hint));
    }
    caller.prepare(Wanted {
        target,
        operation,
        payload: payload.into(),
        content_type,
        timeout_ms: options.timeout_ms,
        aim: Aim::Handle,
        weight: 1,
    })
}

async fn finish(prepared: Prepared) -> Result<Vec<u8>, Failure> {
    Ok(prepared.finish().await.map(Vec::from)?)
}
