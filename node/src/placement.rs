//! Where replicas go. Pure: no I/O, no clock, and the same answer whatever the order of the input.
//!
//! ```text
//! demands, offers, what runs ─▶ Planner::settle ─▶ what must move, moves      (at once)
//!                                Planner::rebalance ─▶ what would sit better, moves   (a few at a time)
//! ```
//!
//! Rules, the earlier ones first:
//! 1. A node takes an actor only if it fits: it has every label that is required and none that is forbidden, it is apart
//!    from those that must not be beside it, and has the memory and processors that are claimed. New replicas go to open
//!    nodes only.
//! 2. What runs stays where it is, unless its node cannot keep it.
//! 3. With `spread`, the value of the label with the fewest replicas comes first, and none gets one more than another
//!    can follow.
//! 4. Nodes with more of the preferred labels come first.
//! 5. The replicas of one actor are spread evenly over such nodes.
//! 6. Among equals comes the node with the fewest replicas for its processors, then the first by name.
//!
//! What these rules would rather have elsewhere, after a node joined for example, is moved by [`Planner::rebalance`],
//! as much at once as its caller allows.
//!
//! The planner keeps what it knows between calls, so that the loss of a node costs what that node had and not what the
//! whole lattice has. A plan from nothing and a plan step by step are held equal by tests.

mod explain;
mod fit;
mod planner;
mod rebalance;
mod roster;
mod seats;
pub mod shards;

use std::collections::BTreeMap;
use std::sync::Arc;

use lattice_proto::NodeName;
use lattice_proto::manifest::{Placement, Settings};

pub use explain::{Explanation, Verdict};
pub use fit::Misfit;
pub use planner::Planner;

/// Whether a node with these labels may run what is to be placed so.
pub fn fits(placement: &Placement, labels: &BTreeMap<String, String>) -> bool {
    fit::labels(placement, labels).is_ok()
}

/// What one actor asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// How many replicas.
    pub replicas: Wanted,
    /// Which nodes.
    pub placement: Placement,
    /// Bytes that each replica claims.
    pub memory: u64,
    /// Thousandths of a processor that each replica claims.
    pub cpu_millis: u32,
}

/// How many replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// So many.
    Count(u32),
    /// One on each node that fits, of which there should be so many at least.
    Each(u32),
}

impl Demand {
    /// What an actor with these settings asks for; `wanted` says how many, as autoscaling may decide that.
    pub fn of(settings: &Settings, wanted: Wanted) -> Self {
        Self {
            replicas: wanted,
            placement: settings.placement.clone(),
            memory: if settings.limits.reserved { settings.limits.memory.0 } else { 0 },
            cpu_millis: settings.limits.cpu_millis,
        }
    }
}

/// What one node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it takes.
    pub intake: Intake,
    /// Bytes of memory.
    pub memory: u64,
    /// Processors.
    pub cpus: u32,
}

/// What a node takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// New replicas.
    Open,
    /// Nothing new; what it has stays. So with a node that is cordoned, or that does not answer.
    Kept,
    /// Nothing, and what it has is to go elsewhere.
    Closed,
}

/// Replicas of one actor on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// How many.
    pub replicas: u32,
    /// Why there; one sentence, made when the last of them came.
    pub why: Arc<str>,
}

/// Where the replicas of one actor are to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// Every node with at least one.
    pub nodes: BTreeMap<NodeName, Seat>,
    /// How many there should be.
    pub wanted: u32,
    /// Why there are fewer than that; one sentence that says what is missing.
    pub shortfall: Option<String>,
}

#[cfg(test)]
mod tests;
