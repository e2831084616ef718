//! `lattice:actor/topics`: messages for whoever subscribes to their topics, in both worlds.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use lattice_proto::envelope::ContentType;
use lattice_proto::{Fault, Ran, Topic};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{Accessor, Linker};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::engine::{self, Failure, Guest, Home};
use crate::keyed::Tenure;
use crate::replica::Gate;
use crate::telemetry::{Span, metrics};
use crate::topics::Publication;

/// What a guest passes to `publish`.
type Arguments = (String, Vec<u8>, String);

/// Boxed once and then moved about as a pointer.
type Publishing = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut topics = linker.instance("lattice:actor/topics@0.1.0")?;
    topics.func_wrap_concurrent("publish", |accessor: &Accessor<Guest>, arguments: Arguments| {
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
    topics.func_wrap("current", |store: StoreContextMut<'_, Guest>, (): ()| Ok((current(store),)))?;

    let mut topics = linker.instance("lattice:actor/blocking-topics@0.1.0")?;
    topics.func_wrap_async("publish", |mut store: StoreContextMut<'_, Guest>, arguments: Arguments| {
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
    topics.func_wrap("current", |store: StoreContextMut<'_, Guest>, (): ()| Ok((current(store),)))
}

fn current(store: StoreContextMut<'_, Guest>) -> Option<String> {
    engine::current_turn(store)?.topic.as_ref().map(ToString::to_string)
}

/// What may be published, with what ends that early.
struct Prepared {
    publishing: Publishing,
    cancelled: CancellationToken,
    /// One of the calls that this guest may have on their way.
    permit: OwnedSemaphorePermit,
    home: Arc<Home>,
    span: Span,
}

/// Checks what the guest wants to publish against its manifest and its turn.
fn prepare(mut store: StoreContextMut<'_, Guest>, arguments: Arguments) -> Result<Prepared, Fault> {
    let (topic, payload, content_type) = arguments;
    let turn = engine::current_turn(store.as_context_mut())
        .ok_or_else(|| Fault::Denied("an actor publishes only while it handles a message".to_owned()))?;
    // What was said of this call is not left for the next one, also where this one is refused.
    let trace = turn.own.scope().or_else(|| turn.trace.clone());
    let topic: Topic = topic.parse().map_err(|error| Fault::Malformed(format!("{error}")))?;
    let content_type =
        ContentType::parse(&content_type).map_err(|error| Fault::Malformed(error.to_string()))?;
    let home = store.data().home.clone();
    if !home.settings.grants.lets_publish(&topic) {
        let actor = &home.actor;
        let hint = format!(
            "`{actor}` may not publish to `{topic}`; add it to `grants.publish` of `{actor}` in the manifest"
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
    // Whatever comes of it, the turn cannot be made undone any more.
    turn.call();
    let mut span = Span::publish(trace, &topic);
    let id = home.router.message_id();
    span.carries(&id);
    let trace = span.scope().map(|scope| scope.context);
    let what = Publication { id, topic, payload: payload.into(), content_type, trace };
    let publishing = Box::pin(held_back(home.clone(), what, turn.deadline, turn.gate(), turn.tenure()));
    Ok(Prepared { publishing, cancelled: turn.cancelled.clone(), permit, home, span })
}

/// Publishes it: what a keyed actor publishes must wait as its calls do, or may come too late.
async fn held_back(
    home: Arc<Home>,
    what: Publication,
    deadline: Instant,
    gate: Option<Gate>,
    tenure: Option<(Tenure, u64)>,
) -> Result<(), Fault> {
    // What a turn saw and is not committed yet may still be undone, and this cannot.
    if let Some(gate) = gate {
        let opened = tokio::time::timeout_at(deadline.into(), gate.open()).await;
        opened.unwrap_or(Err(Fault::Deadline(Ran::No)))?;
    }
    // Another owner may serve the key after that, and whoever subscribes must not hear both. Nothing is tried then any more; what is on
    // its way to the server cannot be called back.
    let not_after = match tenure {
        Some((tenure, number)) => Some(tenure.until(number).ok_or(Fault::Cancelled(Ran::No))?),
        None => None,
    };
    home.topics.publish(&what, deadline, not_after).await
}

impl Prepared {
    /// Publishes it.
    async fn finish(self) -> Result<(), Failure> {
        let Self { publishing, cancelled, permit, home, mut span } = self;
        let _held = permit;
        if cancelled.is_cancelled() {
            return Err(Fault::Cancelled(Ran::No).into());
        }
        let outcome = cancelled.run_until_cancelled(publishing).await;
        let outcome = outcome.unwrap_or(Err(Fault::Cancelled(Ran::Maybe)));
        match &outcome {
            Ok(()) => metrics::published(home.actor.name.as_str()),
            Err(fault) => span.fail(fault),
        }
        Ok(outcome?)
    }
}
