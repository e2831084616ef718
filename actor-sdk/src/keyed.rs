//! Keyed actors: the trait that the macro implements, and one activation, which wakes with its state and handles one
//! message after the other.
//!
//! 1. Only an operation that takes `&mut self` can give new state, and only when its bytes are others than before.
//! 2. An operation that fails leaves nothing behind: the struct is read again from the last good bytes, and what was sent or
//!    reminded of is forgotten.
//! 3. The last good bytes are those of the last turn that went well, committed or not: when a commit fails, the node ends
//!    the instance.

mod state;

use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::call::Outgoing;
use crate::metadata::Operations;
use crate::reminder::Change;
use crate::timer;
use crate::turn::{Effects, Turn};
use crate::{CallError, Context, Message, Result};

/// A struct that is the state of a keyed actor. [`macro@crate::keyed`] implements it; by hand it is rarely needed.
pub trait Keyed: Default + Serialize + DeserializeOwned + 'static {
    /// What the actor can do, in groups: its own operations, then those of each interface.
    const OPERATIONS: &'static [&'static [crate::Operation]];

    /// The version of the struct, which is saved with it.
    const VERSION: u32;

    /// Makes the JSON of this version out of that of another.
    ///
    /// # Errors
    /// When it cannot; the actor then does not wake, and the state stays as it is.
    fn migrate(from: u32, state: Value) -> Result<Value> {
        drop(state);
        Err(state::unknown_version::<Self>(from))
    }

    /// Called when the struct was made or read, before its next message.
    fn woken(&mut self, key: &str) {
        let _ = key;
    }

    /// Handles one message and gives the payload of its reply, or none when there is no such operation.
    ///
    /// # Errors
    /// When the arguments cannot be read, or the operation ended with an error.
    fn handle(&mut self, turn: &Turn, message: &Message) -> impl Future<Output = Result<Option<Vec<u8>>>>;
}

/// A keyed actor that is awake.
pub(crate) struct Activation<S> {
    key: Rc<str>,
    state: S,
    /// What the state is read from again after a failure.
    good: Vec<u8>,
}

/// All that a turn does, for the node.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub reply: Result<Vec<u8>>,
    pub state: Option<Vec<u8>>,
    pub sends: Vec<Outgoing>,
    pub reminders: Vec<Change>,
    pub timers: Vec<timer::Change>,
}

impl<S: Keyed> Activation<S> {
    /// Wakes the actor with what was saved, or with its default where nothing was.
    pub fn wake(key: Rc<str>, saved: Option<Vec<u8>>) -> Result<Self> {
        let (mut state, good) = match saved {
            Some(saved) => (state::read::<S>(&saved)?, saved),
            None => {
                let state = S::default();
                let good = state::write(&state)?;
                (state, good)
            }
        };
        state.woken(&key);
        Ok(Activation { key, state, good })
    }

    /// Handles one message.
    pub async fn turn(&mut self, mut context: Context, message: Message) -> Outcome {
        context.origin.key = Some(self.key.clone());
        let read = is_read(S::OPERATIONS, message.operation());
        let turn = Turn::new(context);
        let reply = match self.state.handle(&turn, &message).await {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(CallError::NoSuchOperation(message.operation)),
            Err(error) => Err(error),
        };
        if read {
            return Outcome::without_effects(reply);
        }
        match reply.and_then(|reply| Ok((reply, self.changed()?))) {
            Ok((reply, state)) => {
                let Effects { sends, reminders, timers } = turn.into_effects();
                Outcome { reply: Ok(reply), state, sends, reminders, timers }
            }
            Err(error) => {
                // Whatever an operation ends with is a rejection. Any other failure was found before one began, and a
                // sender of garbage must not have the state read again each time.
                if let CallError::Rejected(_) = error {
                    self.restore();
                }
                Outcome::without_effects(Err(error))
            }
        }
    }

    /// The bytes of the state, if they are others than before.
    fn changed(&mut self) -> Result<Option<Vec<u8>>> {
        let bytes = state::write(&self.state)?;
        if bytes == self.good {
            return Ok(None);
        }
        self.good.clone_from(&bytes);
        Ok(Some(bytes))
    }

    fn restore(&mut self) {
        // An actor that cannot go back must not go on: the node ends an instance that traps, and wakes the key again with
        // what was committed.
        self.state = match state::read(&self.good) {
            Ok(state) => state,
            Err(error) => panic!("the state was written and cannot be read again: {error}"),
        };
        self.state.woken(&self.key);
    }
}

impl Outcome {
    pub fn without_effects(reply: Result<Vec<u8>>) -> Self {
        Outcome { reply, state: None, sends: Vec::new(), reminders: Vec::new(), timers: Vec::new() }
    }
}

fn is_read(operations: Operations, name: &str) -> bool {
    operations.iter().copied().flatten().any(|operation| operation.read && operation.name == name)
}
