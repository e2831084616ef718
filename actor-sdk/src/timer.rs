//! Timers: what an actor wants to be told while it is awake.

use std::time::Duration;

/// A timer on its way to the node.
#[derive(Debug)]
pub(crate) struct Timer {
    pub id: String,
    pub after: Duration,
    pub repeats: bool,
    pub operation: String,
    pub payload: Vec<u8>,
    pub content_type: &'static str,
}

/// What a turn says about its timers.
#[derive(Debug)]
pub(crate) enum Change {
    Set(Timer),
    Cancel(String),
}
