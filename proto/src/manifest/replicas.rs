//! How many replicas an actor has.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Millis;

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
    /// How long a message should wait for its turn at most, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_wait: Option<Millis>,
    /// How long more replicas must have been needed before there are more.
    #[serde(default = "Range::up_after")]
    pub up_after: Millis,
    /// How long fewer must have been enough before there are fewer.
    #[serde(default = "Range::down_after")]
    pub down_after: Millis,
}

impl Range {
    /// More at once: whoever waits now is not helped later.
    pub fn up_after() -> Millis {
        Millis(0)
    }

    /// Long enough that a load that comes in waves does not stop and start replicas with each of them.
    pub fn down_after() -> Millis {
        Millis(30_000)
    }
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
                write!(f, "{} to {} (target_inflight {}", range.min, range.max, range.target_inflight)?;
                if let Some(wait) = range.target_wait {
                    write!(f, ", target_wait {wait}")?;
                }
                if range.up_after != Range::up_after() {
                    write!(f, ", up_after {}", range.up_after)?;
                }
                if range.down_after != Range::down_after() {
                    write!(f, ", down_after {}", range.down_after)?;
                }
                f.write_str(")")
            }
        }
    }
}
