//! Another node, as seen from here: calls to it, and whether it still answers.
//!
//! While calls to a peer are pending, its inbox is pinged five times a second:
//!
//! | ping | means | what follows |
//! |---|---|---|
//! | answered | it lives | |
//! | nobody listens | its connection is gone | the leader is told; after the second time in a row pending calls fail as `Unknown` |
//! | no answer for a second | it hangs, or its machine does | it is avoided; pending calls end at their deadlines |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dashmap::DashMap;
use lattice_proto::envelope::{Entry, Replies, Reply};
use lattice_proto::http::Frame;
use lattice_proto::subject::{Inbox, Refused, Subjects};
use lattice_proto::{ActorId, Fault, Incarnation};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::bodies::{Bodies, Common};
use super::post::{Post, Sorting, Unposted};
use crate::bus::{Connection, RequestError};
use crate::telemetry::Counters;

/// How often peers with pending calls are pinged.
const PING: Duration = Duration::from_millis(200);

/// A ping that is not answered for this long says that the peer hangs.
const HUNG: Duration = Duration::from_secs(1);

/// Refused pings in a row that say that a peer is lost. One may fall between a reconnection's two ends.
const STRIKES: u32 = 2;

/// How long a peer is avoided after it did not answer, unless it answers again before.
const AVOID: Duration = Duration::from_secs(3);

/// A request that got no reply ends a little after its deadline, so that the typed answer of the other side wins.
const SLACK: Duration = Duration::from_millis(30);

/// How long a node is remembered that nothing was sent to and no route names.
const FORGET: Duration = Duration::from_secs(60);

/// Nodes that stopped answering. When it is full, the oldest reports are being worked on already.
pub type Suspicions = mpsc::Receiver<Incarnation>;

/// A cheap handle on all peers.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    sorting: Arc<Sorting>,
    bodies: Arc<Common>,
    counters: Counters,
    peers: DashMap<Incarnation, Arc<Peer>>,
    suspicions: mpsc::Sender<Incarnation>,
    started: Instant,
}

pub(super) struct Peer {
    shared: Arc<Shared>,
    incarnation: Incarnation,
    pub(super) post: Post,
    /// Those of HTTP requests and answers.
    pub(super) bodies: Bodies,
    pings: String,
    strikes: AtomicU32,
    /// A call found nobody there, so it is worth asking.
    doubted: AtomicBool,
    pinging: AtomicBool,
    /// In milliseconds after `Shared::started`; 0 means not avoided.
    avoided_until: AtomicU64,
    /// In milliseconds after `Shared::started`.
    last_used: AtomicU64,
}

impl Peers {
    /// No peers yet; whoever gets the other end hears of those that are lost.
    pub fn new(
        bus: Connection,
        subjects: Subjects,
        own: Incarnation,
        counters: Counters,
    ) -> (Self, Suspicions) {
        let (suspicions, reports) = mpsc::channel(64);
        // 0 stands for a call that was not sent.
        let (numbers, tasks) = (AtomicU64::new(1), TaskTracker::new());
        let bodies = Arc::new(Common::new(bus.clone(), own.clone()));
        let sorting = Arc::new(Sorting { bus, subjects, own, numbers, tasks });
        let (peers, started) = (DashMap::new(), Instant::now());
        (Self { shared: Arc::new(Shared { sorting, bodies, counters, peers, suspicions, started }) }, reports)
    }

    /// The peer with this incarnation.
    pub(super) fn get(&self, incarnation: &Incarnation) -> Arc<Peer> {
        let now = self.shared.now_ms();
        let known = self.shared.peers.get(incarnation).map(|peer| peer.clone());
        let peer = known.unwrap_or_else(|| {
            let entry = self.shared.peers.entry(incarnation.clone());
            entry.or_insert_with(|| Arc::new(Peer::new(self.shared.clone(), incarnation.clone()))).clone()
        });
        peer.last_used.store(now, Ordering::Relaxed);
        peer
    }

    /// What must be done before the node may end: answers, and whatever is still to be sent.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.shared.sorting.tasks
    }

    /// Waits until all of that is done, and bodies are sent.
    pub(super) async fn done(&self) {
        // Answers first: there may be bodies to them.
        for tasks in [&self.shared.sorting.tasks, &self.shared.bodies.tasks] {
            tasks.close();
            tasks.wait().await;
        }
    }

    /// Hands replies that arrived to the calls that wait for them.
    pub(super) fn deliver(&self, replies: Replies) {
        // Only a peer that was called has calls that wait.
        let Some(peer) = self.shared.peers.get(&replies.origin).map(|peer| peer.clone()) else { return };
        let counters = &self.shared.counters;
        peer.post.deliver(
            replies.read().filter_map(|reply| reply.inspect_err(|_| counters.malformed_envelopes()).ok()),
        );
    }

    /// Hands a part of a body to whoever reads it, or a word of its reader to whoever sends it.
    pub(super) async fn frame(&self, frame: Frame) {
        // Only of requests to a known peer, and from one, there are bodies.
        let known = self.shared.peers.get(&frame.origin).map(|peer| peer.clone());
        if let Some(peer) = known {
            peer.bodies.deliver(frame.body, frame.what).await;
        }
    }

    /// NATS says that nobody got some calls.
    pub(super) fn refused(&self, refused: &Refused) {
        let Some(peer) = self.shared.peers.get(&refused.peer).map(|peer| peer.clone()) else { return };
        peer.avoid();
        // Makes the watch look at it even though nothing is pending. It is no strike: those are 200 ms apart. The leader
        // asks for itself, and the sooner it does the better; once in a ping's time is enough.
        if !peer.doubted.swap(true, Ordering::Relaxed) {
            peer.suspect();
        }
        peer.post.return_to_sender(refused);
    }

    /// Pings whoever has calls pending, for as long as the node runs.
    pub async fn watch(self) {
        let mut tick = tokio::time::interval(PING);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now = self.shared.now_ms();
            let mut busy = Vec::new();
            self.shared.peers.retain(|_, peer| {
                let wanted = peer.post.is_waiting()
                    || peer.bodies.is_open()
                    || peer.strikes.load(Ordering::Relaxed) > 0
                    || peer.doubted.load(Ordering::Relaxed);
                // One ping at a time: a hung peer is found by the one that stays out.
                if wanted && !peer.pinging.swap(true, Ordering::AcqRel) {
                    busy.push(peer.clone());
                }
                let idle = Duration::from_millis(now.saturating_sub(peer.last_used.load(Ordering::Relaxed)));
                // A route that names it holds it as well, and so does each call.
                wanted || Arc::strong_count(peer) > 1 || idle < FORGET
            });
            for peer in busy {
                tokio::spawn(async move { peer.ping().await });
            }
        }
    }
}

