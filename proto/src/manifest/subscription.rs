//! A subscription: whose topics an actor hears, and which of its operations handles their messages.

use serde::{Deserialize, Serialize};

use crate::id::{Operation, TopicPattern};

/// The operation that handles the messages of a subscription which names none.
pub const ON_MESSAGE: &str = "on_message";

/// What an actor subscribes to. No two of one actor stand for the same topic: it handles each message once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Which topics.
    pub topic: TopicPattern,
    /// What handles them.
    pub operation: Operation,
}
