//! One attempt of a call: into a mailbox of this node, or to another node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::envelope::{Aim, Call, Hop, Side};
use lattice_proto::{ActorId, Fault, MessageId, Ran};

use super::search::RETRIES;
use super::table::Known;
use super::{Ask, Router};
use crate::clock::boottime;
use crate::replica::{Cause, LocalActor, Message, Pending, Refusal, Respond, Turn};
use crate::telemetry::{Handling, Scope, Turned, metrics};

/// One attempt of a call.
pub(super) struct Attempt<'a> {
    /// The message's, the same over all attempts.
    pub id: &'a MessageId,
    /// 1 for the first.
    pub number: u32,
    /// Which versions it is for.
    pub side: Side,
    /// What hangs under it.
    pub trace: Option<Scope>,
}

/// How one attempt ended.
pub(super) enum Tried<T> {
    /// With an answer, or a fault that no other attempt could help.
    Done(Result<T, Fault>),
    /// It surely did not run there.
    Refused(Fault),
}

/// What is tried with one replica after the other, until one answers.
pub(super) trait Try: Sync {
    /// What comes of it.
    type Answer: Send;

    /// With those of this node.
    fn here(
        &self,
        router: &Router,
        local: &LocalActor,
        ask: &Ask,
        attempt: &Attempt<'_>,
    ) -> impl Future<Output = Tried<Self::Answer>> + Send;

    /// With those of another node, by its place in the route.
    fn there(
        &self,
        router: &Router,
        known: &Known,
        index: usize,
        ask: &Ask,
        attempt: &Attempt<'_>,
    ) -> impl Future<Output = Tried<Self::Answer>> + Send;
}

/// To have a message handled.
pub(super) struct Handle;

impl Try for Handle {
    type Answer = Bytes;

    fn here(
        &self,
        router: &Router,
        local: &LocalActor,
        ask: &Ask,
        attempt: &Attempt<'_>,
    ) -> impl Future<Output = Tried<Bytes>> + Send {
        router.attempt_here(local, ask, attempt)
    }

    fn there(
        &self,
        router: &Router,
        known: &Known,
        index: usize,
        ask: &Ask,
        attempt: &Attempt<'_>,
    ) -> impl Future<Output = Tried<Bytes>> + Send {
        router.attempt_there(known, index, ask, attempt)
    }
}

/// Whether a fault says that the version there has no such function, or one of other types: another one may have it. Only the node itself
/// says so of a link, and only before anything runs.
fn is_of_other_types(ask: &Ask, fault: &Fault) -> bool {
    matches!((&ask.aim, fault), (Aim::Link(_), Fault::NoSuchOperation(_)))
}

impl Router {
    async fn attempt_here(&self, local: &LocalActor, ask: &Ask, attempt: &Attempt<'_>) -> Tried<Bytes> {
        let tried = self.attempt_version(local, ask, attempt).await;
        if !matches!(&tried, Tried::Refused(fault) if is_of_other_types(ask, fault)) {
            return tried;
        }
        // While one version takes the place of another this node may have both, and it is come to once only.
        let version = local.home.version;
        let other = self.shared.local.on(&ask.target.name, Side::Not(version));
        match other.filter(|other| other.home.version != version) {
            // Seldom, and large: it should not weigh on every call.
            Some(other) => Box::pin(self.attempt_version(&other, ask, attempt)).await,
            None => tried,
        }
    }

    /// With one version of those that this node has.
    async fn attempt_version(&self, local: &LocalActor, ask: &Ask, attempt: &Attempt<'_>) -> Tried<Bytes> {
        if ask.not_after.is_some_and(|not_after| not_after <= boottime()) {
            return Tried::Done(Err(Fault::Cancelled(Ran::No)));
        }
        let cause = match self.cause(&ask.aim, local, &ask.target) {
            Ok(cause) => cause,
            Err(answer) => return Tried::Done(answer),
        };
        let message = Message {
            operation: ask.operation.clone(),
            payload: ask.payload.clone(),
            content_type: ask.content_type.clone(),
            caller: ask.caller.clone(),
            attempt: attempt.number,
            cause,
        };
        let (sender, answer) = tokio::sync::oneshot::channel();
        let admitted = self
            .turn(
                local,
                attempt.id.clone(),
                &ask.target,
                ask.chain.clone(),
                ask.deadline,
                message,
                Turned::Call(attempt.trace.clone()),
                Respond::Waiter(sender),
            )
            .and_then(|turn| {
                let pending = Pending::new(&turn, answer);
                self.admit(local, turn).map(|()| pending)
            });
        match admitted {
            Ok(pending) => match pending.answer().await {
                // A key that went elsewhere after it had taken the message: nothing of the turn is left.
                Err(fault @ Fault::NotHere { .. }) => Tried::Refused(fault),
                Err(fault) if is_of_other_types(ask, &fault) => Tried::Refused(fault),
                // Only a node says so of a link, before anything ran; another one may have room for the arguments.
                Err(fault @ Fault::Overloaded(_)) if matches!(ask.aim, Aim::Link(_)) => Tried::Refused(fault),
                answer => Tried::Done(answer),
            },
            Err(fault @ Fault::TooLarge { .. }) => Tried::Done(Err(fault)),
            Err(fault) => Tried::Refused(fault),
        }
    }

