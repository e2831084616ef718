//! How many replicas an actor has.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many replicas run in the whole lattice. As in a manifest: a number, `"each"`, or a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Replicas {
    /// So many.
    Count(u32),
    /// One on every node that fits, now and later.
    Each(Each),
    /// As many as the load needs.
    Range(Range),
}

/// The word `each`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Each {
    /// The word.
    Each,
}

/// Autoscaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Never fewer. With 0 the first call after a quiet time is held until a replica is there.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// Messages that one replica should have at once, waiting and running.
    pub target_inflight: u32,
}

impl Replicas {
    /// One on every node that fits.
    pub const EACH: Self = Self::Each(Each::Each);

    /// The number, where it is fixed.
    pub fn count(&self) -> Option<u32> {
        match self {
            Replicas::Count(count) => Some(*count),
            Replicas::Each(_) | Replicas::Range(_) => None,
        }
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Replicas::Count(count) => write!(f, "{count}"),
            Replicas::Each(_) => f.write_str("each"),
            Replicas::Range(range) => {
                write!(f, "{} to {} (target_inflight {})", range.min, range.max, range.target_inflight)
            }
        }
    }
}
