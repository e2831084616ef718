//! Plain NATS clients: `lat.<lattice>.call.<actor>.<operation>`, payload in, payload out, from any language.
//!
//! Every node takes from one queue group and routes what it gets. An actor opts in by `ingress = ["nats"]`.
//!
//! | header | direction | means |
//! |---|---|---|
//! | `traceparent`, `tracestate` | in | the trace that the call belongs to |
//! | `Lattice-Timeout-Ms` | in | how long the client waits; 5000 when it does not say |
//! | `Content-Type` | in | `application/json` when it does not say |
//! | `Nats-Service-Error` | out | why there is no reply, in one sentence |
//! | `Nats-Service-Error-Code` | out | the same as an HTTP status |
//! | `Lattice-Fault`, `Lattice-Ran` | out | the kind of fault, and whether the message ran: no, maybe or yes |

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::envelope::{Aim, ContentType, TraceContext};
use lattice_proto::manifest::Ingress as Way;
use lattice_proto::{ActorName, Fault};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Ask, ENVELOPE_ROOM, Router};
use crate::bus::{Arrived, Error, Subscription};
use crate::telemetry::{Span, metrics};

/// What a client gets that does not say how long it waits.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Calls from outside that this node handles at once; more are told `Overloaded` at once.
const AT_ONCE: usize = 4096;

/// Serves plain NATS clients.
pub struct Ingress {
    router: Router,
    room: Arc<Semaphore>,
}

impl Ingress {
    /// A way in through this router.
    pub fn new(router: Router) -> Self {
        Self { router, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Subscribes. Messages that arrive before [`Self::serve`] runs wait.
    ///
    /// # Errors
    /// When the client is closed.
    pub async fn open(&self) -> Result<Subscription, Error> {
        let shared = &self.router.shared;
        shared.bus.subscribe(shared.subjects.ingress_filter(), Some("lattice")).await
    }

    /// Serves until told to stop, and then what has arrived before.
    pub async fn serve(self, mut messages: Subscription, stop: CancellationToken) {
        let mut stopped = false;
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = stop.cancelled(), if !stopped => {
                    stopped = true;
                    messages.close().await;
                    continue;
                }
            };
            let Some(message) = message else { return };
            let Some(reply) = message.reply.clone() else {
                // A client that waits for nothing cannot be told anything either.
                self.router.shared.counters.malformed_envelopes();
                continue;
            };
            let room = self.room.clone().try_acquire_owned();
            let router = self.router.clone();
            match room {
                Ok(room) => {
                    self.router.shared.peers.tasks().spawn(async move {
                        let outcome = handle(&router, message).await;
                        answer(&router, reply, outcome).await;
                        drop(room);
                    });
                }
                Err(_) => {
                    router.shared.counters.overloaded();
                    answer(&router, reply, Err(Fault::Overloaded("the node".to_owned()))).await;
                }
            }
        }
    }
}

async fn handle(router: &Router, message: Arrived) -> Result<Bytes, Fault> {
    let shared = &router.shared;
    let (target, operation) = shared.subjects.parse_ingress(&message.subject).map_err(|error| {
        shared.counters.malformed_subjects();
        Fault::Malformed(error.to_string())
    })?;
    shared.counters.calls_ingress();
    let timeout = match message.headers.get("Lattice-Timeout-Ms") {
        None => TIMEOUT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|ms| (1..=86_400_000).contains(ms))
            .map(Duration::from_millis)
            .ok_or_else(|| {
                Fault::Malformed("Lattice-Timeout-Ms is a number from 1 to 86400000".to_owned())
            })?,
    };
    let content_type = ContentType::parse(message.headers.get("Content-Type").unwrap_or_default())
        .map_err(|error| Fault::Malformed(error.to_string()))?;
    let trace = message.headers.get("traceparent").and_then(|parent| {
        TraceContext::parse(parent, message.headers.get("tracestate").unwrap_or_default())
    });
    let (name, mut span) = (target.name.clone(), Span::request(trace, &target, &operation));
    let ask = Ask {
        id: None,
        target,
        operation,
        payload: message.payload,
        content_type,
        deadline: Instant::now() + timeout,
        caller: Some(lattice_proto::id::EXTERNAL.into()),
        chain: vec![],
        trace: span.scope(),
        not_after: None,
        aim: Aim::Handle,
    };
    let outcome = call(router, ask).await;
    metrics::edges(None).count(&name, outcome.as_ref().err());
    if let Err(fault) = &outcome {
        span.fail(fault);
    }
    outcome
}

