//! The keyed actors of a test: what the lattice would keep for each key, what was sent, and the clock.
//!
//! 1. A key wakes with its first message and handles one at a time; others wait for it.
//! 2. A turn that went well is committed at once: its state is kept, its reminders are set, its sends are on their way.
//! 3. Sends stay on their way until the test delivers them, and time stands still until the test lets it pass.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use futures::lock::Mutex;
use lattice_cron::Cron;
use serde::Serialize;
use serde_json::{Value, json};

use super::mesh::arguments;
use crate::call::Outgoing;
use crate::cause::Occurrence;
use crate::keyed::{Activation, Outcome};
use crate::reminder::{self, Change, Schedule, time, whole_millis};
use crate::{Context, Keyed, Message, Result};

/// All keyed actors that a test knows.
pub(super) struct Keys {
    kinds: RefCell<HashMap<String, Wake>>,
    keys: RefCell<BTreeMap<String, Rc<Record>>>,
    sent: RefCell<Vec<Sent>>,
    on_their_way: RefCell<VecDeque<Letter>>,
    /// In milliseconds since 1970.
    now: Cell<u64>,
}

/// Makes an activation of one actor type.
type Wake = Rc<dyn Fn(Rc<str>, Option<Vec<u8>>) -> Result<Box<dyn Awake>>>;

/// An activation of any type.
trait Awake {
    fn turn(&mut self, context: Context, message: Message) -> LocalBoxFuture<'_, Outcome>;
}

impl<S: Keyed> Awake for Activation<S> {
    fn turn(&mut self, context: Context, message: Message) -> LocalBoxFuture<'_, Outcome> {
        Activation::turn(self, context, message).boxed_local()
    }
}

/// What is kept for one key.
pub(super) struct Record {
    pub id: String,
    key: Rc<str>,
    wake: Wake,
    awake: Mutex<Option<Box<dyn Awake>>>,
    saved: RefCell<Option<Vec<u8>>>,
    commits: Cell<usize>,
    reminders: RefCell<BTreeMap<String, Armed>>,
}

/// A reminder that is set.
struct Armed {
    due: u64,
    reminder: reminder::Reminder,
}

/// A send on its way.
pub(super) struct Letter {
    pub id: String,
    pub sent: Sent,
    pub message: Message,
}

/// A reminder whose time has come.
pub(super) struct Due {
    pub record: Rc<Record>,
    pub occurrence: Occurrence,
    pub id: String,
    pub reminder: Reminder,
    pub message: Message,
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

