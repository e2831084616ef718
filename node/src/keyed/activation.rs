//! One key, awake: claimed, woken with its state, and served until it is idle, or belongs to somebody else.

mod life;
mod waking;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lattice_proto::ActorId;
use lattice_proto::shard::Shard;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::Keyed;
use crate::engine::{Compiled, Home};
use crate::replica::{InFlight, Refusal, Turn};
use waking::Life;

/// How often the turns of one that is to end are looked at.
const WATCH: Duration = Duration::from_millis(100);

/// The turns of the present instance.
pub(super) type Activity = Arc<Mutex<Arc<InFlight>>>;

/// One key of a keyed actor on this node.
pub(super) struct Activation {
    /// In which epoch of its shard it was made.
    pub epoch: u64,
    pub shard: Shard,
    /// Taken when it is to end: a closed mailbox is drained first.
    mailbox: Mutex<Option<mpsc::Sender<Turn>>>,
    load: Arc<AtomicU32>,
    in_flight: Activity,
    /// When it last got a message, in milliseconds since `born`.
    used: AtomicU64,
    born: Instant,
    ended: watch::Receiver<bool>,
    /// Whether it has a place among those that may be awake.
    placed: Arc<AtomicBool>,
    /// Whether it is claimed, and has no letters left to post.
    posted: watch::Receiver<bool>,
    _task: AbortOnDropHandle<()>,
}

/// What an activation is made of.
pub(super) struct Parts {
    pub actor: ActorId,
    pub shard: Shard,
    pub epoch: u64,
    pub compiled: Compiled,
    pub home: Arc<Home>,
    pub keyed: Keyed,
    /// Earlier activations of the key on this node, which must have ended first.
    pub earlier: Vec<Arc<Activation>>,
}

impl Activation {
    /// Begins one. Messages are taken at once, and wait until it is awake.
    pub fn start(parts: Parts) -> Self {
        let (mailbox, turns) = mpsc::channel(parts.home.settings.mailbox as usize);
        let in_flight = Arc::new(Mutex::new(Arc::<InFlight>::default()));
        let (over, ended) = watch::channel(false);
        let (epoch, shard) = (parts.epoch, parts.shard);
        let (to_post, posted) = watch::channel(false);
        let placed = Arc::<AtomicBool>::default();
        let began = Instant::now();
        let life =
            Life { parts, turns, posted: to_post, current: in_flight.clone(), placed: placed.clone(), began };
        let task = tokio::spawn(async move {
            life.live().await;
            over.send_replace(true);
        });
        Self {
            epoch,
            shard,
            mailbox: Mutex::new(Some(mailbox)),
            load: Arc::default(),
            in_flight,
            used: AtomicU64::new(0),
            born: began,
            ended,
            placed,
            posted,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Takes a turn, or gives it back at once.
    #[allow(
        clippy::result_large_err,
        reason = "what is given back is what was given, and boxing it would cost every call"
    )]
    pub fn admit(&self, mut turn: Turn) -> Result<(), Refusal> {
        turn.count_in(&self.load);
        let since = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used.store(since, Ordering::Relaxed);
        let mailbox = self.mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mailbox) = mailbox.as_ref() else { return Err(Refusal::NotHere(turn)) };
        mailbox.try_send(turn).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(turn) => Refusal::Overloaded(turn),
            mpsc::error::TrySendError::Closed(turn) => Refusal::NotHere(turn),
        })
    }

    /// Whether it could go to sleep: it has a place, and neither has anything to do nor is about to end.
    pub fn is_idle(&self) -> bool {
        let runs = || self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).running() > 0;
        self.placed.load(Ordering::Relaxed)
            && self.load() == 0
            && !self.is_closed()
            && !self.has_ended()
            && !runs()
    }

    /// Whether it is this one.
    pub fn is(&self, activity: &Activity) -> bool {
        Arc::ptr_eq(&self.in_flight, activity)
    }

    /// Takes nothing more; what it has is served. False when that was so before.
    pub fn close(&self) -> bool {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// Whether it takes nothing more.
    pub fn is_closed(&self) -> bool {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Turns that its present instance has answered.
    pub fn answered(&self) -> u64 {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).answered()
    }

    /// Waits until it has ended. Whoever waits is perhaps the only one that still sees it, so turns that never end are
    /// looked after here.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        let mut tick = tokio::time::interval(WATCH);
        loop {
            tokio::select! {
                // The sender goes with the task, which is over then as well.
                _ = ended.wait_for(|ended| *ended) => return,
                now = tick.tick() => self.watch(now.into_std()),
            }
        }
    }

    /// Waits until it has no letters left to post; false when it ended before.
    pub async fn has_posted(&self) -> bool {
        self.posted.clone().wait_for(|posted| *posted).await.is_ok()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow() || self.ended.has_changed().is_err()
    }

    /// Messages that wait or run.
    pub fn load(&self) -> u32 {
        self.load.load(Ordering::Relaxed)
    }

    /// Turns that are in its present instance.
    pub fn running(&self) -> u64 {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).running()
    }

    /// When it last got a message.
    pub fn used(&self) -> Instant {
        self.born + Duration::from_millis(self.used.load(Ordering::Relaxed))
    }

    /// Ends an instance whose turn overran.
    pub fn watch(&self, now: Instant) {
        let in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).clone();
        in_flight.check(now);
    }
}