impl Peer {
    fn new(shared: Arc<Shared>, incarnation: Incarnation) -> Self {
        Self {
            post: Post::new(shared.sorting.clone(), incarnation.clone()),
            bodies: Bodies::new(shared.bodies.clone(), &shared.sorting.subjects, &incarnation),
            pings: shared.sorting.subjects.inbox(&incarnation, &Inbox::Ping),
            shared,
            incarnation,
            strikes: AtomicU32::new(0),
            doubted: AtomicBool::new(false),
            pinging: AtomicBool::new(false),
            avoided_until: AtomicU64::new(0),
            last_used: AtomicU64::new(0),
        }
    }

    pub(super) fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    /// Whether it stopped answering a moment ago.
    pub(super) fn is_avoided(&self) -> bool {
        let until = self.avoided_until.load(Ordering::Relaxed);
        until != 0 && self.shared.now_ms() < until
    }

    fn avoid(&self) {
        let until = self.shared.now_ms() + u64::try_from(AVOID.as_millis()).unwrap_or(u64::MAX);
        self.avoided_until.store(until.max(1), Ordering::Relaxed);
    }

    /// Tells the leader.
    fn suspect(&self) {
        // When the channel is full, this node's reports are being worked on already.
        let _ = self.shared.suspicions.try_send(self.incarnation.clone());
    }

    /// Sends one attempt, encoded, and waits for its reply, which also says whether spans of it are kept there. Dropping
    /// the future cancels the call.
    ///
    /// # Errors
    /// Why it never got there; whatever comes from there is an answer.
    pub(super) async fn call(
        &self,
        call: Entry,
        target: &ActorId,
        deadline: Instant,
        load: &AtomicU32,
    ) -> Result<(Result<Bytes, Fault>, bool), &'static str> {
        let mut posted = match self.post.call(call, target.name.as_str()) {
            Ok(posted) => posted,
            Err(Unposted::Unreachable(reason)) => return Err(reason),
            Err(Unposted::Refused(fault)) => return Ok((Err(fault), false)),
        };
        let delivered = tokio::time::timeout_at((deadline + SLACK).into(), posted.delivered()).await;
        match delivered {
            Ok(Some(Err(reason))) => Err(reason),
            Ok(Some(Ok(Reply { outcome, load: now, kept, .. }))) => {
                // A refusal comes from before a mailbox, and knows nothing of what waits in it.
                if now > 0 || outcome.is_ok() {
                    load.store(now, Ordering::Relaxed);
                }
                if outcome.is_ok() {
                    self.avoided_until.store(0, Ordering::Relaxed);
                }
                Ok((outcome, kept))
            }
            Ok(None) => {
                Ok((Err(Fault::Unknown("the node that had the message stopped answering".to_owned())), false))
            }
            Err(_) => Ok((Err(Fault::Deadline(posted.give_up())), false)),
        }
    }

    async fn ping(&self) {
        self.doubted.store(false, Ordering::Relaxed);
        let outcome = self.shared.sorting.bus.request(self.pings.clone(), Bytes::new(), HUNG).await;
        match outcome {
            Ok(_) => {
                self.strikes.store(0, Ordering::Relaxed);
                self.avoided_until.store(0, Ordering::Relaxed);
            }
            Err(RequestError::NoResponders) => {
                self.avoid();
                self.suspect();
                if self.strikes.fetch_add(1, Ordering::Relaxed) + 1 >= STRIKES {
                    self.strikes.store(0, Ordering::Relaxed);
                    self.shared.counters.peers_lost();
                    tracing::warn!(peer = %self.incarnation, "a node is gone; calls that it had fail");
                    self.post.lose();
                    self.bodies.lose();
                }
            }
            Err(RequestError::TimedOut) => {
                tracing::warn!(peer = %self.incarnation, "a node does not answer; it is avoided");
                self.avoid();
                self.suspect();
            }
            // Nothing is known of a peer while this node itself is cut off.
            Err(RequestError::NotConnected | RequestError::Broken | RequestError::TooLarge { .. }) => {}
        }
        self.pinging.store(false, Ordering::Release);
    }
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
