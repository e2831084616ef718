//! Why there is a turn: somebody asked, somebody told, or it is time.

use std::time::SystemTime;

/// Why an actor handles a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Somebody waits for the reply.
    Call,
    /// A durable message; nobody waits for the reply.
    Send,
    /// A reminder of the actor's own is due.
    Reminder(Occurrence),
    /// A timer of the actor's own, of this id. The [message id](crate::Context::message_id) is new each time.
    Timer(String),
}

/// A reminder that came due. The [message id](crate::Context::message_id) is its own, however often it is delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// The id that the actor gave the reminder.
    pub id: String,
    /// When it was due. Where a repeating reminder missed several, they are one occurrence, due when the first of them was.
    pub due: SystemTime,
}
