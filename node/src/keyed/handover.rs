//! Lets go of shards that are to be somebody else's, and says so.

use std::collections::BTreeMap;
use std::time::Duration;

use lattice_proto::record::Shards;
use lattice_proto::shard::Shard;

use super::Keyed;
use crate::clock::boottime;
use crate::membership::Inventory;

/// How long turns that run may hold up the next owner.
const LONGEST: Duration = Duration::from_secs(5);

/// How often it is told how many keys are awake.
const COUNT: Duration = Duration::from_secs(1);

/// What hands shards over.
pub struct Handover {
    keyed: Keyed,
    inventory: Inventory,
}

impl Handover {
    /// For what is awake on this node.
    pub fn new(keyed: Keyed, inventory: Inventory) -> Self {
        Self { keyed, inventory }
    }

    /// Follows the table for as long as the node runs.
    pub async fn run(self) {
        let mut table = self.keyed.owners.follow();
        let mut before = BTreeMap::new();
        loop {
            let now = table.borrow_and_update().clone();
            let (mine, leaving) = self.of_mine(&now.shards);
            // From the moment that the table says so nothing more is admitted, so what is awake only has to end.
            let lost =
                before.keys().filter(|shard| !mine.contains_key(*shard) && !leaving.contains_key(*shard));
            let ending: Vec<Shard> = lost.chain(leaving.keys()).copied().collect();
            // What is still awake after that is fenced by the next owner's epoch.
            let _ = tokio::time::timeout(LONGEST, self.keyed.let_go(&ending)).await;
            // An owner that was lost may still act on what this one has let go of, and the next one must not have to know.
            let clear = leaving.keys().map(|shard| self.keyed.owners.clear_at(*shard)).max();
            tokio::time::sleep(clear.unwrap_or_default().saturating_sub(boottime())).await;
            self.keyed.owners.let_go(leaving.iter().map(|(shard, epoch)| (*shard, *epoch)));
            self.inventory.release(leaving.clone());
            before = mine;
            loop {
                match tokio::time::timeout(COUNT, table.changed()).await {
                    Ok(Ok(())) => break,
                    Ok(Err(_)) => return,
                    Err(_) => {
                        self.inventory.awake(u32::try_from(self.keyed.awake()).unwrap_or(u32::MAX));
                    }
                }
            }
        }
    }

    /// What this node owns and is to keep, and what it owns and is to let go of, each with its epoch.
    fn of_mine(&self, table: &Shards) -> (BTreeMap<Shard, u64>, BTreeMap<Shard, u64>) {
        let (mut mine, mut leaving) = (BTreeMap::new(), BTreeMap::new());
        for shard in (0..table.count()).map(Shard) {
            let Some((owner, epoch)) = table.owner(shard) else { continue };
            if owner.incarnation == *self.keyed.owners.me() {
                let leaves = table.next(shard).is_some() || self.keyed.owners.has_let_go(shard, epoch);
                let place = if leaves { &mut leaving } else { &mut mine };
                place.insert(shard, epoch);
            }
        }
        (mine, leaving)
    }
}
