//! What concurrent clients asked of keyed actors and what they heard, with the time of each: what [`linearize`] judges.
//!
//! Nothing here judges, and only the [`Recorder`] reads a clock. Times count from the start of the recording.
//!
//! [`linearize`]: crate::linearize

mod recorder;
pub use recorder::{Call, Recorder};

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(pub u32);

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}", self.0)
    }
}

/// The object that was asked. Objects know nothing of each other, so each one is judged alone. An actor with two fields that
/// no operation joins is two objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The key of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a client knows of an operation that it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<O> {
    /// It took effect, once, and this was the answer.
    Ok {
        /// The answer.
        output: O,
        /// When the client had it.
        completed: Duration,
    },
    /// It surely did not run and never will.
    Failed,
    /// It may have run at any time after it was asked for, may yet run, or never does: no reply, or an error that leaves
    /// this open. It has no time of completion, because the end of the client's patience says nothing about the actor.
    Unknown,
}

/// One thing that one client asked of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// Who asked.
    pub client: Client,
    /// Whom.
    pub key: Key,
    /// For what.
    pub input: I,
    /// When; not later than the request left the client.
    pub invoked: Duration,
    /// What became of it.
    pub outcome: Outcome<O>,
}

/// All operations of a test, in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History<I, O> {
    operations: Vec<Operation<I, O>>,
}

impl<I, O> Default for History<I, O> {
    fn default() -> Self {
        Self { operations: Vec::new() }
    }
}

impl<I, O> History<I, O> {
    /// Adds an operation.
    ///
    /// # Panics
    /// If it was completed before it was invoked.
    pub fn push(&mut self, operation: Operation<I, O>) {
        if let Outcome::Ok { completed, .. } = operation.outcome {
            let invoked = operation.invoked;
            assert!(invoked <= completed, "an operation of {} ends before it begins", operation.client);
        }
        self.operations.push(operation);
    }

    /// Every operation.
    pub fn operations(&self) -> &[Operation<I, O>] {
        &self.operations
    }

    /// The operations of each key.
    pub fn by_key(&self) -> BTreeMap<&Key, Vec<&Operation<I, O>>> {
        let mut keys: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for operation in &self.operations {
            keys.entry(&operation.key).or_default().push(operation);
        }
        keys
    }
}

impl<I, O> FromIterator<Operation<I, O>> for History<I, O> {
    fn from_iter<T: IntoIterator<Item = Operation<I, O>>>(operations: T) -> Self {
        let mut history = Self::default();
        operations.into_iter().for_each(|operation| history.push(operation));
        history
    }
}

/// How many operations, and how they ended.
impl<I, O> fmt::Display for History<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count =
            |is: fn(&Outcome<O>) -> bool| self.operations.iter().filter(|one| is(&one.outcome)).count();
        write!(
            f,
            "{} operations on {} keys: {} ok, {} failed, {} unknown",
            self.operations.len(),
            self.by_key().len(),
            count(|outcome| matches!(outcome, Outcome::Ok { .. })),
            count(|outcome| matches!(outcome, Outcome::Failed)),
            count(|outcome| matches!(outcome, Outcome::Unknown)),
        )
    }
}
