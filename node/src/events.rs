//! What happens in the lattice, told to whoever wants to know. It never holds up what it tells of.
//!
//! ```text
//! leader, agents, declarations ─▶ queue (bounded) ─▶ one task ─▶ stream lat_<lattice>_events ─▶ WatchEvents
//! ```
//!
//! Rules:
//! 1. Telling never waits and never fails. When the queue is full, or NATS stays away, the event is dropped and counted.
//! 2. One task writes, one event after the other, so that what one node tells is stored in the order in which it was told.
//! 3. What two leaders in a row may both tell bears an id, by which the stream takes it once within two minutes.
//! 4. Crashes of one actor are gathered: at most one event in a few seconds tells of them, with their number.
//! 5. Nothing is decided by an event. What is so stands in the records; an event may be missing.

mod archive;
mod burst;
mod tell;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lattice_proto::event::{self, Event, Kind};
use lattice_proto::{ActorName, NodeName};
use tokio::sync::mpsc;

use self::burst::Bursts;
use crate::clock::ServerClock;
use crate::telemetry::Counters;

pub use archive::{Archive, ReadError, Reading, Selection, Told};
pub use tell::node_change;
pub use writer::Writer;

/// Events that wait to be written. A lattice of a thousand nodes may lose all of them in one moment; more than that are
/// dropped and counted.
const QUEUE: usize = 1_024;

/// A cheap handle for whoever has something to tell.
#[derive(Clone)]
pub struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeName,
    clock: Arc<ServerClock>,
    counters: Counters,
    queue: mpsc::Sender<News>,
    /// Held for a look into a map only. Many replicas may crash at once, and none of them waits for NATS.
    bursts: Mutex<Bursts>,
}

/// An event on its way.
struct News {
    event: Event,
    /// By which the stream knows it again.
    id: String,
    told: Instant,
}

impl Events {
    /// A handle, and the task that writes what is told through it.
    pub fn new(node: NodeName, clock: Arc<ServerClock>, counters: Counters) -> (Self, Writer) {
        let (queue, news) = mpsc::channel(QUEUE);
        let shared = Shared { node, clock, counters, queue, bursts: Mutex::default() };
        let events = Self { shared: Arc::new(shared) };
        (events.clone(), Writer::new(events, news))
    }

    /// Replicas of an actor ended by themselves; `why` is a sentence without its end.
    pub fn crashed(&self, actor: &ActorName, why: &str) {
        let due = self.bursts(|bursts| bursts.crashed(actor, why, Instant::now()));
        self.tell_crashes(due);
    }

    fn tell_crashes(&self, due: impl IntoIterator<Item = burst::Due>) {
        for burst::Due { actor, count, why } in due {
            let text = match count {
                1 => format!("a replica crashed: {why}"),
                _ => format!("replicas crashed {count} times, the last one: {why}"),
            };
            self.tell(Event { count, ..self.event(Kind::ActorCrashed, &actor, &text) }, None);
        }
    }

    fn bursts<T>(&self, look: impl FnOnce(&mut Bursts) -> T) -> T {
        look(&mut self.shared.bursts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn event(&self, kind: Kind, subject: &impl ToString, text: &str) -> Event {
        Event {
            at_ms: u64::try_from(self.shared.clock.now_ms()).unwrap_or(0),
            node: self.shared.node.clone(),
            kind,
            subject: subject.to_string(),
            revision: None,
            count: 1,
            text: event::text(text),
        }
    }

    /// Rule 1. The same `once` for the same kind and subject is stored once. False where there was no room for it.
    fn tell(&self, event: Event, once: Option<&str>) -> bool {
        let id = match once {
            Some(once) => format!("{}.{}.{once}", event.kind, event.subject),
            None => uuid::Uuid::now_v7().simple().to_string(),
        };
        let told = self.shared.queue.try_send(News { event, id, told: Instant::now() }).is_ok();
        if !told {
            self.shared.counters.events_dropped();
        }
        told
    }
}
