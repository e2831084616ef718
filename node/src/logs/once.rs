//! What the node's log tells once, though it happens again and again, as guests choose what and how often.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Different things that are told; further ones are not.
const MOST: usize = 64;

/// What was told so far.
#[derive(Debug, Default)]
pub struct Once(Mutex<BTreeSet<String>>);

impl Once {
    /// Whether this is to be told, as it was not before.
    pub fn is_new(&self, what: String) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < MOST && told.insert(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_told_once_and_not_ever_more_of_them() {
        let once = Once::default();
        assert!(once.is_new("a".to_owned()) && once.is_new("b".to_owned()));
        assert!(!once.is_new("a".to_owned()));
        assert_eq!((0..1_000).filter(|number| once.is_new(number.to_string())).count(), MOST - 2);
    }
}
