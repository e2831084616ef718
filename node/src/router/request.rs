//! HTTP requests on their way to components that were built for them.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lattice_proto::envelope::ContentType;
use lattice_proto::{ActorName, Fault, Operation};

use super::Router;
use super::choice::Choice;
use crate::replica::{Cause, Exchange, Message, Pending, Request, Respond, Response};
use crate::telemetry::{Span, Turned};

impl Router {
    /// Gives a request to a replica of this node, and waits for the head of its answer, at most until the deadline. Dropping the future
    /// ends the request.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn request(
        &self,
        target: &ActorName,
        operation: Operation,
        request: Request,
        deadline: Instant,
        span: &mut Span,
    ) -> Result<Response, Fault> {
        let shared = &*self.shared;
        // Where the drawn side of a trial has no replica here, the other one serves.
        let drawn = shared.local.drawn(target, &mut None).filter(|local| local.count() > 0);
        let local = drawn.or_else(|| shared.local.get(target)).filter(|local| local.count() > 0);
        let Some(local) = local.filter(|local| local.keys().is_none()) else {
            return Err(Fault::NoReplica(format!("`{target}` has no replica on this node")));
        };
        let id = self.message_id();
        span.carries(&id);
        let trace = span.tries(1, None, Choice::Here.as_str());
        let (exchange, head) = Exchange::new(request);
        let message = Message {
            operation,
            payload: Bytes::new(),
            content_type: ContentType::Json,
            caller: Some(lattice_proto::id::EXTERNAL.into()),
            attempt: 1,
            cause: Cause::Http(Arc::new(exchange)),
        };
        let (sender, answer) = tokio::sync::oneshot::channel();
        let (actor, chain) = (target.clone().into(), Vec::new());
        let turn = self.turn(
            &local,
            id,
            &actor,
            chain,
            deadline,
            message,
            Turned::Call(trace),
            Respond::Waiter(sender),
        )?;
        let pending = Pending::new(&turn, answer);
        self.admit(&local, turn)?;
        let response = pending.head(head).await;
        span.tried(response.as_ref().err());
        response
    }
}
