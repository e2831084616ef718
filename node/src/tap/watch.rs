//! Who watches on this node, and what there is to see.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::ActorName;
use lattice_proto::tap::Query;
use tokio::sync::{Notify, mpsc};

use super::hide::Fields;
use super::seen::{Held, Seen, Tapped};
use crate::clock::ServerClock;
use crate::replica::{Cause, Message, TurnContext};

/// Those who may watch on one node at once: each message of a watched actor is looked at for each of them.
const TAPS: usize = 32;

/// How long somebody is watched for who does not ask any more.
const FORGET: Duration = Duration::from_secs(30);

/// Messages that wait to be made into text.
const QUEUE: usize = 256;

/// Messages and bytes that wait for one who watches.
const BOX: usize = 500;
const BOX_BYTES: usize = 1 << 20;

/// All who watch on this node. A cheap handle.
#[derive(Clone)]
pub struct Taps(Arc<Shared>);

struct Shared {
    clock: Arc<ServerClock>,
    /// How many there are, for whoever has a message and nobody to show it to.
    count: AtomicUsize,
    /// Read by messages while somebody watches, and written when that changes.
    all: RwLock<Vec<Arc<Tap>>>,
    queue: mpsc::Sender<(Vec<Arc<Tap>>, Box<Seen>)>,
}

/// One who watches.
pub(super) struct Tap {
    query: Query,
    fields: Fields,
    /// Held for a look only.
    state: Mutex<State>,
    news: Notify,
}

struct State {
    asked: Instant,
    /// Messages that may be shown now. It fills by so many in a second.
    room: f64,
    filled: Instant,
    waiting: VecDeque<Bytes>,
    bytes: usize,
    skipped: u64,
}

/// What somebody is told who asks.
pub(super) struct Given {
    pub messages: Vec<Bytes>,
    pub skipped: u64,
}

impl Taps {
    /// Nobody watches yet. The queue is for [`run`](Self::run).
    pub fn new(clock: Arc<ServerClock>) -> (Self, Shows) {
        let (queue, shown) = mpsc::channel(QUEUE);
        (
            Self(Arc::new(Shared { clock, count: AtomicUsize::new(0), all: RwLock::default(), queue })),
            Shows(shown),
        )
    }

    /// A message that somebody watches; none where nobody does.
    pub fn see(&self, context: &TurnContext, message: &Message, version: u64) -> Option<Box<Tapped>> {
        if self.0.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.look(context, message, version)
    }

    #[cold]
    fn look(&self, context: &TurnContext, message: &Message, version: u64) -> Option<Box<Tapped>> {
        let cause = match &message.cause {
            Cause::Call => "call",
            Cause::Http(_) => "http",
            Cause::Topic(_) => "topic",
            Cause::Link(_) => "link",
            Cause::Letter(_) => "letter",
            Cause::Reminder(_) => "reminder",
            Cause::Timer(_) => "timer",
            // These are no messages of the actor's.
            Cause::Show(_) | Cause::Skip(_) | Cause::GiveUp(..) | Cause::Overwrite(_) => return None,
        };
        let all = self.0.all.read().unwrap_or_else(PoisonError::into_inner);
        let by: Vec<_> =
            all.iter().filter(|tap| tap.wants(context, message) && tap.admits()).cloned().collect();
        drop(all);
        if by.is_empty() {
            return None;
        }
        let seen = Seen {
            at_ms: u64::try_from(self.0.clock.now_ms()).unwrap_or(0),
            actor: context.actor.clone(),
            operation: message.operation.clone(),
            caller: message.caller.clone(),
            cause,
            id: context.id.clone(),
            trace: context.trace.as_ref().map(|scope| scope.context.parent.trace_id),
            attempt: message.attempt,
            version,
            took_us: 0,
            content_type: message.content_type.clone(),
            payload: Held::new(&message.payload),
            outcome: Ok(Held::default()),
        };
        Some(Box::new(Tapped::new(self.clone(), by, seen)))
    }

    /// Takes a message to be made into text, if there is room for it.
    pub(super) fn hand_on(&self, by: Vec<Arc<Tap>>, seen: Box<Seen>) {
        if let Err(full) = self.0.queue.try_send((by, seen)) {
            let (mpsc::error::TrySendError::Full((by, _)) | mpsc::error::TrySendError::Closed((by, _))) =
                full;
            by.iter().for_each(|tap| tap.state().skipped += 1);
        }
    }

    /// Who asks is one who watches from now on.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn asked(&self, query: &Query) -> Result<Arc<Tap>, &'static str> {
        let mut all = self.0.all.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(tap) = all.iter().find(|tap| tap.query.id == query.id) {
            tap.state().asked = Instant::now();
            return Ok(tap.clone());
        }
        if all.len() >= TAPS {
            return Err("too many watch actors on this node already");
        }
        let tap = Arc::new(Tap::new(query.clone()));
        // What it would have been shown meanwhile nobody has counted.
        tap.state().skipped = u64::from(query.again);
        all.push(tap.clone());
        self.0.count.store(all.len(), Ordering::Relaxed);
        Ok(tap)
    }

    /// Forgets those who do not ask any more.
    pub(super) fn forget(&self) {
        if self.0.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut all = self.0.all.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|tap| tap.state().asked.elapsed() < FORGET);
        self.0.count.store(all.len(), Ordering::Relaxed);
    }

    /// Actors that are watched, for a look from outside.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }
}

