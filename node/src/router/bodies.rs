//! Bodies of HTTP requests and of their answers between this node and one other, where they are too large to go with their heads.
//!
//! | who | says | when |
//! |---|---|---|
//! | the sender | data | as far as the reader has room |
//! | | still | when there was nothing to be sent for [`BEAT`] |
//! | | close, or broken | at the end |
//! | the reader | credit | when half of its room is free again, and whenever it is asked |
//! | | left | when nobody reads the rest |
//!
//! Rules:
//! 1. Beside what there was when the head was sent, neither end holds more of a body than the room of its reader, which is [`ROOM`], or [`LARGE_ROOM`] where this node has it to give.
//! 2. NATS may lose a frame. The next one tells, by its position, and the body breaks off: what was read is never wrong, and never less
//!    than it seems.
//! 3. Who hears nothing from the other end for [`SILENCE`] gives up. A node that is lost is noticed sooner, by the pings that calls have
//!    as well.

mod arriving;
mod leaving;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lattice_proto::Incarnation;
use lattice_proto::http::{BodyId, Frame, What};
use lattice_proto::subject::Subjects;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use crate::bus::Connection;

pub(super) use arriving::Arriving;
use arriving::Inlet;
pub(super) use leaving::Leaving;
use leaving::Told;

/// What a reader has room for at first, in what [`lattice_proto::http::cost`] counts.
const ROOM: u64 = 32 << 10;

/// The same for a body of which that much was read, where there is room on the node.
const LARGE_ROOM: u64 = 512 << 10;

/// How many bodies may have that at once.
const LARGE: usize = 64;

/// The most bytes of a body in one frame, so that it fits into what async-nats reads at once.
const CHUNK: usize = 31 << 10;

/// How often a sender that has nothing to send says so.
const BEAT: Duration = Duration::from_secs(5);

/// How long the other end may say nothing.
const SILENCE: Duration = Duration::from_secs(16);

/// What the bodies to and from all nodes share.
pub(super) struct Common {
    bus: Connection,
    own: Incarnation,
    /// Numbers the requests of this incarnation.
    numbers: AtomicU64,
    /// What is being sent.
    pub tasks: TaskTracker,
    /// For bodies that have more of it.
    large: Arc<Semaphore>,
}

/// A cheap handle on the bodies to and from one node.
#[derive(Clone)]
pub(super) struct Bodies {
    shared: Arc<Shared>,
}

struct Shared {
    common: Arc<Common>,
    subject: String,
    /// Held for a few operations on collections, never while anything is sent.
    open: Mutex<Open>,
}

/// Those that have not ended. Bounded by the requests that a node handles at once.
#[derive(Default)]
struct Open {
    arriving: HashMap<BodyId, Arc<Inlet>>,
    leaving: HashMap<BodyId, watch::Sender<Told>>,
}

impl Common {
    pub fn new(bus: Connection, own: Incarnation) -> Self {
        let large = Arc::new(Semaphore::new(LARGE));
        Self { bus, own, numbers: AtomicU64::new(1), tasks: TaskTracker::new(), large }
    }
}

impl Bodies {
    pub fn new(common: Arc<Common>, subjects: &Subjects, peer: &Incarnation) -> Self {
        let subject = subjects.body(peer);
        Self { shared: Arc::new(Shared { common, subject, open: Mutex::default() }) }
    }

    /// The number of a new request.
    pub fn number(&self) -> u64 {
        self.shared.common.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The largest part of a body that goes in one message.
    pub fn chunk(&self) -> usize {
        CHUNK.min(self.shared.common.bus.max_payload() / 2)
    }

    /// Does what the node waits for when it ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.common.tasks.spawn(task);
    }

    /// Whether any has not ended.
    pub fn is_open(&self) -> bool {
        let open = self.open();
        !open.arriving.is_empty() || !open.leaving.is_empty()
    }

    /// A frame came from the node.
    pub async fn deliver(&self, id: BodyId, what: What) {
        let answer = {
            let mut open = self.open();
            match what {
                What::Credit(until) => {
                    if let Some(leaving) = open.leaving.get(&id) {
                        leaving.send_modify(|told| told.hears(until));
                    }
                    None
                }
                // Whoever sends it sees that nobody is there any more.
                What::Left => {
                    open.leaving.remove(&id);
                    None
                }
                what => match open.arriving.get(&id) {
                    Some(inlet) => inlet.take(what),
                    None => matches!(what, What::Data(..) | What::Still(_)).then_some(What::Left),
                },
            }
        };
        if let Some(answer) = answer {
            self.say(id, answer).await;
        }
    }

    /// The node is lost, and with it what it sends and reads.
    pub fn lose(&self) {
        let Open { arriving, leaving } = std::mem::take(&mut *self.open());
        for inlet in arriving.into_values() {
            inlet.breaks("the node that sends it is gone");
        }
        drop(leaving);
    }

    /// Says something of a body. Lost without a word while there is no connection; the other end notices.
    fn say(&self, body: BodyId, what: What) -> impl Future<Output = ()> + Send + use<> {
        let shared = self.shared.clone();
        async move {
            let Common { bus, own, .. } = &*shared.common;
            bus.publish(shared.subject.clone(), Frame { origin: own.clone(), body, what }.encode()).await;
        }
    }

    /// The same, of a body that is left: nobody waits until it is said.
    fn say_last(&self, body: BodyId, what: What) {
        self.spawn(self.say(body, what));
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
