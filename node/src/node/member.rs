//! What a node does as a member of its lattice, from the moment it has its name. It only owns the tasks.

use std::sync::Arc;
use std::time::Duration;

use lattice_proto::envelope::Suspicion;
use lattice_proto::record::Lease;
use lattice_proto::shard::SHARDS;
use lattice_proto::subject::{Inbox, Subjects};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::LAST_REQUESTS;
use crate::Error;
use crate::artifact::Artifacts;
use crate::bus::Bus;
use crate::clock::ServerClock;
use crate::controller;
use crate::events::{Events, Writer};
use crate::membership::{self, Fence, Identity, Inventory, Keeper, Leader, ToLeader};
use crate::router::{Inboxes, Ingress, Opened, Router, Suspicions, Told};
use crate::telemetry::Counters;

/// What a member is made of.
pub(super) struct Parts {
    pub bus: Bus,
    pub subjects: Subjects,
    pub me: Identity,
    pub router: Router,
    pub inventory: Inventory,
    pub clock: Arc<ServerClock>,
    pub fence: Fence,
    pub counters: Counters,
    pub events: Events,
    pub artifacts: Artifacts,
    /// How long an artifact is kept that no revision names.
    pub artifact_grace: Duration,
    /// How many shards a new lattice gets, where the operator says so.
    pub shards: Option<u16>,
    /// What is told, to be stored.
    pub tellings: Writer,
    /// Where it is kept who leads.
    pub leader_seen: watch::Sender<Option<Leader>>,
    pub leader: watch::Receiver<Option<Leader>>,
    pub to_leader: ToLeader,
    /// The nodes that this one found to be lost.
    pub lost: Suspicions,
    /// What others tell the leader.
    pub told: mpsc::Receiver<Told>,
}

/// The tasks of a member.
pub(super) struct Member {
    bus: Bus,
    me: Identity,
    tasks: JoinSet<()>,
    from_outside: JoinHandle<()>,
    outside: CancellationToken,
    name: JoinHandle<Option<Lease>>,
    release: CancellationToken,
    leading: JoinHandle<()>,
    lead: CancellationToken,
}

impl Member {
    /// Starts them.
    ///
    /// # Errors
    /// When the client is closed.
    pub async fn start(
        parts: Parts,
        keeper: Keeper,
        (inboxes, opened): (Inboxes, Opened),
    ) -> Result<Self, Error> {
        let Parts { bus, subjects, me, router, inventory, clock, counters, events, .. } = parts;
        let mut tasks = JoinSet::new();

        // Calls in.
        tasks.spawn(inboxes.serve(opened));
        let ingress = Ingress::new(router);
        let from_outside = ingress.open().await?;
        let outside = CancellationToken::new();
        let from_outside = tokio::spawn(ingress.serve(from_outside, outside.clone()));

        // Calls out.
        let doubts = Arc::<Notify>::default();
        tasks.spawn(report_lost(parts.to_leader, parts.lost, doubts.clone()));

        // This node in the lattice.
        tasks.spawn(membership::answer(
            bus.clone(),
            subjects.clone(),
            me.incarnation.clone(),
            counters.clone(),
        ));
        tasks.spawn(inventory.publish(bus.clone()));
        tasks.spawn(membership::follow_leader(bus.clone(), parts.leader_seen));
        tasks.spawn(parts.tellings.run(bus.events.clone(), subjects.clone()));
        let release = CancellationToken::new();
        let name = tokio::spawn(membership::keep(
            keeper,
            bus.clone(),
            me.clone(),
            clock,
            parts.fence.clone(),
            release.clone(),
        ));
        let context = controller::Context {
            bus: bus.clone(),
            subjects: subjects.clone(),
            me: me.clone(),
            leader: parts.leader,
            doubts,
            fence: parts.fence,
            counters,
            events,
            artifacts: parts.artifacts,
            artifact_grace: parts.artifact_grace,
            shards: parts.shards.unwrap_or(SHARDS),
        };
        let lead = CancellationToken::new();
        let leading = tokio::spawn(controller::run(context, parts.told, lead.clone()));
        // A server that lost its memory, as a restarted one does, gets its buckets again.
        let ensuring = bus.clone();
        tasks.spawn(async move { ensuring.after_each_outage(|| ensuring.ensure(&subjects)).await });
        Ok(Self { bus, me, tasks, from_outside, outside, name, release, leading, lead })
    }

    /// Why the node cannot go on. They run for as long as the node does: one that ends is a defect, unless another node
    /// has the name.
    pub async fn ended(&mut self) -> Error {
        tokio::select! {
            lost = &mut self.name => match lost {
                Ok(Some(lease)) => {
                    Error::NameLost { name: self.me.name.clone(), holder: lease.incarnation }
                }
                Ok(None) | Err(_) => Error::Task("the node's own lease"),
            },
            Some(_) = self.tasks.join_next() => Error::Task("a part of the node"),
            _ = &mut self.from_outside => Error::Task("the way in for plain NATS clients"),
            _ = &mut self.leading => Error::Task("the controller"),
        }
    }

    /// Takes no more from plain NATS clients, and waits for what came before.
    pub async fn close_outside(&mut self) {
        self.outside.cancel();
        // The time is bounded: what cannot be taken over must not cost what can be answered.
        let _ = tokio::time::timeout(LAST_REQUESTS, &mut self.from_outside).await;
    }

    /// Gives back what it holds.
    pub async fn leave(mut self) {
        self.lead.cancel();
        // After a defect one of these may have ended, and must not be waited for again.
        if !self.leading.is_finished() {
            let _ = (&mut self.leading).await;
        }
        self.release.cancel();
        if !self.name.is_finished() {
            let _ = (&mut self.name).await;
        }
        self.bus.calls.flush().await;
        self.from_outside.abort();
        self.tasks.shutdown().await;
    }
}

/// Tells the leader which nodes this one lost, and those who may lead in its place that it is the leader.
async fn report_lost(leader: ToLeader, mut lost: Suspicions, doubts: Arc<Notify>) {
    while let Some(incarnation) = lost.recv().await {
        if leader.is(&incarnation) {
            doubts.notify_one();
            continue;
        }
        leader.tell(&Inbox::Suspect, Suspicion { incarnation }.encode()).await;
    }
}
