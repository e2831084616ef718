//! Calls to an actor of which no replica runs, and that has one made when it is called: they are held, and the leader is
//! asked for it.
//!
//! Rules:
//! 1. So many calls are held for one actor, and more are told `overloaded` at once.
//! 2. The leader is asked at once, and again for as long as any call is held: what it was told may be lost, and so may the
//!    leader.
//! 3. A call is held until its deadline, and no longer than until the leader says what keeps a replica from running.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use lattice_proto::envelope::Wake;
use lattice_proto::subject::Inbox;
use lattice_proto::{ActorName, Incarnation};

use crate::membership::ToLeader;

/// Calls that are held for one actor; more are told that it is overloaded.
const AT_ONCE: u32 = 1024;

/// How often the leader is told of calls that are still held.
pub(super) const ASK: Duration = Duration::from_millis(100);

/// All calls that are held on this node.
pub(super) struct Holding {
    leader: ToLeader,
    own: Incarnation,
    started: Instant,
    actors: DashMap<ActorName, Arc<Waiting>>,
}

/// Calls that are held for one actor.
#[derive(Default)]
struct Waiting {
    calls: AtomicU32,
    /// In milliseconds after `Holding::started`, and one more; 0 for never.
    asked: AtomicU64,
}

/// One call being held. It counts for as long as this lives.
pub(super) struct Held<'a> {
    holding: &'a Holding,
    actor: &'a ActorName,
    waiting: Arc<Waiting>,
}

impl Holding {
    pub(super) fn new(leader: ToLeader, own: Incarnation) -> Self {
        Self { leader, own, started: Instant::now(), actors: DashMap::new() }
    }

    /// Holds one more call; none when there are too many.
    pub(super) fn enter<'a>(&'a self, actor: &'a ActorName) -> Option<Held<'a>> {
        // The count is taken under the entry's lock, so that whoever removes an empty entry cannot lose one.
        let waiting = {
            let entry = self.actors.entry(actor.clone()).or_default();
            if entry.calls.fetch_add(1, Ordering::Relaxed) >= AT_ONCE {
                entry.calls.fetch_sub(1, Ordering::Relaxed);
                return None;
            }
            entry.value().clone()
        };
        Some(Held { holding: self, actor, waiting })
    }
}

impl Held<'_> {
    /// Asks for a replica, unless that was done a moment ago.
    pub(super) async fn ask(&self) {
        let now = u64::try_from(self.holding.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let again = u64::try_from(ASK.as_millis()).unwrap_or(u64::MAX);
        let asked = self.waiting.asked.load(Ordering::Relaxed);
        if asked != 0 && now.saturating_sub(asked) < again {
            return;
        }
        // Whoever is first asks for all.
        if self.waiting.asked.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let held = self.waiting.calls.load(Ordering::Relaxed);
            let wake = Wake { origin: self.holding.own.clone(), actor: self.actor.clone(), held };
            self.holding.leader.tell(&Inbox::Wake, wake.encode()).await;
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.waiting.calls.fetch_sub(1, Ordering::Relaxed);
        self.holding.actors.remove_if(self.actor, |_, waiting| waiting.calls.load(Ordering::Relaxed) == 0);
    }
}
