//! Letters on their last stretch: to a key of this node, or to any replica.

use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::envelope::{Aim, ContentType};
use lattice_proto::letter::{Letter, Stamp};
use lattice_proto::{ActorId, Fault, MessageId, Operation};

use super::keyed::check_key;
use super::{Ask, Router};
use crate::replica::{Cause, LocalActor, Message, Pending, Respond};
use crate::telemetry::{Span, Turned};

/// Stands for the operation of a reminder until its record is looked at.
fn reminder() -> Operation {
    "reminder".parse().unwrap_or_else(|_| unreachable!("it is the name of an operation"))
}

/// How long one delivery may take.
const DELIVERY: Duration = Duration::from_secs(30);

impl Router {
    /// Whether there is somebody whom a letter can be for.
    ///
    /// # Errors
    /// Why not: the fault that a call would end with.
    pub async fn check_letter(&self, letter: &Letter, deadline: Instant) -> Result<(), Fault> {
        let name = &letter.target.name;
        if let Some(local) = self.shared.local.get(name) {
            let (limit, size) = (local.home.settings.limits.payload.0, letter.payload.len() as u64);
            if size > limit {
                return Err(Fault::TooLarge { limit, size, ran: lattice_proto::Ran::No });
            }
            return check_key(&letter.target, &[], local.keys().is_some());
        }
        match tokio::time::timeout_at(deadline.into(), self.shared.table.get(name)).await {
            Ok(Ok(Some(known))) => check_key(&letter.target, &[], known.route.keyed),
            Ok(Ok(None)) => Err(Fault::NoSuchActor(name.to_string())),
            Ok(Err(reason)) => Err(Fault::NoReplica(reason)),
            Err(_) => Err(Fault::Deadline(lattice_proto::Ran::No)),
        }
    }

    /// Delivers a letter to a key of this node and returns when its effect is committed.
    ///
    /// # Errors
    /// Why it had none. [`Fault::NotHere`] when this node may not serve the key at the moment.
    pub async fn deliver(&self, letter: &Letter, stamp: Stamp, attempt: u32) -> Result<(), Fault> {
        self.deliver_as(letter, Cause::Letter(stamp), attempt).await
    }

    /// Has a key of this node know that a letter will have no effect.
    ///
    /// # Errors
    /// As for [`Self::deliver`].
    pub async fn give_up(&self, letter: &Letter, stamp: Stamp, reason: String) -> Result<(), Fault> {
        self.deliver_as(letter, Cause::GiveUp(stamp, reason), 1).await
    }

    async fn deliver_as(&self, letter: &Letter, cause: Cause, attempt: u32) -> Result<(), Fault> {
        let message = Message {
            operation: letter.operation.clone(),
            payload: letter.payload.clone(),
            content_type: letter.content_type.clone(),
            caller: letter.sender.clone(),
            attempt,
            cause,
        };
        let (id, turned) = (letter.id.clone(), Turned::Letter(letter.trace.clone()));
        self.deliver_here(&letter.target, id, message, turned).await.map(drop)
    }

    /// Tells a key of this node that a reminder of its own is due, or does with it what `cause` says.
    ///
    /// # Errors
    /// As for [`Self::deliver`].
    pub async fn remind(
        &self,
        actor: &ActorId,
        id: MessageId,
        cause: Cause,
        attempt: u32,
    ) -> Result<Bytes, Fault> {
        let message = Message {
            // What is told is in the key's record.
            operation: reminder(),
            payload: Bytes::new(),
            content_type: ContentType::Json,
            caller: Some(actor.shared()),
            attempt,
            cause,
        };
        self.deliver_here(actor, id, message, Turned::Own("reminder")).await
    }

    async fn deliver_here(
        &self,
        target: &ActorId,
        id: MessageId,
        message: Message,
        turned: Turned,
    ) -> Result<Bytes, Fault> {
        let deadline = Instant::now() + DELIVERY;
        let name = &target.name;
        let Some(local) = self.shared.local.get(name) else {
            // That it cannot be told now whether there is such an actor says nothing of the message.
            return Err(match self.shared.table.get(name).await {
                Ok(None) => Fault::NoSuchActor(name.to_string()),
                Ok(Some(known)) => {
                    check_key(target, &[], known.route.keyed).err().unwrap_or_else(|| self.not_here(target))
                }
                Err(_) => self.not_here(target),
            });
        };
        check_key(target, &[], local.keys().is_some())?;
        let (sender, answer) = tokio::sync::oneshot::channel();
        let turn =
            self.turn(&local, id, target, Vec::new(), deadline, message, turned, Respond::Waiter(sender))?;
        let pending = Pending::new(&turn, answer);
        self.admit(&local, turn)?;
        pending.answer().await
    }

    /// Delivers what was published to replicas of this node that are of one version.
    ///
    /// # Errors
    /// Why none of them handled it.
    pub async fn deliver_to(&self, local: &LocalActor, letter: &Letter, attempt: u32) -> Result<(), Fault> {
        let turned = Turned::Topic(letter.trace.clone(), letter.topic.clone());
        let message = Message {
            operation: letter.operation.clone(),
            payload: letter.payload.clone(),
            content_type: letter.content_type.clone(),
            caller: letter.sender.clone(),
            attempt,
            cause: letter.topic.clone().map_or(Cause::Call, Cause::Topic),
        };
        let (deadline, id) = (Instant::now() + DELIVERY, letter.id.clone());
        let (sender, answer) = tokio::sync::oneshot::channel();
        let reply = Respond::Waiter(sender);
        let turn = self.turn(local, id, &letter.target, Vec::new(), deadline, message, turned, reply)?;
        let pending = Pending::new(&turn, answer);
        self.admit(local, turn)?;
        pending.answer().await.map(drop)
    }

    /// Delivers a letter to a replica, wherever one is.
    ///
    /// # Errors
    /// Why nobody handled it.
    pub async fn deliver_to_any(&self, letter: &Letter) -> Result<(), Fault> {
        let mut span = Span::process(letter.trace.clone(), &letter.target, &letter.operation);
        span.carries(&letter.id);
        let ask = Ask {
            id: Some(letter.id.clone()),
            target: letter.target.clone(),
            operation: letter.operation.clone(),
            payload: letter.payload.clone(),
            content_type: letter.content_type.clone(),
            deadline: Instant::now() + DELIVERY,
            caller: letter.sender.clone(),
            chain: Vec::new(),
            trace: span.scope(),
            not_after: None,
            aim: letter.topic.clone().map_or(Aim::Handle, Aim::Topic),
        };
        let outcome = self.call(ask).await.map(drop);
        if let Err(fault) = &outcome {
            span.fail(fault);
        }
        outcome
    }
}
