//! A call that a guest makes, however it came to make it: what its turn and its manifest let it do, and what ends it early.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::envelope::{Aim, ContentType};
use lattice_proto::{ActorId, ActorName, Fault, Operation, Ran};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::engine::{self, Guest, Home};
use crate::keyed::Tenure;
use crate::replica::{Gate, TurnContext};
use crate::router::{Ask, Router};
use crate::telemetry::Scope;

/// Boxed once and then moved about as a pointer.
type Future = Pin<Box<dyn std::future::Future<Output = Result<Bytes, Fault>> + Send>>;

/// Longer timeouts mean the same, and an `Instant` cannot hold every number.
const MAX_TIMEOUT_MS: u64 = 86_400_000;

/// A guest that is about to call somebody.
pub(super) struct Caller {
    pub(super) home: Arc<Home>,
    me: ActorId,
    turn: Arc<TurnContext>,
    trace: Option<Scope>,
    calls: Arc<Semaphore>,
}

/// What it asks for.
pub(super) struct Wanted {
    pub(super) target: ActorId,
    pub(super) operation: Operation,
    pub(super) payload: Bytes,
    pub(super) content_type: ContentType,
    pub(super) timeout_ms: Option<u64>,
    pub(super) aim: Aim,
    /// How many of the calls that a guest may have on their way it counts for.
    pub(super) weight: u32,
}

impl Caller {
    /// The guest that runs now.
    ///
    /// # Errors
    /// When it handles no message.
    pub(super) fn now(mut store: StoreContextMut<'_, Guest>) -> Result<Self, Fault> {
        let turn = engine::current_turn(store.as_context_mut()).ok_or_else(|| {
            Fault::Denied("an actor calls others only while it handles a message".to_owned())
        })?;
        // What was said of this call is not left for the next one, also where this one is refused.
        let trace = turn.own.scope().or_else(|| turn.trace.clone());
        let guest = store.data();
        let (home, me, calls) = (guest.home.clone(), guest.actor.clone(), guest.calls.clone());
        Ok(Self { home, me, turn, trace, calls })
    }

    /// Makes ready what its manifest was found to grant.
    ///
    /// # Errors
    /// When it is too large, or too many calls are on their way already.
    pub(super) fn prepare(self, wanted: Wanted) -> Result<Prepared, Fault> {
        let Self { home, me, turn, trace, calls } = self;
        let Wanted { target, operation, payload, content_type, timeout_ms, aim, weight } = wanted;
        let (limit, size) = (home.settings.limits.payload.0, payload.len() as u64);
        if size > limit {
            return Err(Fault::TooLarge { limit, size, ran: Ran::No });
        }
        let permit = calls.try_acquire_many_owned(weight);
        let permit = permit.map_err(|_| {
            Fault::Overloaded(format!("{} (it waits for too many calls already)", home.actor))
        })?;
        turn.call();
        let wanted =
            timeout_ms.map(|timeout| Instant::now() + Duration::from_millis(timeout.min(MAX_TIMEOUT_MS)));
        let name = target.name.clone();
        let ask = Ask {
            id: None,
            target,
            operation,
            payload,
            content_type,
            deadline: wanted.map_or(turn.deadline, |wanted| wanted.min(turn.deadline)),
            caller: Some(me.shared()),
            chain: turn.chain.clone(),
            trace,
            not_after: None,
            aim,
        };
        let (gate, tenure) = (turn.gate(), turn.tenure());
        let call: Future = match (gate, tenure) {
            (None, None) => Box::pin(home.router.call(ask)),
            (gate, tenure) => Box::pin(held_back(home.router.clone(), ask, gate, tenure)),
        };
        Ok(Prepared { call, turn, permit, home, target: name })
    }
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

/// A call that may be made, with what ends it early.
pub(super) struct Prepared {
    call: Future,
    /// What it is made in.
    turn: Arc<TurnContext>,
    /// One of the calls that this guest may have on their way.
    permit: OwnedSemaphorePermit,
    /// Whose call it is, and whom it is for.
    home: Arc<Home>,
    target: ActorName,
}

impl Prepared {
    /// The turn that it is made in.
    pub(super) fn turn(&self) -> Arc<TurnContext> {
        self.turn.clone()
    }

    /// Makes the call.
    pub(super) async fn finish(self) -> Result<Bytes, Fault> {
        let Self { call, turn, permit, home, target } = self;
        let (cancelled, _held) = (&turn.cancelled, permit);
        if cancelled.is_cancelled() {
            return Err(Fault::Cancelled(Ran::No));
        }
        // Dropping the call tells whoever runs it that nobody waits any more.
        let outcome = cancelled.run_until_cancelled(call).await;
        let outcome = outcome.unwrap_or(Err(Fault::Cancelled(Ran::Maybe)));
        home.edges.count(&target, outcome.as_ref().err());
        outcome
    }
}
