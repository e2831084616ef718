//! Shards: fixed slices of the space of all keys, each owned by one node at a time.
//!
//! How many there are is fixed when a lattice is born: another number would send every key elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::ActorName;

/// How many shards a lattice has unless its first node says otherwise.
pub const SHARDS: u16 = 256;

/// The most shards that a lattice may have.
pub const MAX_SHARDS: u16 = 4_096;

/// How many streams the shards of a lattice are kept in.
pub const PARTITIONS: u16 = 16;

/// One shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shard(pub u16);

impl Shard {
    /// The shard of a key, in a lattice that has so many.
    pub fn of(actor: &ActorName, key: &str, shards: u16) -> Self {
        // Names have no `/`, so no two IDs are hashed alike.
        let hash = Sha256::new().chain_update(actor.as_str()).chain_update("/").chain_update(key).finalize();
        let number =
            u64::from_be_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]]);
        // The remainder is below a u16.
        Self(u16::try_from(number % u64::from(shards.max(1))).unwrap_or(0))
    }

    /// The stream that it is kept in.
    pub fn partition(self) -> u16 {
        self.0 % PARTITIONS
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_over_all_shards_and_never_move() {
        let cart: ActorName = "cart".parse().unwrap();
        let mut counts = vec![0; usize::from(SHARDS)];
        for n in 0..25_600 {
            counts[usize::from(Shard::of(&cart, &n.to_string(), SHARDS).0)] += 1;
        }
        assert!(counts.iter().all(|count| (50..=160).contains(count)), "{counts:?}");
        // What is stored under these numbers is looked for under them by every later version.
        assert_eq!(Shard::of(&cart, "alice", SHARDS), Shard(181));
        assert_eq!(Shard::of(&cart, "alice", 1), Shard(0));
    }
}
