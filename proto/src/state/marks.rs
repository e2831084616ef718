//! Which letters a key has taken: what makes the effect of a letter happen once, however often a copy of it arrives.
//!
//! 1. A mailbox is read in its order, so one place tells for all copies that lie before it.
//! 2. A letter may have been posted twice, when its sender did not hear that it was. Those of a keyed sender are numbered,
//!    and are posted in the order of their numbers: the highest that was taken tells for the lower ones.
//! 3. The ids of other letters are remembered for as long as there is room.

use std::time::Duration;

use crate::letter::{Name, Number, Origin, Place, Stamp};

/// How long a sender is remembered from which nothing more came. Nobody posts a letter again that is older than half of it.
pub const HORIZON: Duration = Duration::from_hours(1);

/// How many senders are remembered at most; the one that was silent for longest makes room.
pub const MAX_SENDERS: usize = 256;

/// How many letters without a number are remembered.
pub const MAX_IDS: usize = 64;

/// The highest number that was taken of one sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The sender and the number.
    pub number: Number,
    /// When it was taken, in milliseconds since 1970 in the time of the NATS server.
    pub at_ms: u64,
}

/// What one key has taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// The last place in the mailbox.
    pub place: Option<Place>,
    /// By sender, the one that was heard last at the end.
    pub heard: Vec<Heard>,
    /// Of letters without a number, the latest at the end.
    pub ids: Vec<[u8; 16]>,
    /// Why the letter at the last place was given up, if it was: it has no effect any more, and may not lie with the dead
    /// letters yet.
    pub given_up: Option<String>,
}

impl Marks {
    /// Whether a letter has had its effect.
    pub fn have(&self, stamp: &Stamp) -> bool {
        let before =
            |place: Place| place.stream == stamp.place.stream && stamp.place.sequence <= place.sequence;
        self.place.is_some_and(before)
            || match &stamp.name {
                Name::Number(Number { origin, number }) => {
                    self.heard(origin).is_some_and(|heard| *number <= heard.number.number)
                }
                Name::Id(id) => self.ids.contains(id),
            }
    }

    /// Why this very letter was given up, if it was.
    pub fn why_given_up(&self, stamp: &Stamp) -> Option<&str> {
        self.given_up.as_deref().filter(|_| self.place == Some(stamp.place))
    }

    /// Takes a letter that will have no effect.
    pub fn give_up(&mut self, stamp: &Stamp, reason: String, now_ms: u64) {
        self.take(stamp, now_ms);
        self.given_up = Some(reason);
    }

    /// Takes a letter that has its effect now.
    pub fn take(&mut self, stamp: &Stamp, now_ms: u64) {
        self.place = Some(stamp.place);
        self.given_up = None;
        match &stamp.name {
            Name::Number(number) => {
                let horizon = u64::try_from(HORIZON.as_millis()).unwrap_or(u64::MAX);
                let known = |heard: &Heard| {
                    heard.number.origin != number.origin && heard.at_ms.saturating_add(horizon) > now_ms
                };
                self.heard.retain(known);
                make_room(&mut self.heard, MAX_SENDERS);
                self.heard.push(Heard { number: *number, at_ms: now_ms });
            }
            Name::Id(id) => {
                make_room(&mut self.ids, MAX_IDS);
                self.ids.push(*id);
            }
        }
    }

    fn heard(&self, origin: &Origin) -> Option<&Heard> {
        self.heard.iter().find(|heard| heard.number.origin == *origin)
    }
}

fn make_room<T>(all: &mut Vec<T>, most: usize) {
    let over = (all.len() + 1).saturating_sub(most);
    all.drain(..over.min(all.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(stream: u64, sequence: u64, name: Name) -> Stamp {
        Stamp { place: Place { stream, sequence }, name }
    }

    fn from(origin: u8, number: u64) -> Name {
        Name::Number(Number { origin: Origin::new([origin; 16]), number })
    }

    #[test]
    fn what_lies_before_the_last_place_was_taken() {
        let mut marks = Marks::default();
        assert!(!marks.have(&stamp(1, 5, from(1, 1))));
        marks.take(&stamp(1, 5, from(1, 1)), 0);
        assert!(marks.have(&stamp(1, 5, from(1, 1))) && marks.have(&stamp(1, 4, Name::Id([3; 16]))));
        assert!(!marks.have(&stamp(1, 6, from(1, 2))));
        assert!(!marks.have(&stamp(2, 1, from(2, 1))), "a stream that was made anew counts anew");
    }

    #[test]
    fn a_letter_that_was_posted_twice_is_known_by_its_number_or_id() {
        let mut marks = Marks::default();
        marks.take(&stamp(1, 1, from(1, 7)), 0);
        marks.take(&stamp(1, 2, Name::Id([3; 16])), 0);
        assert!(marks.have(&stamp(1, 9, from(1, 7))) && marks.have(&stamp(1, 9, from(1, 3))));
        assert!(!marks.have(&stamp(1, 9, from(1, 8))) && !marks.have(&stamp(1, 9, from(2, 7))));
        assert!(marks.have(&stamp(1, 9, Name::Id([3; 16]))) && !marks.have(&stamp(1, 9, Name::Id([4; 16]))));
    }

    #[test]
    fn what_was_given_up_has_no_effect_and_says_why_until_the_next_is_taken() {
        let (mut marks, first) = (Marks::default(), stamp(1, 5, from(1, 1)));
        marks.give_up(&first, "it trapped".to_owned(), 0);
        assert!(marks.have(&first));
        assert_eq!(marks.why_given_up(&first), Some("it trapped"));
        assert_eq!(marks.why_given_up(&stamp(1, 4, from(1, 0))), None, "an earlier one had its effect");
        marks.take(&stamp(1, 6, from(1, 2)), 0);
        assert_eq!(marks.why_given_up(&first), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_silent_make_room() {
        let mut marks = Marks::default();
        for n in 0..1_000u64 {
            let origin = Origin::new([(n % 250) as u8; 16]);
            marks.take(&stamp(1, n, Name::Number(Number { origin, number: n })), n);
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_be_bytes());
            marks.take(&stamp(1, n, Name::Id(id)), n);
        }
        assert_eq!((marks.heard.len(), marks.ids.len()), (250, MAX_IDS));
        assert_eq!(marks.heard.last().map(|heard| heard.number.number), Some(999));
        let later = u64::try_from(HORIZON.as_millis()).unwrap() + 990;
        marks.take(&stamp(1, 2_000, from(251, 1)), later);
        assert_eq!(marks.heard.len(), 10, "those of within the horizon, and this one");
    }
}