/// Makes messages into text, one after the other.
pub struct Shows(mpsc::Receiver<(Vec<Arc<Tap>>, Box<Seen>)>);

impl Shows {
    /// Goes on for as long as the node runs.
    pub async fn run(mut self) {
        while let Some((by, seen)) = self.0.recv().await {
            // Arguments may take milliseconds, in which nobody else on this thread is to be held up.
            let show = {
                let by = by.clone();
                move || by.iter().for_each(|tap| tap.take_in(seen.show(&tap.fields).encode()))
            };
            if tokio::task::spawn_blocking(show).await.is_err() {
                by.iter().for_each(|tap| tap.state().skipped += 1);
            }
        }
    }
}

impl Tap {
    fn new(query: Query) -> Self {
        let (fields, now) = (Fields::new(&query.hide), Instant::now());
        let room = f64::from(query.per_second);
        let state = State { asked: now, room, filled: now, waiting: VecDeque::new(), bytes: 0, skipped: 0 };
        Self { query, fields, state: Mutex::new(state), news: Notify::new() }
    }

    fn wants(&self, context: &TurnContext, message: &Message) -> bool {
        let Query { actor, key, operation, .. } = &self.query;
        let is_of = |name: &ActorName| *name == context.actor.name;
        is_of(actor)
            && key.as_ref().is_none_or(|key| context.actor.key.as_ref() == Some(key))
            && operation.as_ref().is_none_or(|operation| *operation == message.operation)
    }

    /// Whether one more may be shown now.
    fn admits(&self) -> bool {
        let (mut state, now, most) = (self.state(), Instant::now(), f64::from(self.query.per_second));
        let filled = (now - state.filled).as_secs_f64() * most;
        (state.room, state.filled) = ((state.room + filled).min(most), now);
        let admits = state.room >= 1.0;
        match admits {
            true => state.room -= 1.0,
            false => state.skipped += 1,
        }
        admits
    }

    fn take_in(&self, message: Bytes) {
        let mut state = self.state();
        if state.waiting.len() >= BOX || state.bytes + message.len() > BOX_BYTES {
            state.skipped += 1;
        } else {
            state.bytes += message.len();
            state.waiting.push_back(message);
        }
        drop(state);
        self.news.notify_one();
    }

    /// Returns when there is a message.
    pub async fn has_some(&self) {
        while self.state().waiting.is_empty() {
            // One that came since is remembered.
            self.news.notified().await;
        }
    }

    /// What there is, of at most so many bytes; what was skipped is told once.
    pub fn give(&self, most: usize) -> Given {
        let (mut state, mut messages, mut bytes) = (self.state(), Vec::new(), 0);
        while let Some(next) = state.waiting.front()
            && (messages.is_empty() || bytes + next.len() + 8 <= most)
        {
            bytes += next.len() + 8;
            state.bytes -= next.len();
            messages.extend(state.waiting.pop_front());
        }
        Given { messages, skipped: std::mem::take(&mut state.skipped) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(id: u128, per_second: u32) -> Query {
        Query {
            id,
            actor: "cart".parse().unwrap(),
            key: None,
            operation: None,
            per_second,
            hide: Vec::new(),
            wait_ms: 0,
            again: false,
        }
    }

    #[test]
    fn so_many_watch_and_no_more() {
        let (taps, _shows) = Taps::new(Arc::default());
        for id in 0..100 {
            assert_eq!(taps.asked(&query(id, 1)).is_ok(), id < TAPS as u128);
            assert!(taps.asked(&query(0, 1)).is_ok(), "who watches already may ask again");
        }
        assert_eq!(taps.count(), TAPS);
    }

    #[test]
    fn whoever_does_not_ask_any_more_is_forgotten_and_told_so() {
        let (taps, _shows) = Taps::new(Arc::default());
        let (asks, gone) = (taps.asked(&query(1, 1)).unwrap(), taps.asked(&query(2, 1)).unwrap());
        let long_ago = Instant::now().checked_sub(2 * FORGET).unwrap();
        (asks.state().asked, gone.state().asked) = (long_ago, long_ago);
        taps.asked(&query(1, 1)).unwrap();
        taps.forget();
        assert_eq!(taps.count(), 1);
        let again = Query { again: true, ..query(2, 1) };
        assert_eq!(taps.asked(&again).unwrap().give(1_000).skipped, 1, "something may be missing");
        assert_eq!(taps.asked(&query(3, 1)).unwrap().give(1_000).skipped, 0);
    }

    #[test]
    fn what_is_too_much_is_left_out_and_counted() {
        let tap = Tap::new(query(1, 10));
        let admitted = (0..1_000).filter(|_| tap.admits()).count();
        assert!((10..=12).contains(&admitted), "{admitted}");
        (0..BOX + 7).for_each(|_| tap.take_in(Bytes::from_static(b"x")));
        let given = tap.give(1 << 20);
        assert_eq!(given.messages.len(), BOX);
        assert_eq!(given.skipped, 1_000 - admitted as u64 + 7);
        assert_eq!((tap.give(1 << 20).skipped, tap.state().bytes), (0, 0));
        (0..10).for_each(|_| tap.take_in(Bytes::from(vec![0; 200 << 10])));
        assert_eq!(tap.state().waiting.len(), 5, "they have a megabyte");
        assert_eq!(tap.give(1).messages.len(), 1, "one is given in any case");
    }
}
