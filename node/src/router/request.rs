//! HTTP requests on their way to components that were built for them: to a replica of this node, or of another one.
//!
//! Rules:
//! 1. A request goes to another replica only if it surely did not run, or its method is idempotent (RFC 9110, 9.2.2); and only while
//!    nobody has begun to read a body that is not kept.
//! 2. A body that is known to be small goes with its head. Of any other nothing leaves this node before its reader asks for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Response;
use hyper::body::Body as _;
use lattice_proto::envelope::{Aim, ContentType};
use lattice_proto::http::{Answer, Beginning, End, Opening};
use lattice_proto::{ActorName, Fault, Operation, Ran};
use tokio_util::task::AbortOnDropHandle;

use super::attempt::{Attempt, Tried, Try};
use super::bodies::{Arriving, Leaving};
use super::table::Known;
use super::{Ask, Router};
use crate::replica::{Begun, Body, Cause, Exchange, LocalActor, Message, Pending, Request, Respond, SMALL};
use crate::telemetry::{Span, Turned};

/// How long a guest may go on reading a request when its answer is whole, as it may on the node that a request comes to.
const AFTER: Duration = Duration::from_secs(5);

impl Router {
    /// Gives a request to a replica, and waits for the head of its answer, at most until the deadline. Dropping the future ends the
    /// request.
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
    ) -> Result<Response<Body>, Fault> {
        let id = self.message_id();
        span.carries(&id);
        let ask = Ask {
            id: None,
            target: target.clone().into(),
            operation,
            payload: Bytes::new(),
            content_type: ContentType::Json,
            deadline,
            caller: Some(lattice_proto::id::EXTERNAL.into()),
            chain: Vec::new(),
            trace: None,
            not_after: None,
            aim: Aim::Http,
        };
        self.shared.counters.calls();
        let asking = Asking {
            idempotent: request.method().is_idempotent(),
            held: Arc::new(Mutex::new(Some(request.map(Held::Streams)))),
        };
        let outcome = self.attempts(&asking, &ask, &id, span).await;
        outcome.inspect_err(|fault| self.failed(&ask, fault))
    }
}

/// A request that somebody is to answer.
struct Asking {
    idempotent: bool,
    /// Gone once its body is read by somebody.
    held: Arc<Mutex<Option<hyper::Request<Held>>>>,
}

/// Its body.
enum Held {
    Streams(Body),
    /// All of it is there.
    Whole(Bytes, End),
}

impl Held {
    fn into_body(self) -> Body {
        match self {
            Held::Streams(body) => body,
            Held::Whole(bytes, end) => Begun::whole(bytes, end).into_body(),
        }
    }

    /// Reads a body that is known to have no more than so many bytes.
    async fn gather(&mut self, limit: usize) -> Result<(), Fault> {
        let Held::Streams(body) = self else { return Ok(()) };
        let is_small = body.size_hint().exact().is_some_and(|size| size <= limit as u64);
        if !is_small && !body.is_end_stream() {
            return Ok(());
        }
        let broken = |error| Fault::Malformed(format!("the body of the request broke off: {error}"));
        let all = Limited::new(body, limit).collect().await.map_err(broken)?;
        let end = End { trailers: all.trailers().cloned() };
        *self = Held::Whole(all.to_bytes(), end);
        Ok(())
    }

    /// What goes with the head.
    fn beginning(&self) -> Beginning {
        match self {
            Held::Streams(_) => Beginning::default(),
            Held::Whole(bytes, end) => Beginning { bytes: bytes.clone(), end: Some(end.clone()) },
        }
    }
}

impl Asking {
    fn take(&self) -> Option<hyper::Request<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put_back(&self, request: hyper::Request<Held>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(request);
    }

