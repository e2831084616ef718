//! The records of keys that went to sleep on this node: one that wakes here again is claimed without being read first.
//!
//! A claim counts only if it is stored, whatever it is built on, so what is remembered may be out of date. It is not used where
//! another owner may have been in between, nor after the connection was, since a server that lost its data counts anew.

use std::sync::Arc;

use lattice_proto::ActorId;
use lattice_proto::state::State;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::{letter_bytes, reminder_bytes};

/// What all of them may take, in bytes, and how many there are likely to be.
const ROOM: u64 = 32 << 20;
const LIKELY: usize = 10_000;

/// What one takes besides what it holds, in bytes, about.
const EACH: usize = 512;

/// A record, as its owner left it.
#[derive(Debug, Clone)]
pub struct Left {
    /// Its revision in the store.
    pub sequence: u64,
    /// The generation of the connection in which it was written.
    pub generation: u64,
    /// What it says.
    pub record: State,
}

/// A cheap handle on all of them.
#[derive(Clone)]
pub(super) struct Slept(Arc<Cache<ActorId, Left, BySize>>);

#[derive(Clone)]
struct BySize;

impl Weighter<ActorId, Left> for BySize {
    fn weight(&self, _: &ActorId, left: &Left) -> u64 {
        let record = &left.record;
        let reminders: usize = record.reminders.iter().map(|known| reminder_bytes(known.payload.len())).sum();
        let letters: usize = record.outbox.iter().map(|letter| letter_bytes(letter.payload.len())).sum();
        (EACH + record.state.as_ref().map_or(0, |state| state.len()) + reminders + letters) as u64
    }
}

impl Default for Slept {
    fn default() -> Self {
        Self(Arc::new(Cache::with_weighter(LIKELY, ROOM, BySize)))
    }
}

impl Slept {
    /// A key has gone to sleep.
    pub fn put(&self, actor: ActorId, left: Left) {
        self.0.insert(actor, left);
    }

    /// What a key that wakes in this epoch left behind, if nobody else can have had it meanwhile.
    pub fn take(&self, actor: &ActorId, epoch: u64, generation: u64) -> Option<Left> {
        let (_, left) = self.0.remove(actor)?;
        (left.record.epoch == epoch && left.generation == generation).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use lattice_proto::Incarnation;
    use lattice_proto::state::WriteId;

    use super::*;

    fn left(epoch: u64, generation: u64, bytes: usize) -> Left {
        let record = State::new(epoch, Incarnation::generate(), WriteId::new([0; 16]));
        Left { sequence: 7, generation, record: State { state: Some(vec![0; bytes].into()), ..record } }
    }

    fn actor(key: &str) -> ActorId {
        format!("cart/{key}").parse().unwrap()
    }

    #[test]
    fn it_is_used_once_and_only_where_nobody_was_in_between() {
        let slept = Slept::default();
        for (epoch, generation) in [(2, 1), (1, 2)] {
            slept.put(actor("a"), left(1, 1, 10));
            assert!(slept.take(&actor("a"), epoch, generation).is_none(), "{epoch} {generation}");
        }
        slept.put(actor("a"), left(1, 1, 10));
        assert_eq!(slept.take(&actor("a"), 1, 1).map(|left| left.sequence), Some(7));
        assert!(slept.take(&actor("a"), 1, 1).is_none());
    }

    #[test]
    fn it_takes_no_more_than_its_room() {
        let slept = Slept::default();
        for key in 0..200 {
            slept.put(actor(&key.to_string()), left(1, 1, 1 << 20));
        }
        assert!(slept.0.weight() <= ROOM, "{}", slept.0.weight());
    }
}
