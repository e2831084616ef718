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

mod choice;
mod inbox;
mod ingress;
mod peer;
mod table;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::envelope::{Call, ContentType, Hop, MAX_CHAIN, TraceContext};
use lattice_proto::subject::Subjects;
use lattice_proto::{ActorId, Fault, Incarnation, MessageId, Operation, Ran};

use tokio_util::task::TaskTracker;

use crate::bus::Connection;
use crate::clock::ServerClock;
use crate::replica::{Local, LocalActor, Message, Pending, Refusal, Turn};
use crate::telemetry::{Counters, Span, Subject};

pub use inbox::{ENVELOPE_ROOM, Inboxes};
pub use ingress::Ingress;
pub use peer::{Peers, Suspicions};
pub use table::Table;

use table::Known;

/// Attempts that may follow the first. Enough to get past a full replica, a lost node and a stale route in one call.
const RETRIES: u32 = 8;

/// The pause before a route is looked at again after the node that it names did not have the actor.
const STALE_ROUTE: Duration = Duration::from_millis(20);

/// How long a fresh look at a route may take when none of the nodes that it names is there any more.
const LAST_LOOK: Duration = Duration::from_millis(50);

/// What somebody wants from an actor.
pub struct Ask {
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
    pub trace: Option<TraceContext>,
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
    table: Table,
    counters: Counters,
    /// Numbers the messages of this incarnation.
    messages: AtomicU64,
    /// Answers on their way to other nodes and to plain NATS clients.
    answers: TaskTracker,
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
    /// What runs elsewhere.
    pub table: Table,
    /// What is counted.
    pub counters: Counters,
}

/// How one attempt ended.
enum Tried {
    /// With an answer, or a fault that no other attempt could help.
    Done(Result<Bytes, Fault>),
    /// It surely did not run there.
    Refused(Fault),
}

impl Router {
    /// A router over these parts.
    pub fn new(parts: Parts) -> Self {
        let Parts { bus, subjects, incarnation, zone, clock, local, table, counters } = parts;
        let (messages, answers) = (AtomicU64::new(0), TaskTracker::new());
        let shared =
            Shared { bus, subjects, incarnation, zone, clock, local, table, counters, messages, answers };
        Self { shared: Arc::new(shared) }
    }

    /// Waits until everything that others asked of this node has been answered.
    pub async fn all_answered(&self) {
        self.shared.answers.close();
        self.shared.answers.wait().await;
    }

    /// Calls an actor and waits for its reply, at most until the deadline.
    ///
    /// Dropping the future cancels the call.
    ///
    /// # Errors
    /// The fault that ended it, which says whether the message ran.
    pub async fn call(&self, ask: Ask) -> Result<Bytes, Fault> {
        let shared = &*self.shared;
        shared.counters.calls();
        let number = shared.messages.fetch_add(1, Ordering::Relaxed);
        let id = MessageId::numbered(&shared.incarnation, number);
        let mut span = Span::call(
            ask.trace.clone(),
            &Subject {
                actor: &ask.target,
                operation: ask.operation.as_str(),
                message: id.as_str(),
                attempt: 1,
            },
        );
        let outcome = self.attempts(&ask, &id, &span).await;
        if let Err(fault) = &outcome {
            span.fail(fault);
        }
        outcome
    }

    async fn attempts(&self, ask: &Ask, id: &MessageId, span: &Span) -> Result<Bytes, Fault> {
        if ask.chain.len() >= MAX_CHAIN {
            return Err(Fault::Deadlock(format!("{} (after {MAX_CHAIN} calls in one chain)", ask.target)));
        }
        let mut search = Search {
            attempt: 0,
            spent: 0,
            tried: BTreeSet::new(),
            moved: false,
            gone: false,
            maybe: false,
            last: None,
        };
        loop {
            search.attempt += 1;
            search.spent += 1;
            if search.attempt > 1 {
                self.shared.counters.retries();
            }
            let tried = match self.find(ask, &mut search).await? {
                Found::Here(local) => self.attempt_here(&local, ask, id, search.attempt, span).await,
                Found::There(known, index) => {
                    search.tried.insert(known.targets[index].peer.incarnation().clone());
                    self.attempt_there(&known, index, ask, id, search.attempt, span).await
                }
            };
            match tried {
                Tried::Done(outcome) => return outcome,
                Tried::Refused(fault) => {
                    search.moved |= matches!(fault, Fault::NotHere { .. });
                    search.gone |= matches!(fault, Fault::NoReplica(_));
                    // A try that may have run outweighs every later one that surely did not.
                    search.maybe |= fault.ran() != Ran::No;
                    if !search.maybe || fault.ran() != Ran::No {
                        search.last = Some(fault);
                    }
                }
            }
            if Instant::now() >= ask.deadline {
                return Err(Fault::Deadline(search.ran()));
            }
        }
    }