    fn is_there(&self) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Try for Asking {
    type Answer = Response<Body>;

    async fn here(
        &self,
        router: &Router,
        local: &LocalActor,
        ask: &Ask,
        attempt: &Attempt<'_>,
    ) -> Tried<Response<Body>> {
        let Some(request) = self.take() else { return Tried::Done(Err(taken())) };
        let (exchange, head) = Exchange::new(request.map(Held::into_body));
        let exchange = Arc::new(exchange);
        let message = Message {
            operation: ask.operation.clone(),
            payload: Bytes::new(),
            content_type: ContentType::Json,
            caller: ask.caller.clone(),
            attempt: attempt.number,
            cause: Cause::Http(exchange.clone()),
        };
        let (sender, answer) = tokio::sync::oneshot::channel();
        let turned = Turned::Call(attempt.trace.clone());
        let (id, reply) = (attempt.id.clone(), Respond::Waiter(sender));
        let turn = router.turn(local, id, &ask.target, Vec::new(), ask.deadline, message, turned, reply);
        let admitted = turn.and_then(|turn| {
            let pending = Pending::new(&turn, answer);
            router.admit(local, turn).map(|()| pending)
        });
        let answered = match admitted {
            Ok(pending) => pending.head(head).await,
            Err(fault) => Err(fault),
        };
        match (answered, exchange.take()) {
            // Nobody has taken it.
            (Err(fault @ (Fault::NotHere { .. } | Fault::Overloaded(_))), Some((request, _))) => {
                self.put_back(request.map(Held::Streams));
                Tried::Refused(fault)
            }
            // Nor will anybody: its replica was stopped.
            (Err(Fault::Unknown(reason)), Some((request, _))) => {
                self.put_back(request.map(Held::Streams));
                Tried::Refused(Fault::NoReplica(reason))
            }
            (answered, _) => Tried::Done(answered.map(|response| {
                let (head, body) = response.into_parts();
                let body = body.into_answer(&head.headers);
                Response::from_parts(head, body)
            })),
        }
    }

    async fn there(
        &self,
        router: &Router,
        known: &Known,
        index: usize,
        ask: &Ask,
        attempt: &Attempt<'_>,
    ) -> Tried<Response<Body>> {
        let bodies = &known.targets[index].peer.bodies;
        let Some(mut request) = self.take() else { return Tried::Done(Err(taken())) };
        let small = request.body_mut().gather(SMALL.min(bodies.chunk()));
        match tokio::time::timeout_at(ask.deadline.into(), small).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => return Tried::Done(Err(fault)),
            Err(_) => return Tried::Done(Err(Fault::Deadline(Ran::No))),
        }
        let (number, beginning) = (bodies.number(), request.body().beginning());
        let payload = Opening::encode(number, &request, &beginning);
        self.put_back(request);
        let answer = Arriving::of_answer(bodies, number);
        let sending = beginning.end.is_none().then(|| {
            let leaving = Leaving::of_request(bodies, number);
            AbortOnDropHandle::new(tokio::spawn(send_when_wanted(leaving, self.held.clone())))
        });
        let opening = Ask {
            id: None,
            target: ask.target.clone(),
            operation: ask.operation.clone(),
            payload,
            content_type: ContentType::Json,
            deadline: ask.deadline,
            caller: ask.caller.clone(),
            chain: Vec::new(),
            trace: None,
            not_after: None,
            aim: Aim::Http,
        };
        match router.attempt_there(known, index, &opening, attempt).await {
            Tried::Done(Ok(payload)) => Tried::Done(answered(payload, answer, sending)),
            Tried::Refused(fault) if self.is_there() => {
                answer.forget();
                Tried::Refused(fault)
            }
            Tried::Done(Err(fault @ Fault::Unknown(_))) if self.idempotent && self.is_there() => {
                Tried::Refused(fault)
            }
            Tried::Done(Err(fault)) | Tried::Refused(fault) => Tried::Done(Err(fault)),
        }
    }
}

/// What another node answered.
fn answered(
    payload: Bytes,
    rest: Arriving,
    sending: Option<AbortOnDropHandle<()>>,
) -> Result<Response<Body>, Fault> {
    let Answer(response) = Answer::decode(payload)
        .map_err(|error| Fault::Unknown(format!("what was answered cannot be read: {error}")))?;
    let (head, beginning) = response.into_parts();
    let body = match beginning.end {
        Some(end) => {
            rest.forget();
            // A guest may go on reading for a while when it has answered.
            if let Some(sending) = sending {
                tokio::spawn(tokio::time::timeout(AFTER, sending));
            }
            Begun::whole(beginning.bytes, end)
        }
        None => {
            rest.begins();
            // The rest of the request may still be on its way, for as long as the answer is read.
            let rest = rest.map_err(move |broken| {
                let _ = &sending;
                broken
            });
            Begun::new(beginning.bytes, rest.boxed_unsync())
        }
    };
    let body = body.into_answer(&head.headers);
    Ok(Response::from_parts(head, body))
}

/// Sends the body of a request when somebody begins to read it.
async fn send_when_wanted(mut leaving: Leaving, held: Arc<Mutex<Option<hyper::Request<Held>>>>) {
    if !leaving.is_wanted().await {
        return;
    }
    let request = held.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(request) = request {
        leaving.send(Bytes::new(), request.into_body().into_body()).await;
    }
}

/// Why there is no further attempt.
fn taken() -> Fault {
    Fault::Unknown("a replica that is gone had begun to read the body of the request".to_owned())
}
