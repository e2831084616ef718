//! All lines that this node keeps.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use dashmap::DashMap;
use lattice_proto::ActorName;
use lattice_proto::log::{Line, Query};
use tokio::sync::watch;

use super::limit::{GUESTS, Limit, NODE};
use super::ring::{Found, Ring};
use crate::clock::{ServerClock, wall_ms};

/// Bytes of lines that a node keeps, of all actors together.
const ALL: usize = 64 << 20;

/// Bytes of one actor.
const MOST: usize = 1 << 20;

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
    /// Bytes of all rings together.
    bytes: AtomicUsize,
    /// Tells whoever waits for an actor of which there is nothing yet of each new one.
    news: watch::Sender<()>,
}

/// What is kept of one actor, or of the node.
struct Kept {
    /// Held to take a line in, and to copy some out.
    ring: Mutex<Ring>,
    limit: Mutex<Limit>,
    /// For what the node says of the actor.
    about: Mutex<Limit>,
    /// Tells whoever waits of each line.
    news: watch::Sender<()>,
}

impl Kept {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            ring: Mutex::default(),
            limit: Mutex::new(Limit::new(GUESTS, now)),
            about: Mutex::new(Limit::new(NODE, now)),
            news: watch::Sender::new(()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Store {
    fn default() -> Self {
        Self(Arc::new(Shared {
            clock: OnceLock::new(),
            actors: DashMap::new(),
            count: AtomicUsize::new(0),
            own: Arc::new(Kept::new()),
            last: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            news: watch::Sender::new(()),
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

    /// Whether a guest of this actor may write one more line of so many bytes.
    pub(super) fn admits(&self, actor: &ActorName, bytes: usize) -> bool {
        lock(&self.kept(Some(actor)).limit).admits(bytes, Instant::now())
    }

    /// A line that a guest of this actor was admitted to write has so many bytes more.
    pub(super) fn charge(&self, actor: &ActorName, bytes: usize) {
        lock(&self.kept(Some(actor)).limit).charge(bytes);
    }

    /// Whether the node may say one more thing of an actor; of its own business it says little.
    pub(super) fn admits_about(&self, actor: Option<&ActorName>, bytes: usize) -> bool {
        let Some(actor) = actor else { return true };
        lock(&self.kept(Some(actor)).about).admits(bytes, Instant::now())
    }

    /// How many lines of each actor were too many since that was asked last, its own and those about it.
    pub(super) fn dropped(&self) -> Vec<(ActorName, u64)> {
        let dropped = self.0.actors.iter().map(|entry| {
            let Kept { limit, about, .. } = &**entry.value();
            (entry.key().clone(), lock(limit).dropped() + lock(about).dropped())
        });
        dropped.filter(|(_, count)| *count > 0).collect()
    }

    /// Keeps a line; its time and number are given to it.
    pub fn keep(&self, mut line: Line) {
        let kept = self.kept(line.actor.as_ref());
        let (before, after) = {
            let mut ring = lock(&kept.ring);
            let before = ring.bytes();
            // Given under the lock, so that times and numbers grow within a ring.
            line.at_ms = self.now_ms();
            line.number = self.0.last.fetch_add(1, Ordering::Relaxed) + 1;
            ring.push(Arc::new(line), MOST);
            (before, ring.bytes())
        };
        if self.grows(before, after) > ALL {
            self.make_room();
        }
        kept.news.send_replace(());
    }

    /// A ring had so many bytes and has so many now; gives what all of them have.
    fn grows(&self, before: usize, after: usize) -> usize {
        match after.checked_sub(before) {
            Some(more) => self.0.bytes.fetch_add(more, Ordering::Relaxed) + more,
            None => self.0.bytes.fetch_sub(before - after, Ordering::Relaxed) - (before - after),
        }
    }

    /// The actor that has most loses half of it.
    fn make_room(&self) {
        let bytes = |kept: &Kept| lock(&kept.ring).bytes();
        let largest = self.0.actors.iter().max_by_key(|entry| bytes(entry.value()));
        let Some(largest) = largest.map(|entry| entry.value().clone()) else { return };
        let (before, after) = {
            let mut ring = lock(&largest.ring);
            let before = ring.bytes();
            ring.shrink(before / 2);
            (before, ring.bytes())
        };
        self.grows(before, after);
    }

    /// What a query asks for, as far as it is there.
    pub(super) fn find(&self, query: &Query, most: usize, most_bytes: usize) -> Found {
        let kept = match &query.actor {
            Some(actor) => self.0.actors.get(actor).map(|kept| kept.clone()),
            None => Some(self.0.own.clone()),
        };
        match kept {
            Some(kept) => {
                let ring = lock(&kept.ring);
                ring.find(query, most, most_bytes)
            }
            None => Found { lines: Vec::new(), next: query.after.unwrap_or(0), more: false, lost: 0 },
        }
    }

    /// Hears of new lines of an actor, or of the node. Where there is nothing of the actor yet, of each that is new.
    pub(super) fn follow(&self, actor: Option<&ActorName>) -> watch::Receiver<()> {
        match actor {
            None => self.0.own.news.subscribe(),
            Some(actor) => match self.0.actors.get(actor) {
                Some(kept) => kept.news.subscribe(),
                None => self.0.news.subscribe(),
            },
        }
    }

    fn kept(&self, actor: Option<&ActorName>) -> Arc<Kept> {
        let Some(actor) = actor else { return self.0.own.clone() };
        if let Some(kept) = self.0.actors.get(actor) {
            return kept.clone();
        }
        if self.0.count.load(Ordering::Relaxed) >= ACTORS {
            // The one that has least to say goes.
            let lean = self.0.actors.iter().min_by_key(|entry| lock(&entry.value().ring).bytes());
            let lean = lean.map(|entry| entry.key().clone());
            if let Some(lean) = lean
                && let Some((_, gone)) = self.0.actors.remove(&lean)
            {
                self.0.count.fetch_sub(1, Ordering::Relaxed);
                self.grows(lock(&gone.ring).bytes(), 0);
            }
        }
        let new = || {
            self.0.count.fetch_add(1, Ordering::Relaxed);
            Arc::new(Kept::new())
        };
        let kept = self.0.actors.entry(actor.clone()).or_insert_with(new).clone();
        self.0.news.send_replace(());
        kept
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
    fn what_was_left_out_is_told_once_of_guests_and_of_the_node() {
        let (store, actor) = (Store::default(), "cart".parse().unwrap());
        let said = (0..2_010).filter(|_| store.admits(&actor, 1)).count();
        let told = (0..210).filter(|_| store.admits_about(Some(&actor), 1)).count();
        let dropped = (2_010 - said + 210 - told) as u64;
        assert!(dropped > 0 && store.dropped() == [(actor, dropped)]);
        assert!(store.dropped().is_empty());
    }

    #[test]
    fn one_actor_keeps_a_mebibyte_and_no_more() {
        let (store, actor) = (Store::default(), "cart".parse::<ActorName>().unwrap());
        for _ in 0..200 {
            store.keep(Line { actor: Some(actor.clone()), text: "x".repeat(16 << 10), ..Line::default() });
        }
        let bytes = store.0.bytes.load(Ordering::Relaxed);
        assert!((MOST / 2..=MOST).contains(&bytes), "{bytes}");
    }

    #[test]
    fn all_of_them_together_have_so_many_bytes_and_no_more() {
        let store = Store::default();
        let text = "x".repeat(16 << 10);
        for number in 0..100 {
            let actor: ActorName = format!("a{number}").parse().unwrap();
            for _ in 0..100 {
                store.keep(Line { actor: Some(actor.clone()), text: text.clone(), ..Line::default() });
            }
        }
        let all: usize = store.0.actors.iter().map(|entry| entry.value().ring.lock().unwrap().bytes()).sum();
        assert_eq!(all, store.0.bytes.load(Ordering::Relaxed));
        assert!(all <= ALL + MOST, "{all}");
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
