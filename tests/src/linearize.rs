//! Judges a [`History`]: is there an order of its operations, within the times at which they were under way, in which a
//! sequential object would have given the same answers?
//!
//! The algorithm is the one of Wing and Gong with the memory of Lowe, as in Porcupine: a search that places one operation
//! after the other, over a doubly linked list of calls and returns from which what is placed is lifted, and which leaves a
//! configuration (the set of placed operations, and the state) that it has seen before. Keys are judged one by one, which
//! says the same of the whole, because linearizability is local.
//!
//! Operations of unknown outcome make the difference. They stay open to the end, so the plain algorithm, which tries the
//! oldest call first and must place every one, tries all orders of all of them as soon as one wrong turn has to be taken
//! back. Hence:
//!
//! 1. Operations of unknown outcome may be left out. The search ends when all that were answered are placed.
//! 2. They are tried last, when no answered operation fits or those that fit led nowhere.
//! 3. A configuration is left if one was seen that differs only in having used fewer of them: what can be done with more
//!    in hand includes what can be done with less.
//! 4. Of those that ask the same, the oldest goes first: it may stand wherever a later one may.
//! 5. An answered operation that only reads and that fits is placed for good: it may go as early as it can, as it
//!    changes nothing for the others.
//! 6. A state in which the model excludes one of the answers to come is not entered ([`Model::still_possible`]).
//! 7. One of unknown outcome is not tried right after another one if it leaves nothing of that ([`Model::forgets`]).
//!
//! Each rule leaves at least one order if there is any; `tests` compares with all permutations. Deciding is hard in
//! principle, so there is a [`Bound`], and a verdict that says that it was reached.
//!
//! Why not a crate (looked at in November 2026): `stateright`'s tester tries all interleavings without a memory, recursively;
//! `todc-utils`, last published in 2023, refuses operations without an answer, has no bound and moves a vector for each
//! step; `porcupine-rs` is close to Porcupine, but every operation must be placed, oldest first, and it depends on a
//! benchmark harness, random numbers and regular expressions; `lincheck` runs code under loom. None has rules 3 and 4.

mod counter;
mod entries;
mod list;
mod model;
mod register;
mod search;
mod seen;
mod violation;

pub use counter::{Counter, CounterInput, CounterOutput};
pub use list::{Items, List, ListInput, ListOutput};
pub use model::Model;
pub use register::{Register, RegisterInput, RegisterOutput};
pub use violation::{Line, Violation};

use std::fmt;
use std::time::Duration;

use crate::history::{History, Key, Operation};
use search::Search;

/// How far to search, for each key.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// How many configurations may be remembered: it is memory that runs out first.
    pub configurations: usize,
    /// How much time it may take.
    pub time: Duration,
}

/// Two thousand operations of thirty clients on a list take two thousand configurations and a tenth of a second, on a
/// register up to a million and some seconds. What takes more than this, which fills not quite a gigabyte, would mostly
/// take forever.
impl Default for Bound {
    fn default() -> Self {
        Self { configurations: 2_000_000, time: Duration::from_secs(60) }
    }
}

/// What the search took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// How often the model was asked for a step.
    pub steps: u64,
    /// How many configurations were remembered.
    pub configurations: usize,
    /// The time.
    pub time: Duration,
}

/// What can be said of a history.
#[derive(Debug, Clone)]
#[must_use]
pub enum Verdict {
    /// Every key's operations have an order that explains the answers.
    Linearizable(Effort),
    /// A key's operations have none.
    Violated(Box<Violation>),
    /// No key is known to be violated, but this one was not decided within the bound.
    Undecided(Key, Effort),
}

impl Verdict {
    /// Whether every key's operations have an order that explains the answers.
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Self::Linearizable(_))
    }

    /// Whether a key's operations have none. Not the opposite of [`is_linearizable`](Self::is_linearizable).
    pub fn is_violated(&self) -> bool {
        matches!(self, Self::Violated(_))
    }
}

/// Judges a history. A violation of any key goes before a key that is undecided.
pub fn check<M: Model>(model: &M, history: &History<M::Input, M::Output>, bound: Bound) -> Verdict {
    let (mut total, mut undecided) = (Effort::default(), None);
    for (key, operations) in history.by_key() {
        let mut search = Search::new(model, &operations, bound);
        let found = search.run();
        let effort = search.effort();
        total.add(effort);
        match found {
            search::Found::Order => {}
            search::Found::None => {
                return Verdict::Violated(Box::new(explain(model, key, &operations, search)));
            }
            search::Found::Bound => undecided = undecided.or(Some((key.clone(), effort))),
        }
    }
    match undecided {
        Some((key, effort)) => Verdict::Undecided(key, effort),
        None => Verdict::Linearizable(total),
    }
}

/// How far the operations of a key can be explained that have no order.
fn explain<'a, M: Model>(
    model: &'a M,
    key: &Key,
    operations: &[&'a Operation<M::Input, M::Output>],
    mut search: Search<'a, M>,
) -> Violation {
    if M::LOOKS_AHEAD {
        // The verdict stands already, so this need not come to an end; it gets far with a few thousand.
        let bound = Bound { configurations: 20_000, time: Duration::from_secs(5) };
        let mut further = Search::new(model, operations, bound).shortsighted();
        further.run();
        if further.reached() > search.reached() {
            search = further;
        }
    }
    search.violation(key)
}

/// Judges a history within the usual bound, and returns what that took.
///
/// # Panics
/// If it is not linearizable, with the operations that cannot be placed, or if that cannot be decided.
pub fn assert_linearizable<M: Model>(model: &M, history: &History<M::Input, M::Output>) -> Effort {
    match check(model, history, Bound::default()) {
        Verdict::Linearizable(effort) => effort,
        verdict => panic!("{verdict}\n(the whole history: {history})"),
    }
}

impl Effort {
    fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.configurations += other.configurations;
        self.time += other.time;
    }
}

impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps, {} configurations, {:.1?}", self.steps, self.configurations, self.time)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable(effort) => write!(f, "linearizable ({effort})"),
            Self::Violated(violation) => violation.fmt(f),
            Self::Undecided(key, effort) => write!(f, "key {key}: not decided within the bound ({effort})"),
        }
    }
}

#[cfg(test)]
mod tests;
