//! One message: finds its target, here or elsewhere, within its deadline, and ends in a reply or a typed fault.
//!
//! ```text
//! call ─▶ replica on this node? ── yes ─▶ mailbox, in process
//!              │ no, or full
//!              ▼
//!         route (watched, in memory) ─▶ this zone, then the less loaded of two ─▶ that node's inbox
//!              ▲                                                                     │
//!              └──────── not here, overloaded, nobody listens: surely not run ◀──────┘
//! ```
//!
//! Rules:
//! 1. An attempt is followed by another only when it surely did not run, or when the operation is idempotent.
//! 2. Nothing outlives its deadline, and whoever stops waiting says so to whoever works.
//! 3. Errors of the bus become faults here, and nowhere else.

mod attempt;
mod bodies;
mod choice;
mod handled;
mod hold;
mod inbox;
mod ingress;
mod keyed;
mod letter;
mod peer;
mod post;
mod request;
mod room;
mod search;
mod serving;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::envelope::{Aim, ContentType, Hop};
use lattice_proto::subject::Subjects;
use lattice_proto::{ActorId, Fault, Incarnation, MessageId, Operation};

use tokio::sync::OwnedSemaphorePermit;

use crate::bus::Connection;
use crate::clock::ServerClock;
use crate::keyed::Owners;
use crate::membership::ToLeader;
use crate::replica::Local;
use crate::telemetry::{Counters, Scope, Span, metrics};

pub use inbox::{ENVELOPE_ROOM, Inboxes, Opened, Told};
pub use ingress::Ingress;
pub(crate) use ingress::status;
pub use peer::{Peers, Suspicions};
pub use table::Table;

use attempt::Handle;
use hold::Holding;
use room::Room;

/// What somebody wants from an actor.
pub struct Ask {
    /// The message's; a new one where there is none yet.
    pub id: Option<MessageId>,
    /// Whom.
    pub target: ActorId,
    /// What.
    pub operation: Operation,
    /// With which arguments.
    pub payload: Bytes,
    /// How they are written.
    pub content_type: ContentType,
    /// Until when an answer is of use.
    pub deadline: Instant,
    /// The asking actor's ID, if it is one.
    pub caller: Option<Arc<str>>,
    /// The calls that led here.
    pub chain: Vec<Hop>,
    /// The span that the call belongs to.
    pub trace: Option<Scope>,
    /// When nobody may take it any more, by `CLOCK_BOOTTIME`: whoever asks may be somebody's successor by then.
    pub not_after: Option<Duration>,
    /// What is to be done with it.
    pub aim: Aim,
}

/// A cheap handle on this node's router.
#[derive(Clone)]
pub struct Router {
    shared: Arc<Shared>,
}

struct Shared {
    bus: Connection,
    subjects: Subjects,
    incarnation: Incarnation,
    zone: Option<String>,
    clock: Arc<ServerClock>,
    local: Local,
    owners: Owners,
    table: Table,
    counters: Counters,
    /// For the payloads that wait on this node.
    room: Room,
    /// Calls that wait for the first replica of an actor.
    holding: Holding,
    /// Numbers the messages of this incarnation.
    messages: AtomicU64,
    /// The other nodes.
    peers: Peers,
}

/// What a router is made of.
pub struct Parts {
    /// The connection for calls.
    pub bus: Connection,
    /// Names.
    pub subjects: Subjects,
    /// This node.
    pub incarnation: Incarnation,
    /// Its zone.
    pub zone: Option<String>,
    /// The time by which deadlines travel.
    pub clock: Arc<ServerClock>,
    /// What runs here.
    pub local: Local,
    /// Who owns the shards of keyed actors.
    pub owners: Owners,
    /// What runs elsewhere.
    pub table: Table,
    /// The other nodes.
    pub peers: Peers,
    /// Who has replicas made of what is called and does not run.
    pub leader: ToLeader,
    /// What is counted.
    pub counters: Counters,
}

impl Router {
    /// A router over these parts.
    pub fn new(parts: Parts) -> Self {
        let Parts { bus, subjects, incarnation, zone, clock, local, owners, table, peers, leader, counters } =
            parts;
        let (messages, room) = (AtomicU64::new(0), Room::of_this_machine());
        let holding = Holding::new(leader, incarnation.clone());
        let shared = Shared {
            bus,
            subjects,
            incarnation,
            zone,
            clock,
            local,
            owners,
            table,
            counters,
            room,
            holding,
            messages,
            peers,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Room for the payload of one message, for as long as what is given is held; none is needed for a small one.
    ///
    /// # Errors
    /// [`Fault::Overloaded`] when the payloads on this node leave no room.
    pub(in crate::router) fn room(
        &self,
        target: &ActorId,
        payload: usize,
    ) -> Result<Option<OwnedSemaphorePermit>, Fault> {
        self.shared.room.take(payload).map_err(|()| {
            self.shared.counters.overloaded();
            Fault::Overloaded(format!("{} (its node holds too many large messages)", target.name))
        })
    }

    /// Counts a call that failed, if it was to an actor that is known to be one: names are made up by whoever asks.
    fn failed(&self, ask: &Ask, fault: &Fault) {
        let name = &ask.target.name;
        let is_deployed = || self.shared.table.known(name).is_some();
        let meter = metrics::known(name).or_else(|| is_deployed().then(|| metrics::meter(name)));
        if let Some(meter) = meter {
            meter.failed(&ask.operation, fault);
        }
    }

    /// The id of a new message.
    pub fn message_id(&self) -> MessageId {
        let number = self.shared.messages.fetch_add(1, Ordering::Relaxed);
        MessageId::numbered(&self.shared.incarnation, number)
    }

    /// Waits until everything that others asked of this node has been answered.
    pub async fn all_answered(&self) {
        self.shared.peers.done().await;
    }

    /// Calls an actor and waits for its reply, at most until the deadline.
    ///
    /// Dropping the future cancels the call.
    ///
    /// # Errors
    /// The fault that ended it, which says whether the message ran.
    // An `async fn` would keep its argument twice, and this future is made for every call.
    pub fn call(&self, ask: Ask) -> impl Future<Output = Result<Bytes, Fault>> + Send + use<> {
        let router = self.clone();
        async move {
            let shared = &*router.shared;
            shared.counters.calls();
            let id = ask.id.clone().unwrap_or_else(|| router.message_id());
            let mut span = Span::call(ask.trace.clone(), &ask.target, &ask.operation);
            span.carries(&id);
            // Held until the end: the payload is kept for further attempts.
            let outcome = match router.room(&ask.target, ask.payload.len()) {
                Ok(_room) => router.attempts(&Handle, &ask, &id, &mut span).await,
                Err(fault) => Err(fault),
            };
            span.has_come();
            if let Err(fault) = &outcome {
                span.fail(fault);
                router.failed(&ask, fault);
            }
            outcome
        }
    }
}
