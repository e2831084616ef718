//! What this node says of itself, written whenever it changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_proto::record::{self, Node, Running};
use lattice_proto::shard::Shard;
use lattice_proto::{ActorName, NodeName};
use tokio::sync::watch;

use super::node_key;
use crate::bus::Bus;

/// The pause before a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// How often the record is written although nothing changed. The leader removes the record of a node that it took for
/// lost, and a node whose own connection never broke does not notice.
const AGAIN: Duration = Duration::from_secs(30);

/// A cheap handle on this node's record.
#[derive(Clone)]
pub struct Inventory {
    record: Arc<watch::Sender<Node>>,
}

impl Inventory {
    /// Begins with this record.
    pub fn new(record: Node) -> Self {
        Self { record: Arc::new(watch::Sender::new(record)) }
    }

    /// Says how one actor fares; none when it is no longer here.
    pub fn report(&self, actor: &ActorName, running: Option<Running>) {
        self.record.send_if_modified(|record| match running {
            Some(running) => record.actors.insert(actor.clone(), running.clone()).as_ref() != Some(&running),
            None => record.actors.remove(actor).is_some(),
        });
    }

    /// Says how many keys are awake.
    pub fn awake(&self, activations: u32) {
        self.record.send_if_modified(|record| {
            let changed = record.activations != activations;
            record.activations = activations;
            changed
        });
    }

    /// Says which shards it has let go of, each with the epoch in which it owned them.
    pub fn release(&self, shards: BTreeMap<Shard, u64>) {
        self.record.send_if_modified(|record| {
            let changed = record.released != shards;
            record.released = shards;
            changed
        });
    }

    /// Says that this node wants to be emptied.
    pub fn drain(&self) {
        self.record.send_if_modified(|record| !std::mem::replace(&mut record.draining, true));
    }

    /// Whether it wants that.
    pub fn is_draining(&self) -> bool {
        self.record.borrow().draining
    }

    /// What runs here, by this node's own account.
    pub fn actors(&self) -> BTreeMap<ActorName, Running> {
        self.record.borrow().actors.clone()
    }

    /// Waits until nothing runs here any more, and every turn that was begun here has been answered.
    pub async fn emptied(&self) {
        let mut record = self.record.subscribe();
        // The sender lives as long as this handle does.
        let _ = record.wait_for(|record| record.actors.is_empty()).await;
    }

    /// Writes the record now, on every change, after every reconnection, and now and then, for as long as the node runs.
    pub async fn publish(self, bus: Bus) {
        let mut changes = self.record.subscribe();
        let mut link = bus.control.link();
        loop {
            let record = changes.borrow_and_update().clone();
            if let Err(error) = bus.nodes.put(&node_key(&record.name), record::encode(&record)).await {
                tracing::debug!(%error, "this node's record was not written; it is tried again");
                tokio::time::sleep(RETRY).await;
                continue;
            }
            let generation = link.borrow().generation;
            // With jitter, so that a thousand nodes do not write in the same moment.
            let again = AGAIN + AGAIN.mul_f64(fastrand::f64());
            tokio::select! {
                () = tokio::time::sleep(again) => {}
                changed = changes.changed() => if changed.is_err() { return },
                changed = link.wait_for(|link| link.up && link.generation != generation) => if changed.is_err() { return },
            }
        }
    }
}

/// What a node is, before it runs anything.
pub fn describe(
    me: &super::Identity,
    labels: BTreeMap<String, String>,
    admin: String,
    http: Option<String>,
) -> Node {
    let name: NodeName = me.name.clone();
    let cpus =
        std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX));
    let system = rustix::system::sysinfo();
    Node {
        name,
        incarnation: me.incarnation.clone(),
        labels,
        cpus,
        memory_bytes: system.totalram * u64::from(system.mem_unit),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        admin,
        http,
        draining: false,
        actors: BTreeMap::new(),
        activations: 0,
        released: BTreeMap::new(),
    }
}
