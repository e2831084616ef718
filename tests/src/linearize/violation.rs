//! What is told of a history that no order explains.

use std::fmt;
use std::time::Duration;

use crate::history::{Client, Key};

/// How many of the explained operations are printed: what went wrong is nearly always near the end.
const PRINTED: usize = 20;

/// How far a history can be explained, and where that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: Key,
    /// How many of its operations were answered.
    pub answered: usize,
    /// The longest run of operations that has an order, in that order.
    pub explained: Vec<Line>,
    /// The state after them.
    pub state: String,
    /// The answered operations one of which would have to come next, but none can. The first has to come before anything
    /// that was asked for after its answer.
    pub stuck: Vec<Line>,
    /// The operations of unknown outcome that might have come next, but did not help.
    pub unused: Vec<Line>,
}

/// An operation, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Who asked.
    pub client: Client,
    /// When.
    pub invoked: Duration,
    /// When it was answered, if it was.
    pub completed: Option<Duration>,
    /// For what, and the answer.
    pub what: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1000.0);
        let completed = self.completed.map_or("open".to_owned(), millis);
        write!(f, "{:>10} .. {completed:>10} ms  {}: {}", millis(self.invoked), self.client, self.what)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, answered, explained, state, stuck, unused } = self;
        writeln!(f, "key {key}: no order of its operations explains all {answered} answers")?;
        let count = explained.iter().filter(|line| line.completed.is_some()).count();
        writeln!(f, "the longest run that has an order explains {count} of them:")?;
        if explained.len() > PRINTED {
            writeln!(f, "  ({} operations before these)", explained.len() - PRINTED)?;
        }
        for line in &explained[explained.len().saturating_sub(PRINTED)..] {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "the state is then: {state}")?;
        writeln!(f, "one of these would have to come next, the first one soon, and none can:")?;
        for line in stuck {
            writeln!(f, "  {line}")?;
        }
        if !unused.is_empty() {
            writeln!(f, "of unknown outcome and not used by then, which did not help:")?;
        }
        for line in unused {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}
