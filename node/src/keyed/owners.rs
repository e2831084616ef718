//! Who owns which shard, as the leader says it, and whether this node may act on it.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;

use lattice_proto::record::{self, Owner, Shards};
use lattice_proto::shard::Shard;
use lattice_proto::subject::{Control, Subjects};
use lattice_proto::{ActorName, Incarnation};
use tokio::sync::watch;

use crate::bus::{Bus, Change, Entry, LEASE};
use crate::clock::boottime;
use crate::membership::Fence;
use crate::telemetry::Counters;

/// The pause before the table is read once more, when that failed.
const AGAIN: Duration = Duration::from_millis(50);

/// A cheap handle on the table.
#[derive(Clone)]
pub struct Owners {
    me: Incarnation,
    fence: Fence,
    table: watch::Receiver<Arc<Table>>,
    /// The shards that this node has let go of, each in its last epoch.
    released: Arc<DashMap<Shard, u64>>,
}

/// What is known of all shards.
#[derive(Debug, Default)]
pub struct Table {
    /// As the leader says it.
    pub shards: Shards,
    /// When this node first heard of the present epoch of each, by `CLOCK_BOOTTIME`.
    heard: Vec<Duration>,
    /// The number of the fence since which it was read anew: what was known before it was closed may be out of date.
    read_in: u64,
}

/// What keeps the table up to date.
pub struct Keeper {
    table: watch::Sender<Arc<Table>>,
    fence: Fence,
    /// The last revision of the record that was taken in.
    last: u64,
}

impl Owners {
    /// A table that is empty yet, and what fills it. What this node owns it has for as long as the fence is open.
    pub fn new(me: Incarnation, fence: Fence) -> (Self, Keeper) {
        let (sender, table) = watch::channel(Arc::<Table>::default());
        let keeper = Keeper { table: sender, fence: fence.clone(), last: 0 };
        (Self { me, fence, table, released: Arc::default() }, keeper)
    }

    /// The shard of a key; none while nobody has said how many shards there are.
    pub fn shard(&self, actor: &ActorName, key: &str) -> Option<Shard> {
        let count = self.table.borrow().shards.count();
        (count > 0).then(|| Shard::of(actor, key, count))
    }

    /// The owner of a shard.
    pub fn owner(&self, shard: Shard) -> Option<Owner> {
        self.table.borrow().shards.owner(shard).map(|(owner, _)| owner.clone())
    }

    /// The epoch in which this node owns a shard, if it does, is to keep it, and may act on it now.
    pub fn mine(&self, shard: Shard) -> Option<u64> {
        self.open()?;
        self.kept(shard)
    }

    /// The number of the fence, if it is open and the table was read since then.
    pub fn open(&self) -> Option<u64> {
        let number = self.fence.open()?;
        (self.table.borrow().read_in >= number).then_some(number)
    }

    /// Waits until that may have changed.
    pub async fn opened(&self) {
        let mut table = self.table.clone();
        match self.fence.open() {
            // The only error is a node that ends.
            Some(number) => drop(table.wait_for(|table| table.read_in >= number).await),
            None => self.fence.opened().await,
        }
    }

    /// Until when what is let out may be accepted, by `CLOCK_BOOTTIME`, if the fence still has this number.
    pub fn until(&self, number: u64) -> Option<Duration> {
        self.fence.until().filter(|_| self.open() == Some(number))
    }

    /// The epoch in which this node owns a shard, if it does and is to keep it.
    pub fn kept(&self, shard: Shard) -> Option<u64> {
        let table = self.table.borrow();
        let (owner, epoch) = table.shards.owner(shard)?;
        let keeps = owner.incarnation == self.me && table.shards.next(shard).is_none();
        (keeps && !self.has_let_go(shard, epoch)).then_some(epoch)
    }

