//! Who owns which shard, as the leader says it.

use std::sync::Arc;

use lattice_proto::record::{self, Owner, Shards};
use lattice_proto::shard::Shard;
use lattice_proto::subject::{Control, Subjects};
use lattice_proto::{ActorName, Incarnation};
use tokio::sync::watch;

use crate::bus::{Bus, Change};
use crate::telemetry::Counters;

/// A cheap handle on the table.
#[derive(Clone)]
pub struct Owners {
    me: Incarnation,
    table: watch::Receiver<Arc<Shards>>,
}

/// What keeps the table up to date.
pub struct Keeper(watch::Sender<Arc<Shards>>);

impl Owners {
    /// A table that is empty yet, and what fills it.
    pub fn new(me: Incarnation) -> (Self, Keeper) {
        let (sender, table) = watch::channel(Arc::<Shards>::default());
        (Self { me, table }, Keeper(sender))
    }

    /// The shard of a key; none while nobody has said how many shards there are.
    pub fn shard(&self, actor: &ActorName, key: &str) -> Option<Shard> {
        let count = self.table.borrow().count();
        (count > 0).then(|| Shard::of(actor, key, count))
    }

    /// The owner of a shard.
    pub fn owner(&self, shard: Shard) -> Option<Owner> {
        self.table.borrow().owner(shard).map(|(owner, _)| owner.clone())
    }

    /// The epoch in which this node owns a shard, if it does and is to keep it.
    pub fn mine(&self, shard: Shard) -> Option<u64> {
        let table = self.table.borrow();
        let (owner, epoch) = table.owner(shard)?;
        (owner.incarnation == self.me && table.next(shard).is_none()).then_some(epoch)
    }

    /// Whether this node is the one.
    pub fn is_me(&self, owner: &Owner) -> bool {
        owner.incarnation == self.me
    }

    /// Follows the table.
    pub fn follow(&self) -> watch::Receiver<Arc<Shards>> {
        self.table.clone()
    }

    /// This node.
    pub fn me(&self) -> &Incarnation {
        &self.me
    }
}

impl Keeper {
    /// Keeps the table up to date for as long as the node runs.
    pub async fn run(self, bus: Bus, subjects: Subjects, counters: Counters) {
        let mut watch = bus.decisions.watch(&subjects.control(&Control::Shards));
        let mut last = 0;
        loop {
            let Change::Put(entry) = watch.next().await else { continue };
            let Some(bytes) = entry.value else { continue };
            match record::decode::<Shards>(&bytes) {
                Ok(shards) => {
                    // A watch that is read anew may tell what was before. A store that was brought back counts anew, under a
                    // later term.
                    let known = self.0.borrow().term;
                    if shards.term > known || (shards.term == known && entry.revision > last) {
                        last = entry.revision;
                        self.0.send_replace(Arc::new(shards));
                    }
                }
                Err(error) => {
                    counters.malformed_records();
                    tracing::error!(%error, "the owners of shards cannot be read; what is known stays");
                }
            }
        }
    }
}
