//! Calls that failed or were slow, over all nodes: each keeps its part of a trace ([`recent`](crate::telemetry::recent)), and
//! whoever looks asks all of them and puts the parts together.
//!
//! Rules:
//! 1. A node that does not answer is not waited for, and that is said.
//! 2. What a node says is bounded and checked before anything is made of it.

mod reading;
mod serving;
mod tree;

pub use reading::{Listed, Reader, Summary, Whole};
pub use serving::serve;
pub use tree::{Row, rows};
