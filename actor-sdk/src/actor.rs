//! The two ends of a message inside an actor: the trait that the macros implement, and the message it is given.

use crate::{Context, Operation, Result};

/// Handles messages. [`macro@crate::actor`] implements it; by hand it is rarely needed.
pub trait Actor {
    /// What the actor can do, in groups: its own operations, then those of each interface.
    const OPERATIONS: &'static [&'static [Operation]];

    /// Handles one message and gives the payload of its reply, or none when there is no such operation.
    ///
    /// # Errors
    /// When the arguments cannot be read, or the operation ended with an error.
    fn handle(&self, context: &Context, message: &Message) -> impl Future<Output = Result<Option<Vec<u8>>>>;
}

/// Says whether it is ready. What [`macro@crate::actor`] makes of a method marked `#[check]`.
pub trait Checked {
    /// Asks.
    ///
    /// # Errors
    /// Why it is not ready, for people.
    fn check(&self) -> impl Future<Output = Result<(), String>>;
}

/// What a message carries; who sent it and how much time is left is in the [`Context`].
#[derive(Debug, Clone)]
pub struct Message {
    pub(crate) operation: String,
    pub(crate) content_type: String,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    /// The operation that is asked for.
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// `application/json` or `application/protobuf`.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The arguments, encoded.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// Handles a message of any operation, known or not.
pub(crate) async fn answer<A: Actor>(actor: &A, context: &Context, message: Message) -> Result<Vec<u8>> {
    match actor.handle(context, &message).await? {
        Some(reply) => Ok(reply),
        None => Err(crate::CallError::NoSuchOperation(message.operation)),
    }
}