    /// Where the next attempt goes; an error when there is nowhere left.
    async fn find(&self, ask: &Ask, search: &mut Search) -> Result<Found, Fault> {
        let shared = &*self.shared;
        // This node first, and without looking anything up. It is tried once in a call, unless routes changed.
        if let Some(local) = shared.local.get(&ask.target.name)
            && local.count() > 0
            && search.tried.insert(shared.incarnation.clone())
        {
            return Ok(Found::Here(local));
        }
        loop {
            let known = match tokio::time::timeout_at(ask.deadline.into(), shared.table.get(&ask.target.name))
                .await
            {
                Ok(Ok(Some(known))) => known,
                Ok(Ok(None)) => {
                    let earlier = search.last.take().filter(|_| search.maybe);
                    return Err(earlier.unwrap_or_else(|| Fault::NoSuchActor(ask.target.name.to_string())));
                }
                Ok(Err(reason)) => {
                    let name = &ask.target.name;
                    return Err(Fault::NoReplica(format!("`{name}` does not run here, and {reason}")));
                }
                Err(_) => return Err(Fault::Deadline(search.ran())),
            };
            let budget = search.spent <= RETRIES + 1;
            if budget
                && let Some(index) = choice::pick(&known.candidates(shared.zone.as_deref(), &search.tried))
            {
                return Ok(Found::There(known, index));
            }
            // A route that names this node is out of date when nothing runs here.
            search.moved |= known.names_this_node && shared.local.get(&ask.target.name).is_none();
            // Every replica was tried. A node that no longer had it means that it moved: the route will say where to.
            if std::mem::take(&mut search.gone) && !search.moved {
                // One look at the route, and no more: when there is nobody the caller should know at once.
                shared.table.newer(&ask.target.name, known.revision, LAST_LOOK).await;
                if shared.table.revision(&ask.target.name) > known.revision {
                    search.tried.clear();
                }
                continue;
            }
            if !search.moved {
                return Err(search.last.take().unwrap_or_else(|| {
                    let name = &ask.target.name;
                    Fault::NoReplica(format!(
                        "`{name}` is deployed, and none of its replicas is running at the moment"
                    ))
                }));
            }
            let pause = STALE_ROUTE + Duration::from_millis(fastrand::u64(0..20));
            let newer = shared.table.newer(&ask.target.name, known.revision, pause);
            if tokio::time::timeout_at(ask.deadline.into(), newer).await.is_err() {
                return Err(Fault::Deadline(search.ran()));
            }
            search.moved = false;
            search.spent = 1;
            search.tried.clear();
            if let Some(local) = shared.local.get(&ask.target.name)
                && local.count() > 0
                && search.tried.insert(shared.incarnation.clone())
            {
                return Ok(Found::Here(local));
            }
        }
    }

    async fn attempt_here(
        &self,
        local: &LocalActor,
        ask: &Ask,
        id: &MessageId,
        attempt: u32,
        span: &Span,
    ) -> Tried {
        let message = Message {
            operation: ask.operation.clone(),
            payload: ask.payload.clone(),
            content_type: ask.content_type.clone(),
            caller: ask.caller.clone(),
            attempt,
        };
        let admitted = self.admit(
            local,
            id.clone(),
            &ask.target,
            ask.chain.clone(),
            ask.deadline,
            message,
            span.context(),
        );
        match admitted {
            Ok(pending) => Tried::Done(pending.answer().await),
            Err(fault @ Fault::TooLarge { .. }) => Tried::Done(Err(fault)),
            Err(fault) => Tried::Refused(fault),
        }
    }

