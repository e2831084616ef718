//! Memory that guests have, added up over all of one actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What one guest has of what its actor has, given back when it ends.
#[derive(Debug)]
pub struct Pooled {
    all: Arc<AtomicU64>,
    own: u64,
}

impl Pooled {
    /// Nothing so far.
    pub fn new(all: Arc<AtomicU64>) -> Self {
        Self { all, own: 0 }
    }

    /// It has so many bytes now.
    pub fn set(&mut self, bytes: u64) {
        match bytes.checked_sub(self.own) {
            Some(more) => self.all.fetch_add(more, Ordering::Relaxed),
            None => self.all.fetch_sub(self.own - bytes, Ordering::Relaxed),
        };
        self.own = bytes;
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_had_is_given_back() {
        let all = Arc::<AtomicU64>::default();
        let (mut one, mut two) = (Pooled::new(all.clone()), Pooled::new(all.clone()));
        one.set(100);
        two.set(50);
        one.set(70);
        assert_eq!(all.load(Ordering::Relaxed), 120);
        drop(one);
        drop(two);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
