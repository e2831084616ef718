//! What the committer of a key shares with whoever runs its turns.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lattice_proto::reminder::{Due, Reminder};
use lattice_proto::state::{Marks, State};

/// What is committed beside the state.
#[derive(Debug, Default)]
pub struct Known {
    /// Of the record.
    pub revision: u64,
    /// The letters that have had their effect.
    pub marks: Marks,
    reminders: Vec<Reminder>,
}

impl Known {
    /// This is committed now.
    pub fn update(&mut self, record: &State) {
        self.revision = record.revision;
        self.marks.clone_from(&record.marks);
        self.reminders.clone_from(&record.reminders);
    }

    /// The reminder of which an occurrence is due; none when it was handled or is not wanted any more.
    pub fn reminder(&self, due: &Due) -> Option<Reminder> {
        let wanted = |reminder: &&Reminder| reminder.id == due.id && reminder.generation == due.generation;
        self.reminders.iter().find(wanted).cloned()
    }

    /// What all reminders take in the record, in bytes, at most.
    pub fn reminder_bytes(&self) -> usize {
        self.reminders.iter().map(|reminder| reminder_bytes(reminder.payload.len())).sum()
    }

    /// How many reminders have one of these ids, and what they take in the record, in bytes, at most.
    pub fn of_ids<'a>(&self, ids: impl Iterator<Item = &'a str> + Clone) -> (usize, usize) {
        let of_them = |reminder: &&Reminder| ids.clone().any(|id| id == reminder.id);
        let bytes = |reminder: &Reminder| reminder_bytes(reminder.payload.len());
        let sizes = self.reminders.iter().filter(of_them).map(bytes);
        sizes.fold((0, 0), |(count, sum), size| (count + 1, sum + size))
    }
}

/// What is in the record beside the state, or will be with the next commit.
#[derive(Debug, Default)]
pub struct Backlog {
    letters: AtomicUsize,
    letter_bytes: AtomicUsize,
    reminders: AtomicUsize,
    reminder_bytes: AtomicUsize,
}

/// What a letter has beside its payload, in bytes, at most: two IDs, an operation, and the rest of its context.
const LETTER: usize = 1_536;

/// What a reminder has beside its payload, in bytes, at most: an id, a pattern, an operation.
const REMINDER: usize = 640;

/// What a letter with such a payload takes in the record, in bytes, at most.
pub fn letter_bytes(payload: usize) -> usize {
    payload + LETTER
}

/// The same of a reminder.
pub fn reminder_bytes(payload: usize) -> usize {
    payload + REMINDER
}

impl Backlog {
    /// One more letter, with such a payload.
    pub fn add_letter(&self, payload: usize) {
        self.letters.fetch_add(1, Ordering::Relaxed);
        self.letter_bytes.fetch_add(letter_bytes(payload), Ordering::Relaxed);
    }

    /// One letter less.
    pub fn remove_letter(&self, payload: usize) {
        self.letters.fetch_sub(1, Ordering::Relaxed);
        self.letter_bytes.fetch_sub(letter_bytes(payload), Ordering::Relaxed);
    }

    /// One more reminder, with such a payload.
    pub fn add_reminder(&self, payload: usize) {
        self.reminders.fetch_add(1, Ordering::Relaxed);
        self.reminder_bytes.fetch_add(reminder_bytes(payload), Ordering::Relaxed);
    }

    /// One reminder less.
    pub fn remove_reminder(&self, payload: usize) {
        self.reminders.fetch_sub(1, Ordering::Relaxed);
        self.reminder_bytes.fetch_sub(reminder_bytes(payload), Ordering::Relaxed);
    }

    /// Letters that wait to be posted.
    pub fn letters(&self) -> usize {
        self.letters.load(Ordering::Relaxed)
    }

    /// Reminders.
    pub fn reminders(&self) -> usize {
        self.reminders.load(Ordering::Relaxed)
    }

    /// The bytes that letters take, at most.
    pub fn letter_bytes(&self) -> usize {
        self.letter_bytes.load(Ordering::Relaxed)
    }

    /// The bytes that reminders take, at most.
    pub fn reminder_bytes(&self) -> usize {
        self.reminder_bytes.load(Ordering::Relaxed)
    }
}

/// Both, for either side.
#[derive(Clone, Default)]
pub(super) struct Books {
    pub known: Arc<Mutex<Known>>,
    pub backlog: Arc<Backlog>,
}

impl Books {
    /// Says what is committed now.
    pub fn update(&self, record: &State) {
        lock(&self.known).update(record);
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
