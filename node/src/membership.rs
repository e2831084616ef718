//! This node's place in the lattice: its lease, what it says of itself, and who leads. It never decides anything.

mod fence;
mod inventory;
mod lease;
mod name;
mod pulse;
mod to_leader;

use std::time::{Duration, Instant};

use lattice_proto::record::Lease;
use lattice_proto::{Incarnation, NodeName, record};
use tokio::sync::watch;

use crate::bus::{Bus, Change};

pub use fence::Fence;
pub use inventory::{Inventory, describe};
pub use lease::{Keeper, Renewal, holder};
pub use name::{Error, keep, take_name};
pub use pulse::{answer, is_gone};
pub use to_leader::ToLeader;

/// How often a lease is renewed: three times may fail before it expires.
pub const RENEW: Duration = Duration::from_millis(500);

/// The key of the leader's lease.
pub const LEADER: &str = "leader";

/// The key of a node's lease or record.
pub fn node_key(name: &NodeName) -> String {
    format!("node.{name}")
}

/// The key of what the leader makes of a node.
pub fn state_key(name: &NodeName) -> String {
    format!("state.{name}")
}

/// Who leads, and when it was last heard of.
#[derive(Debug, Clone)]
pub struct Leader {
    /// The lease.
    pub lease: Lease,
    /// Its revision in the bucket.
    pub revision: u64,
    /// When this node saw it renewed.
    pub seen: Instant,
}

/// Follows the leader's lease for as long as the node runs.
pub async fn follow_leader(bus: Bus, leader: watch::Sender<Option<Leader>>) {
    let mut watch = bus.leases.watch(LEADER);
    // During a resync the leader that was known stays known, until the space has been read through.
    let mut seen = None;
    loop {
        match watch.next().await {
            Change::Reset => seen = None,
            Change::Put(entry) => {
                let lease = entry.value.as_deref().and_then(|bytes| record::decode::<Lease>(bytes).ok());
                seen = lease.map(|lease| Leader { lease, revision: entry.revision, seen: Instant::now() });
                leader.send_replace(seen.clone());
            }
            Change::Current => {
                leader.send_replace(seen.clone());
            }
        }
    }
}

/// Who this node is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Stable.
    pub name: NodeName,
    /// New at each start.
    pub incarnation: Incarnation,
}
