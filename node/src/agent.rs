//! Makes what runs on this node equal what is assigned to it, and reports. It never plans.
//!
//! Each assigned actor has a worker of its own, so that a slow download of one does not hold up another.

mod load;
mod specs;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;

use lattice_proto::ActorName;
use lattice_proto::record::{self, Assigned, Assignment};
use lattice_proto::subject::{Control, Subjects};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

pub use self::load::report;
pub use self::specs::Specs;
use crate::artifact::Artifacts;
use crate::bus::{Bus, Change};
use crate::events::Events;
use crate::membership::{Identity, Inventory};
use crate::replica::Local;
use crate::router::Router;
use crate::telemetry::Counters;

/// What a worker needs.
pub struct Tools {
    /// What versions are.
    pub specs: Specs,
    /// Where artifacts come from.
    pub artifacts: Artifacts,
    /// Where running actors are listed.
    pub local: Local,
    /// Through whom they call.
    pub router: Router,
    /// Where their state is reported.
    pub inventory: Inventory,
    /// Where their crashes are told.
    pub events: Events,
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
}

struct Worker {
    wanted: watch::Sender<Option<Assigned>>,
    task: AbortOnDropHandle<()>,
}

impl Agent {
    /// An agent that runs nothing yet.
    pub fn new(bus: Bus, subjects: Subjects, me: Identity, counters: Counters, tools: Tools) -> Self {
        Self { bus, subjects, me, counters, tools: Arc::new(tools), workers: BTreeMap::new(), term: 0 }
    }

    /// Follows assignments for as long as the node runs.
    pub async fn run(mut self) {
        let key = self.subjects.control(&Control::Assign(self.me.name.clone()));
        let mut watch = self.bus.decisions.watch(&key);
        loop {
            // Only what is there is followed: an assignment that cannot be seen is no order to stop anything.
            if let Change::Put(entry) = watch.next().await
                && let Some(bytes) = entry.value
            {
                match record::decode::<Assignment>(&bytes) {
                    Ok(assignment) if assignment.term >= self.term => self.follow(assignment),
                    Ok(assignment) => {
                        tracing::warn!(
                            term = assignment.term,
                            known = self.term,
                            "an assignment of an earlier leader is refused"
                        );
                    }
                    Err(error) => {
                        self.counters.malformed_records();
                        tracing::error!(%error, "this node's assignment cannot be read; what runs goes on");
                    }
                }
            }
        }
    }

    fn follow(&mut self, assignment: Assignment) {
        self.term = assignment.term;
        for (actor, worker) in &self.workers {
            if !assignment.actors.contains_key(actor) {
                worker.wanted.send_if_modified(|wanted| wanted.take().is_some());
            }
        }
        for (actor, assigned) in assignment.actors {
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