/// Calls an actor that takes calls from here.
async fn call(router: &Router, ask: Ask) -> Result<Bytes, Fault> {
    if let Err(fault) = router.opted_in(&ask.target.name, Way::Nats, ask.deadline).await {
        router.failed(&ask, &fault);
        return Err(fault);
    }
    router.call(ask).await
}

impl Router {
    /// Makes sure that an actor takes calls that come this way.
    ///
    /// # Errors
    /// That it does not, or that it is not known in time.
    pub(crate) async fn opted_in(&self, actor: &ActorName, way: Way, deadline: Instant) -> Result<(), Fault> {
        let opted_in = match self.shared.local.get(actor) {
            Some(local) => local.home.settings.ingress.contains(&way),
            None => match tokio::time::timeout_at(deadline.into(), self.shared.table.get(actor)).await {
                Ok(Ok(Some(known))) => match way {
                    Way::Http => known.route.http,
                    Way::Nats => known.route.nats,
                },
                Ok(Ok(None)) => return Err(Fault::NoSuchActor(actor.to_string())),
                Ok(Err(reason)) => return Err(Fault::NoReplica(reason)),
                Err(_) => return Err(Fault::Deadline(lattice_proto::Ran::No)),
            },
        };
        let (clients, word) = match way {
            Way::Http => ("HTTP", "http"),
            Way::Nats => ("plain NATS", "nats"),
        };
        let denied = || {
            format!(
                "`{actor}` takes no calls from {clients} clients; its manifest needs ingress = [\"{word}\"]"
            )
        };
        opted_in.then_some(()).ok_or_else(|| Fault::Denied(denied()))
    }

    /// The largest payload that an actor may be sent from here, in bytes, as far as is known.
    pub(crate) fn payload_limit(&self, actor: &ActorName) -> usize {
        match self.shared.local.get(actor) {
            Some(local) => usize::try_from(local.home.settings.limits.payload.0).unwrap_or(usize::MAX),
            None => self.shared.bus.max_payload().saturating_sub(ENVELOPE_ROOM),
        }
    }
}

async fn answer(router: &Router, reply: crate::bus::ReplyTo, outcome: Result<Bytes, Fault>) {
    let bus = &router.shared.bus;
    let fault = match outcome {
        Ok(payload) if payload.len() <= bus.max_payload() => return bus.publish(reply, payload).await,
        Ok(payload) => Fault::TooLarge {
            limit: bus.max_payload() as u64,
            size: payload.len() as u64,
            ran: lattice_proto::Ran::Yes,
        },
        Err(fault) => fault,
    };
    let (text, code) = (fault.to_string(), status(&fault).to_string());
    let mut headers = vec![
        ("Nats-Service-Error", text.as_str()),
        ("Nats-Service-Error-Code", code.as_str()),
        ("Lattice-Fault", fault.kind()),
        ("Lattice-Ran", fault.ran().as_str()),
    ];
    let mut details = Bytes::new();
    if let Fault::Rejected(rejection) = &fault {
        headers.push(("Lattice-Rejection", rejection.code.as_str()));
        details = rejection.details.clone().unwrap_or_default().into();
    }
    bus.publish_with_headers(reply, &headers, details).await;
}

/// The HTTP status that says most nearly the same.
pub(crate) fn status(fault: &Fault) -> u16 {
    match fault {
        Fault::NoSuchActor(_) | Fault::NoSuchOperation(_) => 404,
        Fault::NoReplica(_) | Fault::NotHere { .. } => 503,
        Fault::Overloaded(_) => 429,
        Fault::Deadline(_) | Fault::Cancelled(_) => 504,
        Fault::Unknown(_) | Fault::Trapped(_) => 502,
        Fault::Deadlock(_) | Fault::Rejected(_) => 409,
        Fault::Denied(_) => 403,
        Fault::TooLarge { .. } => 413,
        Fault::Malformed(_) => 400,
    }
}