    /// Whether this node still has a shard in this epoch, be it that it is to let go of it.
    pub fn has(&self, shard: Shard, epoch: u64) -> bool {
        let table = self.table.borrow();
        let owned = table
            .shards
            .owner(shard)
            .is_some_and(|(owner, now)| owner.incarnation == self.me && now == epoch);
        owned && !self.has_let_go(shard, epoch)
    }

    /// Whether this node has said that it does nothing more in this epoch of a shard.
    pub fn has_let_go(&self, shard: Shard, epoch: u64) -> bool {
        self.released.get(&shard).is_some_and(|released| *released == epoch)
    }

    /// When nobody else can act on a shard any more that this node owns, by `CLOCK_BOOTTIME`: at once, unless the owner
    /// before was lost, whose lease may run on.
    pub fn clear_at(&self, shard: Shard) -> Duration {
        let table = self.table.borrow();
        let number = usize::from(shard.0);
        let lost = table.shards.shards.get(number).is_some_and(|owned| owned.lost);
        // The leader said it after it had found the other one to be lost, and this node heard it later still.
        let heard = table.heard.get(number).copied().unwrap_or_default();
        if lost { heard + LEASE } else { heard }
    }

    /// From now on this node does nothing more in these epochs of these shards; there is no way back.
    pub fn let_go(&self, shards: impl IntoIterator<Item = (Shard, u64)>) {
        for (shard, epoch) in shards {
            self.released.insert(shard, epoch);
        }
    }

    /// Whether this node is the one.
    pub fn is_me(&self, owner: &Owner) -> bool {
        owner.incarnation == self.me
    }

    /// Follows the table.
    pub fn follow(&self) -> watch::Receiver<Arc<Table>> {
        self.table.clone()
    }

    /// This node.
    pub fn me(&self) -> &Incarnation {
        &self.me
    }
}

impl Keeper {
    /// Keeps the table up to date for as long as the node runs.
    pub async fn run(mut self, bus: Bus, subjects: Subjects, counters: Counters) {
        let key = subjects.control(&Control::Shards);
        let mut watch = bus.decisions.watch(&key);
        let fence = self.fence.clone();
        loop {
            let read_in = self.table.borrow().read_in;
            tokio::select! {
                change = watch.next() => if let Change::Put(entry) = change {
                    self.take(&entry, &counters);
                },
                number = fence.opened_after(read_in) => match bus.decisions.newest(&key).await {
                    Ok(entry) => {
                        if let Some(entry) = entry {
                            self.take(&entry, &counters);
                        }
                        self.table.send_modify(|table| {
                            let Table { shards, heard, .. } = &**table;
                            let (shards, heard) = (shards.clone(), heard.clone());
                            *table = Arc::new(Table { shards, heard, read_in: number });
                        });
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the owners of shards cannot be read yet");
                        tokio::time::sleep(AGAIN).await;
                    }
                },
            }
        }
    }

    fn take(&mut self, entry: &Entry, counters: &Counters) {
        let Some(bytes) = &entry.value else { return };
        match record::decode::<Shards>(bytes) {
            Ok(shards) => {
                // A watch that is read anew may tell what was before. A store that was brought back counts anew, under a
                // later term.
                let known = self.table.borrow().clone();
                let term = known.shards.term;
                if shards.term > term || (shards.term == term && entry.revision > self.last) {
                    self.last = entry.revision;
                    self.table.send_replace(Arc::new(known.followed_by(shards)));
                }
            }
            Err(error) => {
                counters.malformed_records();
                tracing::error!(%error, "the owners of shards cannot be read; what is known stays");
            }
        }
    }
}

impl Table {
    /// The next table, which is heard of now.
    fn followed_by(&self, shards: Shards) -> Self {
        let now = boottime();
        let epoch = |table: &Shards, number: usize| table.shards.get(number).map(|owned| owned.epoch);
        let heard = (0..shards.shards.len()).map(|number| match self.heard.get(number) {
            Some(heard) if epoch(&self.shards, number) == epoch(&shards, number) => *heard,
            _ => now,
        });
        Self { heard: heard.collect(), shards, read_in: self.read_in }
    }
}
