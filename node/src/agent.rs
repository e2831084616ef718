//! Makes what runs on this node equal what is assigned to it, and reports. It never plans.
//!
//! Each assigned actor has a worker of its own, so that a slow download of one does not hold up another.
//!
//! Rules:
//! 1. An assignment that cannot be seen or read is no order to stop anything.
//! 2. What is followed is kept on disk, for a start without NATS. What a node gives up only because it stops is kept as it
//!    was before.
//! 3. A node that was cut off may have been taken for lost, and its assignment emptied. So no actor is stopped within
//!    [`HOLD`] after a reconnection, in which the leader writes what it wants of the node that is there again.

mod last;
mod load;
mod remember;
mod specs;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_proto::ActorName;
use lattice_proto::record::{self, Assigned, Assignment};
use lattice_proto::subject::{Control, Subjects};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

pub use self::last::{Last, Orders};
pub use self::load::report;
use self::remember::Memory;
pub use self::specs::Specs;
use crate::artifact::Artifacts;
use crate::bus::{Bus, Change, LEASE, Link};
use crate::client::Clients;
use crate::events::Events;
use crate::keyed::Keyed;
use crate::logs;
use crate::membership::{Identity, Inventory};
use crate::replica::Local;
use crate::router::Router;
use crate::stores::Stores;
use crate::tap::Taps;
use crate::telemetry::Counters;
use crate::topics::Publisher;

/// How long after a reconnection no actor is stopped. A lease may end just then, and the leader see it anew a renewal
/// later: two leases are more than that takes.
const HOLD: Duration = LEASE.saturating_mul(2);

/// What a worker needs.
pub struct Tools {
    /// What versions are.
    pub specs: Specs,
    /// Where artifacts come from.
    pub artifacts: Artifacts,
    /// Where running actors are listed.
    pub local: Local,
    /// For the keys of keyed actors.
    pub keyed: Keyed,
    /// Through whom they call.
    pub router: Router,
    /// And by what they ask others by HTTP.
    pub clients: Clients,
    /// What they keep by interfaces of the standard.
    pub stores: Stores,
    /// By what they publish.
    pub topics: Publisher,
    /// Where their state is reported.
    pub inventory: Inventory,
    /// Where their crashes are told.
    pub events: Events,
    /// Where their words are kept.
    pub lines: logs::Store,
    /// Who watches their messages.
    pub taps: Taps,
}

/// The loop of one node.
pub struct Agent {
    bus: Bus,
    subjects: Subjects,
    me: Identity,
    counters: Counters,
    tools: Arc<Tools>,
    workers: BTreeMap<ActorName, Worker>,
    /// The term of the last assignment that was followed.
    term: u64,
    /// What is followed, for the disk.
    followed: watch::Sender<Option<Assignment>>,
    _remember: Option<AbortOnDropHandle<()>>,
}

struct Worker {
    wanted: watch::Sender<Option<Assigned>>,
    task: AbortOnDropHandle<()>,
}

impl Agent {
    /// An agent that runs nothing yet. What it follows is kept in `last`, which says `kept` so far.
    pub fn new(
        bus: Bus,
        subjects: Subjects,
        me: Identity,
        counters: Counters,
        tools: Tools,
        last: Option<Last>,
        kept: Option<Orders>,
    ) -> Self {
        let (followed, to_remember) = watch::channel(None);
        let remember = |last| {
            let (specs, artifacts) = (tools.specs.clone(), tools.artifacts.clone());
            tokio::spawn(remember::run(Memory { last, kept, specs, artifacts }, to_remember))
        };
        let _remember = last.map(remember).map(AbortOnDropHandle::new);
        let (tools, workers) = (Arc::new(tools), BTreeMap::new());
        Self { bus, subjects, me, counters, tools, workers, term: 0, followed, _remember }
    }

    /// Runs what was assigned last, if that is known, until the node has joined the lattice; from then on follows
    /// assignments for as long as the node runs.
    pub async fn run(mut self, last: Option<Assignment>, joined: impl Future<Output = ()>) {
        let begins = last.is_some();
        if let Some(last) = last {
            // Its term says nothing to those of a lattice that may have begun anew.
            self.order(last.actors);
        }
        joined.await;
        let key = self.subjects.control(&Control::Assign(self.me.name.clone()));
        let mut watch = self.bus.decisions.watch(&key);
        let link = self.bus.control.link();
        let mut known = if begins { Link::default() } else { *link.borrow() };
        // What was assigned, where something else runs on until then.
        let (mut held, mut until) = (None::<Assignment>, Instant::now());
        loop {
            let change = tokio::select! {
                change = watch.next() => change,
                () = tokio::time::sleep_until(until), if held.is_some() => {
                    // Cut off again, it is found once more when the link is back.
                    if let Some(assignment) = held.take().filter(|_| link.borrow().up) {
                        self.follow(assignment);
                    }
                    continue;
                }
            };
            let Change::Put(entry) = change else { continue };
            let Some(bytes) = entry.value else { continue };
            let assignment = match record::decode::<Assignment>(&bytes) {
                Ok(assignment) if assignment.term >= self.term => assignment,
                Ok(assignment) => {
                    let (term, known) = (assignment.term, self.term);
                    tracing::warn!(term, known, "an assignment of an earlier leader is refused");
                    continue;
                }
                Err(error) => {
                    self.counters.malformed_records();
                    tracing::error!(%error, "this node's assignment cannot be read; what runs goes on");
                    continue;
                }
            };
            let (now, seen) = (Instant::now(), *link.borrow());
            // What arrives over a connection may be seen before the word that there is one again.
            if seen != known || !seen.up {
                (known, until) = (seen, now + HOLD);
            }
            let stops = now >= until || self.tools.inventory.is_draining();
            let kept = if stops { BTreeMap::new() } else { self.kept_beside(&assignment) };
            held = (!kept.is_empty()).then(|| assignment.clone());
            let actors = assignment.actors.into_iter().chain(kept).collect();
            self.follow(Assignment { term: assignment.term, actors });
        }
    }

    /// What runs and is not in the assignment.
    fn kept_beside(&self, assignment: &Assignment) -> BTreeMap<ActorName, Assigned> {
        let others = self.workers.iter().filter(|(actor, _)| !assignment.actors.contains_key(*actor));
        others.filter_map(|(actor, worker)| Some((actor.clone(), worker.wanted.borrow().clone()?))).collect()
    }

    fn follow(&mut self, assignment: Assignment) {
        self.term = assignment.term;
        if !self.tools.inventory.is_draining() {
            self.followed.send_replace(Some(assignment.clone()));
        }
        self.order(assignment.actors);
    }

    fn order(&mut self, actors: BTreeMap<ActorName, Assigned>) {
        for (actor, worker) in &self.workers {
            if !actors.contains_key(actor) {
                worker.wanted.send_if_modified(|wanted| wanted.take().is_some());
            }
        }
        for (actor, assigned) in actors {
            let worker = self.workers.get(&actor);
            if let Some(worker) = worker
                && !worker.task.is_finished()
            {
                // An order that says nothing new must not start anything over.
                worker.wanted.send_if_modified(|wanted| {
                    let new = wanted.as_ref() != Some(&assigned);
                    if new {
                        *wanted = Some(assigned);
                    }
                    new
                });
                continue;
            }
            let (wanted, orders) = watch::channel(Some(assigned));
            let task = tokio::spawn(worker::run(actor.clone(), orders, self.tools.clone()));
            self.workers.insert(actor, Worker { wanted, task: AbortOnDropHandle::new(task) });
        }
    }
}