    /// Puts the actor to sleep. Its next message wakes it with what was saved, as after a crash or a move.
    ///
    /// # Panics
    /// When it is in a turn.
    pub fn restart(&self) {
        let mut awake = self.0.awake.try_lock().expect("an actor in a turn cannot be put to sleep by a test");
        *awake = None;
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

/// The clock of a test begins with the year 2026.
const BEGINNING: u64 = 1_767_225_600_000;

impl Default for Keys {
    fn default() -> Self {
        Keys {
            kinds: RefCell::default(),
            keys: RefCell::default(),
            sent: RefCell::default(),
            on_their_way: RefCell::default(),
            now: Cell::new(BEGINNING),
        }
    }
}

impl Keys {
    pub fn add<S: Keyed>(&self, name: &str) {
        let wake: Wake = Rc::new(|key, saved| Ok(Box::new(Activation::<S>::wake(key, saved)?)));
        self.kinds.borrow_mut().insert(name.to_owned(), wake);
    }

    /// What is kept for this ID, or none when it names no keyed actor.
    pub fn record(&self, id: &str) -> Option<Rc<Record>> {
        if let Some(record) = self.keys.borrow().get(id) {
            return Some(record.clone());
        }
        let (name, key) = id.split_once('/')?;
        let record = Rc::new(Record {
            id: id.to_owned(),
            key: key.into(),
            wake: self.kinds.borrow().get(name)?.clone(),
            awake: Mutex::default(),
            saved: RefCell::default(),
            commits: Cell::default(),
            reminders: RefCell::default(),
        });
        self.keys.borrow_mut().insert(id.to_owned(), record.clone());
        Some(record)
    }

    /// One turn, and its commit.
    pub async fn turn(&self, record: &Record, context: Context, message: Message) -> Result<Vec<u8>> {
        let mut awake = record.awake.lock().await;
        let actor = match &mut *awake {
            Some(actor) => actor,
            None => {
                let saved = record.saved.borrow().clone();
                awake.insert((record.wake)(record.key.clone(), saved)?)
            }
        };
        let outcome = actor.turn(context, message).await;
        self.commit(record, outcome)
    }

    fn commit(&self, record: &Record, outcome: Outcome) -> Result<Vec<u8>> {
        let Outcome { reply, state, sends, reminders } = outcome;
        if state.is_some() {
            record.commits.set(record.commits.get() + 1);
            *record.saved.borrow_mut() = state;
        }
        for send in sends {
            self.send(record, send);
        }
        for change in reminders {
            let mut reminders = record.reminders.borrow_mut();
            match change {
                Change::Set(reminder) => {
                    let due = first_due(&reminder.schedule, self.now.get());
                    reminders.insert(reminder.id.clone(), Armed { due, reminder });
                }
                Change::Cancel(id) => drop(reminders.remove(&id)),
            }
        }
        reply
    }

    fn send(&self, record: &Record, outgoing: Outgoing) {
        let Outgoing { to, operation, payload, content_type, .. } = outgoing;
        let arguments = arguments(&payload);
        let sent = Sent { from: record.id.clone(), to, operation: operation.clone(), arguments };
        let id = format!("send-{}", self.sent.borrow().len() + 1);
        self.sent.borrow_mut().push(sent.clone());
        let message = Message { operation, content_type: content_type.to_owned(), payload };
        self.on_their_way.borrow_mut().push_back(Letter { id, sent, message });
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.sent.borrow().clone()
    }

    /// The next message that is on its way.
    pub fn next_letter(&self) -> Option<Letter> {
        self.on_their_way.borrow_mut().pop_front()
    }

    pub fn now(&self) -> SystemTime {
        time(self.now.get())
    }

    /// The time that it will be so much later.
    pub fn later(&self, by: Duration) -> u64 {
        self.now.get().saturating_add(whole_millis(by))
    }

    pub fn set_clock(&self, now: u64) {
        self.now.set(now);
    }

    /// The next reminder that is due until then, if any. The clock goes on to when it is; a repeating one is set anew.
    pub fn next_due(&self, until: u64) -> Option<Due> {
        let keys = self.keys.borrow();
        let all = keys.values().flat_map(|record| {
            let reminders = record.reminders.borrow();
            let due: Vec<_> =
                reminders.values().map(|armed| (armed.due, armed.reminder.id.clone())).collect();
            due.into_iter().map(move |(due, id)| (due, record, id))
        });
        let (due, record, id) = all.min_by_key(|(due, _, _)| *due).filter(|(due, _, _)| *due <= until)?;
        self.now.set(self.now.get().max(due));
        let mut reminders = record.reminders.borrow_mut();
        let armed = reminders.get_mut(&id)?;
        let shown = armed.shown();
        let reminder::Reminder { operation, payload, content_type, schedule, .. } = &armed.reminder;
        let message = Message {
            operation: operation.clone(),
            content_type: (*content_type).to_owned(),
            payload: payload.clone(),
        };
        match next_due(schedule, due) {
            Some(next) => armed.due = next,
            None => drop(reminders.remove(&id)),
        }
        Some(Due {
            id: format!("{}:{id}:{due}", record.id),
            record: record.clone(),
            occurrence: Occurrence { id, due: time(due) },
            reminder: shown,
            message,
        })
    }
}

impl Armed {
    fn shown(&self) -> Reminder {
        let reminder::Reminder { id, operation, payload, .. } = &self.reminder;
        Reminder {
            id: id.clone(),
            due: time(self.due),
            operation: operation.clone(),
            arguments: arguments(payload),
        }
    }
}

fn first_due(schedule: &Schedule, now: u64) -> u64 {
    let due = match schedule {
        Schedule::At(time) => reminder::millis(*time),
        Schedule::After(delay) => now.saturating_add(whole_millis(*delay)),
        Schedule::Every(_) | Schedule::Cron(_) => return next_due(schedule, now).unwrap_or(u64::MAX),
    };
    whole_seconds(due)
}

/// When a repeating reminder comes again.
fn next_due(schedule: &Schedule, last: u64) -> Option<u64> {
    let next = match schedule {
        Schedule::At(_) | Schedule::After(_) => return None,
        Schedule::Every(interval) => last.saturating_add(whole_millis(*interval)),
        Schedule::Cron(pattern) => pattern.parse::<Cron>().ok()?.next(last)?,
    };
    Some(whole_seconds(next))
}

/// Rounded up, as in a lattice.
fn whole_seconds(millis: u64) -> u64 {
    millis.div_ceil(1_000).saturating_mul(1_000)
}