    /// Puts a message into a mailbox of this node, or says why not.
    #[allow(
        clippy::too_many_arguments,
        reason = "these are the parts of one message, and a struct would only list them twice"
    )]
    fn admit(
        &self,
        local: &LocalActor,
        id: MessageId,
        target: &ActorId,
        chain: Vec<Hop>,
        deadline: Instant,
        message: Message,
        trace: Option<TraceContext>,
    ) -> Result<Pending, Fault> {
        let limit = local.home.settings.limits.payload.0;
        let size = message.payload.len() as u64;
        if size > limit {
            return Err(Fault::TooLarge { limit, size, ran: Ran::No });
        }
        let handled = Span::handle(
            trace,
            &Subject {
                actor: target,
                operation: message.operation.as_str(),
                message: id.as_str(),
                attempt: message.attempt,
            },
        );
        let (turn, pending) = Turn::new(id, target.clone(), chain, deadline, message, handled);
        match local.admit(turn) {
            Ok(()) => Ok(pending),
            Err(Refusal::Overloaded(turn)) => {
                self.shared.counters.overloaded();
                let fault = Fault::Overloaded(target.name.to_string());
                turn.waiting.answer(Err(fault.clone()));
                Err(fault)
            }
            Err(Refusal::NotHere(turn)) => {
                let fault = self.not_here(target);
                turn.waiting.answer(Err(fault.clone()));
                Err(fault)
            }
        }
    }

    fn not_here(&self, target: &ActorId) -> Fault {
        Fault::NotHere { actor: target.to_string(), revision: self.shared.table.revision(&target.name) }
    }

    async fn attempt_there(
        &self,
        known: &Known,
        index: usize,
        ask: &Ask,
        id: &MessageId,
        attempt: u32,
        span: &Span,
    ) -> Tried {
        let shared = &*self.shared;
        shared.counters.calls_remote();
        let target = &known.targets[index];
        let remaining = ask.deadline.saturating_duration_since(Instant::now());
        let deadline_ms =
            shared.clock.now_ms().saturating_add(i64::try_from(remaining.as_millis()).unwrap_or(i64::MAX));
        let call = Call {
            id: id.clone(),
            target: ask.target.clone(),
            operation: ask.operation.clone(),
            payload: ask.payload.clone(),
            content_type: ask.content_type.clone(),
            deadline_ms: u64::try_from(deadline_ms).unwrap_or(0),
            remaining,
            retry_budget: RETRIES.saturating_sub(attempt.saturating_sub(1)),
            chain: ask.chain.clone(),
            trace: span.context(),
            attempt,
            caller: ask.caller.as_deref().and_then(|caller| caller.parse().ok()),
            origin: shared.incarnation.clone(),
        };
        let outcome = target.peer.call(&call, ask.deadline, &target.load).await;
        match outcome {
            Ok(payload) => Tried::Done(Ok(payload)),
            Err(fault @ (Fault::NotHere { .. } | Fault::Overloaded(_) | Fault::NoReplica(_))) => {
                Tried::Refused(fault)
            }
            // Declared idempotent: running it twice does no more than running it once.
            Err(fault @ Fault::Unknown(_)) if known.route.idempotent.contains(&ask.operation) => {
                Tried::Refused(fault)
            }
            Err(fault) => Tried::Done(Err(fault)),
        }
    }
}

/// What a call has been through so far.
struct Search {
    /// Grows with each try, so that no two tries of one message are taken for the same.
    attempt: u32,
    /// Tries since the route was last new.
    spent: u32,
    /// Nodes that this call has been to, since the route was last new.
    tried: BTreeSet<Incarnation>,
    /// Whether one of them no longer had the actor.
    moved: bool,
    /// Whether one of the tries may have run.
    maybe: bool,
    /// Whether one of them is gone, which may be news to this node's table.
    gone: bool,
    last: Option<Fault>,
}

impl Search {
    fn ran(&self) -> Ran {
        if self.maybe { Ran::Maybe } else { Ran::No }
    }
}

enum Found {
    Here(Arc<LocalActor>),
    There(Arc<Known>, usize),
}
