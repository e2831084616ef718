//! `lattice:actor/mesh`: calls from one actor to another, in both worlds.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::envelope::{Aim, ContentType};
use lattice_proto::{ActorId, ActorName, Fault, Operation, Ran};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Accessor, Linker};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::engine::{self, CallOptions, Failure, Guest, Home};
use crate::keyed::Tenure;
use crate::replica::Gate;
use crate::router::{Ask, Router};

/// Boxed once and then moved about as a pointer.
type Call = Pin<Box<dyn Future<Output = Result<Bytes, Fault>> + Send>>;

/// What a guest passes to `call`.
type Arguments = (String, String, Vec<u8>, CallOptions);

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut mesh = linker.instance("lattice:actor/mesh@0.1.0")?;
    mesh.func_wrap_concurrent("call", |accessor: &Accessor<Guest>, arguments: Arguments| {
        Box::pin(async move {
            let prepared = accessor.with(|mut access| prepare(access.as_context_mut(), arguments));
            let outcome = match prepared {
                Ok(prepared) => {
                    let outcome = prepared.finish().await;
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
                    let outcome = prepared.finish().await;
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

/// A call that may be made, with what ends it early.
struct Prepared {
    call: Call,
    cancelled: tokio_util::sync::CancellationToken,
    /// One of the calls that this guest may have on their way.
    permit: OwnedSemaphorePermit,
    /// Whose call it is, and whom it is for.
    home: Arc<Home>,
    target: ActorName,
}

/// Checks what the guest asks for against its manifest and its turn.
fn prepare(mut store: StoreContextMut<'_, Guest>, arguments: Arguments) -> Result<Prepared, Fault> {
    let (to, operation, payload, options) = arguments;
    let turn = engine::current_turn(store.as_context_mut())
        .ok_or_else(|| Fault::Denied("an actor calls others only while it handles a message".to_owned()))?;
    // What was said of this call is not left for the next one, also where this one is refused.
    let trace = turn.own.scope().or_else(|| turn.trace.clone());
    let target: ActorId = to.parse().map_err(|error| Fault::Malformed(format!("{error}")))?;
    let operation: Operation = operation.parse().map_err(|error| Fault::Malformed(format!("{error}")))?;
    let content_type =
        ContentType::parse(&options.content_type).map_err(|error| Fault::Malformed(error.to_string()))?;
    let (home, me) = (store.data().home.clone(), store.data().actor.clone());
    if !home.settings.grants.call.contains(&target.name) {
        let (caller, name) = (&home.actor, &target.name);
        let hint = format!(
            "`{caller}` may not call `{name}`; add it to `grants.call` of `{caller}` in the manifest"
        );
        return Err(Fault::Denied(hint));
    }
    let (limit, size) = (home.settings.limits.payload.0, payload.len() as u64);
    if size > limit {
        return Err(Fault::TooLarge { limit, size, ran: Ran::No });
    }
    let permit = store.data().calls.clone().try_acquire_owned();
    let permit = permit
        .map_err(|_| Fault::Overloaded(format!("{} (it waits for too many calls already)", home.actor)))?;
    turn.call();
    let wanted =
        options.timeout_ms.map(|timeout| Instant::now() + Duration::from_millis(timeout.min(MAX_TIMEOUT_MS)));
    let name = target.name.clone();
    let ask = Ask {
        id: None,
        target,
        operation,
        payload: payload.into(),
        content_type,
        deadline: wanted.map_or(turn.deadline, |wanted| wanted.min(turn.deadline)),
        caller: Some(me.shared()),
        chain: turn.chain.clone(),
        trace,
        not_after: None,
        aim: Aim::Handle,
    };
    let (gate, tenure) = (turn.gate(), turn.tenure());
    let call: Call = match (gate, tenure) {
        (None, None) => Box::pin(home.router.call(ask)),
        (gate, tenure) => Box::pin(held_back(home.router.clone(), ask, gate, tenure)),
    };
    Ok(Prepared { call, cancelled: turn.cancelled.clone(), permit, home, target: name })
}

/// A call of a keyed actor, which must wait or may come too late.
async fn held_back(
    router: Router,
    mut ask: Ask,
    gate: Option<Gate>,
    tenure: Option<(Tenure, u64)>,
) -> Result<Bytes, Fault> {
    // What a turn saw and is not committed yet may still be undone, and a call cannot.
    if let Some(gate) = gate {
        let opened = tokio::time::timeout_at(ask.deadline.into(), gate.open()).await;
        opened.unwrap_or(Err(Fault::Deadline(Ran::No)))?;
    }
    if let Some((tenure, number)) = tenure {
        // Another owner may serve the key by now, and whoever is called must not hear both.
        ask.not_after = Some(tenure.until(number).ok_or(Fault::Cancelled(Ran::No))?);
    }
    router.call(ask).await
}

/// Longer timeouts mean the same, and an `Instant` cannot hold every number.
const MAX_TIMEOUT_MS: u64 = 86_400_000;

impl Prepared {
    /// Makes the call.
    async fn finish(self) -> Result<Vec<u8>, Failure> {
        let Self { call, cancelled, permit, home, target } = self;
        let _held = permit;
        if cancelled.is_cancelled() {
            return Err(Fault::Cancelled(Ran::No).into());
        }
        // Dropping the call tells whoever runs it that nobody waits any more.
        let outcome = cancelled.run_until_cancelled(call).await;
        let outcome = outcome.unwrap_or(Err(Fault::Cancelled(Ran::Maybe)));
        home.edges.count(&target, outcome.as_ref().err());
        Ok(outcome.map(Vec::from)?)
    }
}
