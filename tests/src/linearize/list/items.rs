//! The state of a list, made so that the search can keep a hundred thousand of them: each one is its last item and
//! the state before it, which it shares with all others that begin alike.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// The items of a list, in order.
pub struct Items<T>(Option<Rc<Link<T>>>);

struct Link<T> {
    item: T,
    before: Items<T>,
    length: usize,
    /// Of all items up to this one, so that two lists are rarely walked to find that they differ.
    digest: u64,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Clone for Items<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Items<T> {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |link| link.length)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The last one.
    pub fn last(&self) -> Option<&T> {
        self.backwards().next()
    }

    /// The newest ones, at most so many, the oldest of them first.
    pub fn newest(&self, most: usize) -> Vec<&T> {
        let mut items: Vec<_> = self.backwards().take(most).collect();
        items.reverse();
        items
    }

    fn backwards(&self) -> impl Iterator<Item = &T> {
        std::iter::successors(self.0.as_deref(), |link| link.before.0.as_deref()).map(|link| &link.item)
    }
}

impl<T: Eq + Hash> Items<T> {
    /// These and one more.
    pub fn with(&self, item: T) -> Self {
        let mut digest = DefaultHasher::new();
        self.hash(&mut digest);
        item.hash(&mut digest);
        let (before, length) = (self.clone(), self.len() + 1);
        Self(Some(Rc::new(Link { item, before, length, digest: digest.finish() })))
    }

    /// Whether others begin with these.
    pub fn begins(&self, others: &[T]) -> bool {
        let Some(head) = others.get(..self.len()) else { return false };
        self.backwards().eq(head.iter().rev())
    }
}

impl<T: Eq> PartialEq for Items<T> {
    fn eq(&self, other: &Self) -> bool {
        let (mut one, mut two) = (self, other);
        loop {
            match (&one.0, &two.0) {
                (None, None) => return true,
                (Some(a), Some(b)) if Rc::ptr_eq(a, b) => return true,
                (Some(a), Some(b)) if (a.length, a.digest) == (b.length, b.digest) && a.item == b.item => {
                    (one, two) = (&a.before, &b.before);
                }
                _ => return false,
            }
        }
    }
}

impl<T: Eq> Eq for Items<T> {}

impl<T> Hash for Items<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_ref().map(|link| link.digest).hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.newest(usize::MAX)).finish()
    }
}

/// One link after the other: the derived way calls itself for each, and a long list would overflow the stack.
impl<T> Drop for Items<T> {
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut link) = next.and_then(Rc::into_inner) {
            next = link.before.0.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(of: &[u32]) -> Items<u32> {
        of.iter().fold(Items::default(), |items, item| items.with(*item))
    }

    #[test]
    fn equal_items_are_equal_however_they_were_made() {
        assert_eq!(items(&[1, 2, 3]), items(&[1, 2]).with(3));
        for others in [&[][..], &[1], &[1, 2], &[1, 3], &[2, 1, 3], &[0, 2, 3], &[1, 2, 3, 4]] {
            assert_ne!(items(&[1, 2, 3]), items(others), "{others:?}");
        }
    }

    #[test]
    fn they_know_what_begins_with_them() {
        assert!(items(&[]).begins(&[1]));
        assert!(items(&[1, 2]).begins(&[1, 2, 3]));
        assert!(!items(&[1, 2]).begins(&[1]));
        assert!(!items(&[1, 2]).begins(&[2, 1, 3]));
    }

    #[test]
    fn a_million_of_them_can_be_dropped() {
        let long: Vec<u32> = (0..1_000_000).collect();
        let items = items(&long);
        assert_eq!(
            (items.len(), items.last(), items.newest(2)),
            (1_000_000, Some(&999_999), vec![&999_998, &999_999])
        );
    }
}
