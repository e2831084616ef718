//! Timers of one activation: they are in memory only, and end with it. Pure, with time as an argument.
//!
//! They are set as soon as their turn has ended. What a timer's turn then sees may not be committed yet, as with any turn
//! that follows another, and what it does is held back by the same gate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::Operation;
use lattice_proto::envelope::ContentType;

use crate::replica::Timing;

/// The most timers that one key may have.
pub const MAX_TIMERS: usize = 256;

/// Those of one key.
#[derive(Default)]
pub struct Timers(BTreeMap<String, Timer>, Failing);

/// Whether the last turn of a timer failed, so that one that fails a hundred times a second is written down once.
#[derive(Clone, Default)]
pub struct Failing(Arc<AtomicBool>);

impl Failing {
    /// A turn has ended like this; true when it is the first that failed in a row.
    pub fn note(&self, failed: bool) -> bool {
        !self.0.swap(failed, Ordering::Relaxed) && failed
    }
}

/// What is told, and when next.
#[derive(Clone)]
pub struct Timer {
    at: Instant,
    every: Option<Duration>,
    /// What is told.
    pub operation: Operation,
    /// The arguments.
    pub payload: Bytes,
    /// How they are written.
    pub content_type: ContentType,
}

impl Timers {
    /// How many there would be after these changes, and the bytes that their arguments would take.
    pub fn with(&self, changes: &[Timing]) -> (usize, usize) {
        let mut sizes: BTreeMap<&str, usize> =
            self.0.iter().map(|(id, timer)| (id.as_str(), timer.payload.len())).collect();
        for change in changes {
            match change {
                Timing::Cancel(id) => drop(sizes.remove(id.as_str())),
                Timing::Set { id, payload, .. } => drop(sizes.insert(id, payload.len())),
            }
        }
        (sizes.len(), sizes.values().sum())
    }

    /// Takes in what a turn said.
    pub fn change(&mut self, changes: Vec<Timing>, now: Instant) {
        for change in changes {
            match change {
                Timing::Cancel(id) => drop(self.0.remove(&id)),
                Timing::Set { id, after, repeats, operation, payload, content_type } => {
                    let every = repeats.then_some(after);
                    match now.checked_add(after) {
                        Some(at) => {
                            self.0.insert(id, Timer { at, every, operation, payload, content_type });
                        }
                        // What is too far is as good as never.
                        None => drop(self.0.remove(&id)),
                    }
                }
            }
        }
    }

    /// Where it is noted how their turns end.
    pub fn failing(&self) -> Failing {
        self.1.clone()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the next one is due, if there is any.
    pub fn next(&self) -> Option<Instant> {
        self.0.values().map(|timer| timer.at).min()
    }

    /// The one that was due first, if any is. One that repeats is set anew.
    pub fn take(&mut self, now: Instant) -> Option<(String, Timer)> {
        let due = self.0.iter().filter(|(_, timer)| timer.at <= now).min_by_key(|(_, timer)| timer.at);
        let id = due?.0.clone();
        let timer = self.0.get_mut(&id)?;
        let told = timer.clone();
        match timer.every {
            // Those that were missed are left out.
            Some(every) => {
                timer.at += every;
                if timer.at <= now {
                    timer.at = now + every;
                }
            }
            None => drop(self.0.remove(&id)),
        }
        Some((id, told))
    }

    /// None of them comes any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(id: &str, ms: u64, repeats: bool) -> Timing {
        Timing::Set {
            id: id.to_owned(),
            after: Duration::from_millis(ms),
            repeats,
            operation: "ring".parse().unwrap(),
            payload: Bytes::from_static(b"1234"),
            content_type: ContentType::Json,
        }
    }

    fn ids(timers: &mut Timers, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| timers.take(now).map(|(id, _)| id)).collect()
    }

    #[test]
    fn they_come_in_their_order_once_or_again_and_the_last_word_counts() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        timers.change(vec![set("b", 20, false), set("a", 30, false), set("again", 25, true)], now);
        assert_eq!(timers.next(), Some(at(20)));
        assert_eq!(ids(&mut timers, at(19)), [""; 0]);
        assert_eq!(ids(&mut timers, at(30)), ["b", "again", "a"]);
        assert_eq!(ids(&mut timers, at(1_000)), ["again"], "those that were missed are left out");
        timers
            .change(vec![set("again", 5, false), set("a", 5, false), Timing::Cancel("a".into())], at(1_000));
        assert_eq!(ids(&mut timers, at(2_000)), ["again"]);
        assert_eq!(ids(&mut timers, at(9_000)), [""; 0]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn the_first_failure_in_a_row_is_told() {
        let timers = Timers::default();
        let noted = [true, true, false, true].map(|failed| timers.failing().note(failed));
        assert_eq!(noted, [true, false, false, true]);
    }

    #[test]
    fn what_there_would_be_is_known_before() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        timers.change(vec![set("a", 1, false), set("b", 1, true)], now);
        assert_eq!(timers.with(&[]), (2, 8));
        assert_eq!(timers.with(&[set("a", 5, true), set("c", 1, true), Timing::Cancel("b".into())]), (2, 8));
        timers.clear();
        assert_eq!(timers.with(&[Timing::Cancel("a".into())]), (0, 0));
    }
}
