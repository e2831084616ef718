//! All lines that this node keeps.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use dashmap::DashMap;
use lattice_proto::ActorName;
use lattice_proto::log::{Line, Query};
use tokio::sync::watch;

use super::limit::Limit;
use super::ring::{Found, Ring};
use crate::clock::{ServerClock, wall_ms};

/// Bytes of lines that a node keeps, of all actors together.
const ALL: usize = 64 << 20;

/// Bytes of one actor at most, and at least however many there are.
const MOST: usize = 1 << 20;
const LEAST: usize = 16 << 10;

/// Actors of which lines are kept. A name comes from the lattice's own records, so more are hardly ever seen.
const ACTORS: usize = 4_096;

/// A cheap handle on the lines of this node.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    clock: OnceLock<Arc<ServerClock>>,
    actors: DashMap<ActorName, Arc<Kept>>,
    /// How many of them there are, since asking the map takes all of its locks.
    count: AtomicUsize,
    own: Arc<Kept>,
    /// The number of the last line.
    last: AtomicU64,
    /// Tells whoever waits of each line.
    news: watch::Sender<u64>,
}

/// What is kept of one actor, or of the node.
struct Kept {
    /// Held to take a line in, and to copy some out.
    ring: Mutex<Ring>,
    limit: Mutex<Limit>,
}

impl Kept {
    fn new() -> Self {
        Self { ring: Mutex::default(), limit: Mutex::new(Limit::new(Instant::now())) }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self(Arc::new(Shared {
            clock: OnceLock::new(),
            actors: DashMap::new(),
            count: AtomicUsize::new(0),
            own: Arc::new(Kept::new()),
            last: AtomicU64::new(0),
            news: watch::Sender::new(0),
        }))
    }
}

impl Store {
    /// Tells the time by the server's clock from now on, so that the lines of all nodes can be put in order.
    pub fn tell_time_by(&self, clock: Arc<ServerClock>) {
        // A node has one.
        let _ = self.0.clock.set(clock);
    }

    /// The time by which lines are put in order.
    pub fn now_ms(&self) -> u64 {
        let now = self.0.clock.get().map_or_else(wall_ms, |clock| clock.now_ms());
        u64::try_from(now).unwrap_or(0)
    }

    /// Whether a guest of this actor may write one more line; the number of those that were too many, where that is to be told.
    pub(super) fn admits(&self, actor: &ActorName, bytes: usize) -> (bool, Option<u64>) {
        let now = Instant::now();
        let kept = self.kept(Some(actor));
        let mut limit = kept.limit.lock().unwrap_or_else(PoisonError::into_inner);
        (limit.admits(bytes, now), limit.to_tell(now))
    }

    /// How many lines of this actor were too many, where that is to be told although it writes nothing more.
    pub(super) fn dropped(&self) -> Vec<(ActorName, u64)> {
        let now = Instant::now();
        let told = self.0.actors.iter().filter_map(|entry| {
            let mut limit = entry.value().limit.lock().unwrap_or_else(PoisonError::into_inner);
            limit.to_tell(now).map(|count| (entry.key().clone(), count))
        });
        told.collect()
    }

    /// Keeps a line; its time and number are given to it.
    pub fn keep(&self, mut line: Line) {
        line.at_ms = self.now_ms();
        let kept = self.kept(line.actor.as_ref());
        let most = (ALL / (self.0.count.load(Ordering::Relaxed) + 1)).clamp(LEAST, MOST);
        {
            let mut ring = kept.ring.lock().unwrap_or_else(PoisonError::into_inner);
            // Numbers are given under the lock, so that they grow within a ring.
            line.number = self.0.last.fetch_add(1, Ordering::Relaxed) + 1;
            ring.push(Arc::new(line), most);
        }
        self.0.news.send_replace(self.0.last.load(Ordering::Relaxed));
    }

    /// What a query asks for, as far as it is there.
    pub(super) fn find(&self, query: &Query, most: usize, most_bytes: usize) -> Found {
        let kept = match &query.actor {
            Some(actor) => self.0.actors.get(actor).map(|kept| kept.clone()),
            None => Some(self.0.own.clone()),
        };
        match kept {
            Some(kept) => {
                let ring = kept.ring.lock().unwrap_or_else(PoisonError::into_inner);
                ring.find(query, most, most_bytes)
            }
            None => Found { lines: Vec::new(), next: query.after.unwrap_or(0), more: false, lost: 0 },
        }
    }

    /// Hears of new lines, of whomever they are.
    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        self.0.news.subscribe()
    }

    fn kept(&self, actor: Option<&ActorName>) -> Arc<Kept> {
        let Some(actor) = actor else { return self.0.own.clone() };
        if let Some(kept) = self.0.actors.get(actor) {
            return kept.clone();
        }
        if self.0.count.load(Ordering::Relaxed) >= ACTORS {
            // The one that has least to say goes.
            let lean = self.0.actors.iter().min_by_key(|entry| {
                entry.value().ring.lock().unwrap_or_else(PoisonError::into_inner).bytes()
            });
            let lean = lean.map(|entry| entry.key().clone());
            if let Some(lean) = lean
                && self.0.actors.remove(&lean).is_some()
            {
                self.0.count.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let new = || {
            self.0.count.fetch_add(1, Ordering::Relaxed);
            Arc::new(Kept::new())
        };
        self.0.actors.entry(actor.clone()).or_insert_with(new).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_actors_and_of_the_node_are_kept_apart() {
        let store = Store::default();
        let actor: ActorName = "cart".parse().unwrap();
        store.keep(Line { actor: Some(actor.clone()), text: "of the cart".into(), ..Line::default() });
        store.keep(Line { text: "own".into(), ..Line::default() });
        let texts = |query: &Query| {
            let found = store.find(query, 10, 1 << 20);
            found.lines.iter().map(|line| line.text.clone()).collect::<Vec<_>>()
        };
        assert_eq!(texts(&Query { actor: Some(actor), ..Query::default() }), ["of the cart"]);
        assert_eq!(texts(&Query::default()), ["own"]);
        assert_eq!(texts(&Query { actor: Some("other".parse().unwrap()), ..Query::default() }), [""; 0]);
    }

    #[test]
    fn there_is_room_for_so_many_actors_and_no_more() {
        let store = Store::default();
        for number in 0..ACTORS + 10 {
            let actor = format!("a{number}").parse().unwrap();
            store.keep(Line { actor: Some(actor), text: "x".repeat(10), ..Line::default() });
        }
        assert!(store.0.actors.len() <= ACTORS);
        assert_eq!(store.0.actors.len(), store.0.count.load(Ordering::Relaxed));
    }
}
