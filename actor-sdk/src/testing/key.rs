//! One key of a keyed actor in a test: what the lattice would keep for it, and what the test sees of that.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::SystemTime;

use futures::lock::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use super::keys::{Awake, Wake};
use super::mesh::arguments;
use crate::reminder::{self, time};
use crate::timer::Timer;

/// What is kept for one key.
pub(super) struct Record {
    pub id: String,
    pub key: Rc<str>,
    pub wake: Wake,
    pub awake: Mutex<Option<Box<dyn Awake>>>,
    pub saved: RefCell<Option<Vec<u8>>>,
    pub commits: Cell<usize>,
    pub reminders: RefCell<BTreeMap<String, Armed>>,
    pub timers: RefCell<BTreeMap<String, Ticking>>,
}

/// A timer that runs, and when it comes next.
pub(super) struct Ticking {
    pub due: u64,
    pub timer: Timer,
}

/// A reminder that is set.
pub(super) struct Armed {
    pub due: u64,
    pub reminder: reminder::Reminder,
}

/// A message that a turn sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// The ID of the actor that sent it.
    pub from: String,
    /// The ID of the actor that it is for.
    pub to: String,
    /// What it asks for.
    pub operation: String,
    /// The arguments; `null` where they are no JSON.
    pub arguments: Value,
}

/// A reminder that is set.
#[derive(Debug, Clone, PartialEq)]
pub struct Reminder {
    /// The id that the actor gave it.
    pub id: String,
    /// When it is due, or due next.
    pub due: SystemTime,
    /// What the actor is to do then.
    pub operation: String,
    /// The arguments; `null` where they are no JSON.
    pub arguments: Value,
}

/// One key of a keyed actor, as the lattice keeps it: its state, its reminders, and a way to put it to sleep.
///
/// See [the module](crate::testing#keyed-actors) for examples.
#[derive(Clone)]
pub struct Key(pub(super) Rc<Record>);

impl Key {
    /// The state that was saved last, as JSON and without its version; none when nothing was saved.
    pub fn state(&self) -> Option<Value> {
        let saved = self.0.saved.borrow();
        let mut saved: Value = serde_json::from_slice(saved.as_deref()?).ok()?;
        Some(saved["state"].take())
    }

    /// How often a turn saved the state.
    pub fn commits(&self) -> usize {
        self.0.commits.get()
    }

    /// The reminders that are set, ordered by their ids.
    pub fn reminders(&self) -> Vec<Reminder> {
        self.0.reminders.borrow().values().map(Armed::shown).collect()
    }

    /// The ids of the timers that run, in their order.
    pub fn timers(&self) -> Vec<String> {
        self.0.timers.borrow().keys().cloned().collect()
    }

    /// Puts the actor to sleep, and its timers end. Its next message wakes it with what was saved, as after a crash or a move.
    ///
    /// # Panics
    /// When it is in a turn.
    pub fn restart(&self) {
        let mut awake = self.0.awake.try_lock().expect("an actor in a turn cannot be put to sleep by a test");
        *awake = None;
        self.0.timers.borrow_mut().clear();
    }

    /// Saves a state as an artifact of another version would have left it, and puts the actor to sleep.
    ///
    /// # Panics
    /// When the state cannot be written as JSON, or the actor is in a turn.
    pub fn save(&self, version: u32, state: &(impl Serialize + ?Sized)) {
        let state = serde_json::to_value(state).expect("the state of a test is JSON");
        let saved = json!({ "version": version, "state": state });
        *self.0.saved.borrow_mut() = Some(saved.to_string().into_bytes());
        self.restart();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Key").field(&self.0.id).finish()
    }
}

impl Ticking {
    pub fn shown(&self) -> Reminder {
        let Timer { id, operation, payload, .. } = &self.timer;
        Reminder {
            id: id.clone(),
            due: time(self.due),
            operation: operation.clone(),
            arguments: arguments(payload),
        }
    }
}

impl Armed {
    pub fn shown(&self) -> Reminder {
        let reminder::Reminder { id, operation, payload, .. } = &self.reminder;
        Reminder {
            id: id.clone(),
            due: time(self.due),
            operation: operation.clone(),
            arguments: arguments(payload),
        }
    }
}