    /// Why there is a message of this aim; or the answer, where it is not for a mailbox.
    pub(super) fn cause(
        &self,
        aim: &Aim,
        local: &LocalActor,
        target: &ActorId,
    ) -> Result<Cause, Result<Bytes, Fault>> {
        match aim {
            Aim::Handle => Ok(Cause::Call),
            // Keys have no topics. An actor that had replicas when it got its letter may be a keyed one by now.
            Aim::Topic(_) if local.keys().is_some() => Ok(Cause::Call),
            Aim::Topic(topic) => Ok(Cause::Topic(topic.clone())),
            Aim::Link(link) => Ok(Cause::Link(link.clone())),
            Aim::Overwrite(overwrite) => Ok(Cause::Overwrite(Arc::new(overwrite.clone()))),
            Aim::Look => Err(match local.keys() {
                Some(keys) => Ok(keys.look(target).encode()),
                // Whoever asks has made sure that it is keyed, and a later version is not.
                None => Err(self.not_here(target)),
            }),
            Aim::Http => Err(Err(Fault::Malformed("an HTTP request that has no head".to_owned()))),
        }
    }

    /// A message as a turn of an actor of this node.
    #[allow(
        clippy::too_many_arguments,
        reason = "these are the parts of one message, and a struct would only list them twice"
    )]
    pub(super) fn turn(
        &self,
        local: &LocalActor,
        id: MessageId,
        target: &ActorId,
        chain: Vec<Hop>,
        deadline: Instant,
        message: Message,
        turned: Turned,
        reply: Respond,
    ) -> Result<Turn, Fault> {
        let settings = &local.home.settings;
        let limit = match (&message.cause, settings.kind.keyed()) {
            (Cause::Overwrite(_), Some(keyed)) => keyed.state.0,
            _ => settings.limits.payload.0,
        };
        let size = message.payload.len() as u64;
        if size > limit {
            return Err(Fault::TooLarge { limit, size, ran: Ran::No });
        }
        let mut handled = Handling::new(turned, target, &message.operation, &id, message.attempt);
        handled.is_of(local.home.version, local.home.meter.clone(), message.operation.clone());
        Ok(Turn::new(id, target.clone(), chain, deadline, message, handled, reply))
    }

    /// Puts a turn into a mailbox of this node, or says why not: to the caller, and to whom the turn's reply goes.
    pub(super) fn admit(&self, local: &LocalActor, turn: Turn) -> Result<(), Fault> {
        let (turn, fault) = match local.admit(turn) {
            Ok(()) => return Ok(()),
            Err(Refusal::Overloaded(turn)) => {
                self.shared.counters.overloaded();
                let fault = Fault::Overloaded(turn.context.actor.name.to_string());
                (turn, fault)
            }
            Err(Refusal::NotHere(turn)) => {
                let fault = self.not_here(&turn.context.actor);
                (turn, fault)
            }
        };
        turn.waiting.answer(Err(fault.clone()));
        Err(fault)
    }

    pub(super) fn not_here(&self, target: &ActorId) -> Fault {
        Fault::NotHere { actor: target.to_string(), revision: self.shared.table.revision(&target.name) }
    }

    pub(super) async fn attempt_there(
        &self,
        known: &Known,
        index: usize,
        ask: &Ask,
        attempt: &Attempt<'_>,
    ) -> Tried<Bytes> {
        let shared = &*self.shared;
        shared.counters.calls_remote();
        let target = &known.targets[index];
        let remaining = ask.deadline.saturating_duration_since(Instant::now());
        let not_after_ms = match ask.not_after.map(|not_after| not_after.saturating_sub(boottime())) {
            None => None,
            Some(Duration::ZERO) => return Tried::Done(Err(Fault::Cancelled(Ran::No))),
            Some(left) => Some(shared.clock.in_ms(left)),
        };
        let call = Call {
            id: attempt.id.clone(),
            target: ask.target.clone(),
            operation: ask.operation.clone(),
            payload: ask.payload.clone(),
            content_type: ask.content_type.clone(),
            deadline_ms: shared.clock.in_ms(remaining),
            remaining,
            retry_budget: RETRIES.saturating_sub(attempt.number.saturating_sub(1)),
            chain: ask.chain.clone(),
            trace: attempt.trace.as_ref().map(|scope| scope.context.clone()),
            attempt: attempt.number,
            caller: ask.caller.as_deref().and_then(|caller| caller.parse().ok()),
            side: attempt.side,
            not_after_ms,
            aim: ask.aim.clone(),
        };
        let entry = call.encode();
        drop(call);
        let sent = Instant::now();
        let answer = match target.peer.call(entry, &ask.target, ask.deadline, &target.load).await {
            Ok((answer, kept)) => {
                if let Some(scope) = attempt.trace.as_ref().filter(|_| kept) {
                    scope.keep();
                }
                answer
            }
            Err(reason) => return Tried::Refused(Fault::NoReplica(reason.to_owned())),
        };
        metrics::meter(&ask.target.name).called(&ask.operation, sent.elapsed(), answer.as_ref().err());
        match answer {
            Ok(payload) => Tried::Done(Ok(payload)),
            // The owner of a key says why the key does not wake, and nobody else can tell better.
            Err(fault @ Fault::NoReplica(_)) if ask.target.key.is_some() => Tried::Done(Err(fault)),
            Err(fault @ (Fault::NotHere { .. } | Fault::Overloaded(_) | Fault::NoReplica(_))) => {
                Tried::Refused(fault)
            }
            Err(fault) if is_of_other_types(ask, &fault) => Tried::Refused(fault),
            // Declared idempotent: running it twice does no more than running it once.
            Err(fault @ Fault::Unknown(_))
                if ask.aim == Aim::Handle && known.route.idempotent.contains(&ask.operation) =>
            {
                Tried::Refused(fault)
            }
            Err(fault) => Tried::Done(Err(fault)),
        }
    }
}
