//! The keyed actors of a test: what the lattice would keep for each key, what was sent, and the clock.
//!
//! 1. A key wakes with its first message and handles one at a time; others wait for it.
//! 2. A turn that went well is committed at once: its state is kept, its reminders are set, its sends are on their way.
//! 3. Sends stay on their way until the test delivers them, and time stands still until the test lets it pass.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use futures::lock::Mutex;

use super::due::{first_due, next_due, tick_millis};
use super::key::{Armed, Record, Reminder, Sent, Ticking};
use super::mesh::arguments;
use crate::call::Outgoing;
use crate::cause::{Cause, Occurrence};
use crate::keyed::{Activation, Outcome};
use crate::reminder::{self, Change, time, whole_millis};
use crate::timer::{self, Timer};
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
pub(super) type Wake = Rc<dyn Fn(Rc<str>, Option<Vec<u8>>) -> Result<Box<dyn Awake>>>;

/// An activation of any type.
pub(super) trait Awake {
    fn turn(&mut self, context: Context, message: Message) -> LocalBoxFuture<'_, Outcome>;
}

impl<S: Keyed> Awake for Activation<S> {
    fn turn(&mut self, context: Context, message: Message) -> LocalBoxFuture<'_, Outcome> {
        Activation::turn(self, context, message).boxed_local()
    }
}

/// A send on its way.
pub(super) struct Letter {
    pub id: String,
    pub sent: Sent,
    pub message: Message,
}

/// A reminder or a timer whose time has come.
pub(super) struct Due {
    pub record: Rc<Record>,
    pub cause: Cause,
    pub id: String,
    pub reminder: Reminder,
    pub message: Message,
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
            timers: RefCell::default(),
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
        let Outcome { reply, state, sends, reminders, timers } = outcome;
        if state.is_some() {
            record.commits.set(record.commits.get() + 1);
            *record.saved.borrow_mut() = state;
        }
        for send in sends {
            self.send(record, send);
        }
        let now = self.now.get();
        for change in reminders {
            let mut reminders = record.reminders.borrow_mut();
            match change {
                Change::Set(reminder) => {
                    let due = first_due(&reminder.schedule, now);
                    reminders.insert(reminder.id.clone(), Armed { due, reminder });
                }
                Change::Cancel(id) => drop(reminders.remove(&id)),
            }
        }
        for change in timers {
            let mut timers = record.timers.borrow_mut();
            match change {
                timer::Change::Set(timer) => {
                    let due = now.saturating_add(tick_millis(timer.after));
                    timers.insert(timer.id.clone(), Ticking { due, timer });
                }
                timer::Change::Cancel(id) => drop(timers.remove(&id)),
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

    /// The next reminder or timer that is due until then, if any. The clock goes on to when it is; a repeating one is set anew.
    pub fn next_due(&self, until: u64) -> Option<Due> {
        let keys = self.keys.borrow();
        let all = keys.values().flat_map(|record| {
            let (reminders, timers) = (record.reminders.borrow(), record.timers.borrow());
            let reminders = reminders.iter().map(|(id, armed)| (armed.due, id.clone(), true));
            let timers = timers.iter().map(|(id, ticking)| (ticking.due, id.clone(), false));
            let due: Vec<_> = reminders.chain(timers).collect();
            due.into_iter().map(move |(due, id, durable)| (due, record, id, durable))
        });
        let next = all.min_by_key(|(due, ..)| *due).filter(|(due, ..)| *due <= until);
        let (due, record, id, durable) = next?;
        self.now.set(self.now.get().max(due));
        if durable { remind(record, id, due) } else { tick(record, id, due) }
    }
}

fn remind(record: &Rc<Record>, id: String, due: u64) -> Option<Due> {
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
        cause: Cause::Reminder(Occurrence { id, due: time(due) }),
        reminder: shown,
        message,
    })
}

fn tick(record: &Rc<Record>, id: String, due: u64) -> Option<Due> {
    let mut timers = record.timers.borrow_mut();
    let ticking = timers.get_mut(&id)?;
    let shown = ticking.shown();
    let Timer { operation, payload, content_type, after, repeats, .. } = &ticking.timer;
    let message = Message {
        operation: operation.clone(),
        content_type: (*content_type).to_owned(),
        payload: payload.clone(),
    };
    match repeats {
        true => ticking.due = due.saturating_add(tick_millis(*after)),
        false => drop(timers.remove(&id)),
    }
    Some(Due {
        id: format!("{}:{id}:{due}", record.id),
        record: record.clone(),
        cause: Cause::Timer(id),
        reminder: shown,
        message,
    })
}
