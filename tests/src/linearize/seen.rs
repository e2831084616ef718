//! The memory of the search: the configurations from which it has been looked for an order.

use std::collections::HashMap;
use std::hash::Hash;

/// A set of operations, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set(Vec<u64>);

impl Set {
    /// An empty set of numbers below this one.
    pub(super) fn new(below: usize) -> Self {
        Self(vec![0; below.div_ceil(64)])
    }

    pub(super) fn insert(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    pub(super) fn remove(&mut self, number: usize) {
        self.0[number / 64] &= !(1 << (number % 64));
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.0[number / 64] & 1 << (number % 64) != 0
    }

    fn is_part_of(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, others)| mine & !others == 0)
    }

    /// The same in less memory. Operations are numbered by their calls and placed nearly in that order, so a set is a
    /// long run of full words, a few others, and nothing.
    fn packed(&self) -> Packed {
        let full = self.0.iter().take_while(|word| **word == u64::MAX).count();
        let end = self.0.iter().rposition(|word| *word != 0).map_or(full, |last| (last + 1).max(full));
        Packed { full, rest: self.0[full..end].into() }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Packed {
    full: usize,
    rest: Box<[u64]>,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen<S> {
    /// For the answered operations that are placed, and the state: which of the others were used, where no set has another
    /// one within it.
    used: HashMap<(Packed, S), Vec<Set>>,
    count: usize,
}

impl<S: Clone + Eq + Hash> Seen<S> {
    pub(super) fn new() -> Self {
        Self { used: HashMap::new(), count: 0 }
    }

    /// Notes a configuration; false if one that is as good was there before.
    pub(super) fn insert(&mut self, answered: &Set, state: &S, used: &Set) -> bool {
        let known = self.used.entry((answered.packed(), state.clone())).or_default();
        if known.iter().any(|less| less.is_part_of(used)) {
            return false;
        }
        known.retain(|more| !used.is_part_of(more));
        known.push(used.clone());
        self.count += 1;
        true
    }

    /// How many were noted.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[usize]) -> Set {
        let mut set = Set::new(200);
        numbers.iter().for_each(|number| set.insert(*number));
        set
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let mut set = set(&[0, 63, 64, 199]);
        set.remove(63);
        let held: Vec<_> = (0..200).filter(|number| set.contains(*number)).collect();
        assert_eq!(held, [0, 64, 199]);
    }

    #[test]
    fn packed_sets_are_equal_if_the_sets_are() {
        let all: Vec<usize> = (0..200).collect();
        let sets = [
            &[][..],
            &[0],
            &[63],
            &[64],
            &[0, 64],
            &[199],
            &all[..64],
            &all[..65],
            &all[..128],
            &all[64..128],
            &all,
        ];
        for (i, one) in sets.iter().enumerate() {
            for (j, two) in sets.iter().enumerate() {
                assert_eq!(set(one).packed() == set(two).packed(), i == j, "{one:?} {two:?}");
            }
        }
    }

    #[test]
    fn less_used_is_better_and_other_use_is_another() {
        let mut seen = Seen::new();
        let placed = set(&[1]);
        assert!(seen.insert(&placed, &'a', &set(&[3, 4])));
        assert!(!seen.insert(&placed, &'a', &set(&[3, 4])));
        assert!(!seen.insert(&placed, &'a', &set(&[3, 4, 5])));
        assert!(seen.insert(&placed, &'a', &set(&[5])));
        assert!(seen.insert(&placed, &'a', &set(&[3])));
        assert!(!seen.insert(&placed, &'a', &set(&[3, 4])));
        assert!(seen.insert(&placed, &'b', &set(&[3, 4])));
        assert!(seen.insert(&set(&[2]), &'a', &set(&[3, 4])));
        assert_eq!(seen.count(), 5);
    }
}
