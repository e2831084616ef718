//! The calls and returns of the operations that are not placed yet, in the order of their times: a doubly linked list,
//! from which an operation is lifted in constant time, and put back likewise if lifting is undone in reverse.

use std::time::Duration;

/// What happened at a place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// The end of the list.
    End,
    /// This operation was asked for.
    Call(usize),
    /// It was answered.
    Return(usize),
}

#[derive(Debug)]
pub(super) struct Entries {
    /// The first one is the sentinel that closes the ring; it is never lifted.
    all: Vec<Entry>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Where the call and the return of each operation stand.
    places: Vec<(usize, usize)>,
}

impl Entries {
    /// The list of these operations, given by when they were invoked and completed. What happened at the same time counts as
    /// concurrent, so calls go first.
    pub(super) fn new(spans: &[(Duration, Duration)]) -> Self {
        let mut order = Vec::with_capacity(2 * spans.len());
        for (operation, (invoked, completed)) in spans.iter().enumerate() {
            order.push((*invoked, 0, operation));
            order.push((*completed, 1, operation));
        }
        order.sort_unstable();
        let (mut all, mut places) = (vec![Entry::End], vec![(0, 0); spans.len()]);
        for (_, kind, operation) in order {
            if kind == 0 {
                places[operation].0 = all.len();
                all.push(Entry::Call(operation));
            } else {
                places[operation].1 = all.len();
                all.push(Entry::Return(operation));
            }
        }
        let count = all.len();
        let next = (1..=count).map(|place| place % count).collect();
        let previous = (0..count).map(|place| (place + count - 1) % count).collect();
        Self { all, next, previous, places }
    }

    /// The place of the first entry.
    pub(super) fn first(&self) -> usize {
        self.next[0]
    }

    /// The place after this one.
    pub(super) fn after(&self, place: usize) -> usize {
        self.next[place]
    }

    /// What stands at a place.
    pub(super) fn at(&self, place: usize) -> Entry {
        self.all[place]
    }

    /// Those that are in the list, from the first.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry> {
        std::iter::successors(Some(self.first()), |place| Some(self.after(*place)))
            .map(|place| self.at(place))
            .take_while(|entry| *entry != Entry::End)
    }

    /// The operation whose return is the first: it has to be placed before anything that was asked for later.
    pub(super) fn due(&self) -> Option<usize> {
        self.iter().find_map(|entry| match entry {
            Entry::Return(operation) => Some(operation),
            Entry::Call(_) | Entry::End => None,
        })
    }

    /// Takes an operation out.
    pub(super) fn lift(&mut self, operation: usize) {
        let (call, ret) = self.places[operation];
        for place in [call, ret] {
            let (before, after) = (self.previous[place], self.next[place]);
            self.next[before] = after;
            self.previous[after] = before;
        }
    }

    /// Puts it back. What was taken out after it must be back already.
    pub(super) fn unlift(&mut self, operation: usize) {
        let (call, ret) = self.places[operation];
        for place in [ret, call] {
            let (before, after) = (self.previous[place], self.next[place]);
            self.next[before] = place;
            self.previous[after] = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(from: u64, to: u64) -> (Duration, Duration) {
        (Duration::from_micros(from), Duration::from_micros(to))
    }

    fn listed(entries: &Entries) -> Vec<Entry> {
        entries.iter().collect()
    }

    #[test]
    fn entries_stand_by_time_and_calls_before_returns() {
        let entries = Entries::new(&[micros(1, 5), micros(0, 1), micros(5, 5)]);
        use Entry::{Call, Return};
        assert_eq!(listed(&entries), [Call(1), Call(0), Return(1), Call(2), Return(0), Return(2)]);
        assert_eq!(entries.due(), Some(1));
        assert_eq!(listed(&Entries::new(&[])), []);
    }

    #[test]
    fn what_is_lifted_can_be_put_back_in_reverse() {
        let mut entries = Entries::new(&[micros(0, 3), micros(1, 2), micros(1, 4), micros(5, 6)]);
        let before = listed(&entries);
        for operation in [1, 0, 3, 2] {
            entries.lift(operation);
        }
        assert_eq!((listed(&entries), entries.due()), (vec![], None));
        for operation in [2, 3, 0] {
            entries.unlift(operation);
        }
        assert_eq!(entries.due(), Some(0));
        entries.unlift(1);
        assert_eq!(listed(&entries), before);
    }
}
