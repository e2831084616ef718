//! Another node, as seen from here: calls to it, and whether it still answers.
//!
//! While calls to a peer are pending, its inbox is pinged five times a second:
//!
//! | ping | means | what follows |
//! |---|---|---|
//! | answered | it lives | |
//! | nobody listens, twice in a row | its connection is gone | pending calls fail as `Unknown`, the leader is told |
//! | no answer for a second | it hangs, or its machine does | it is avoided; pending calls end at their deadlines |

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dashmap::DashMap;
use lattice_proto::envelope::{Call, Cancel, Reply};
use lattice_proto::subject::{Inbox, Subjects};
use lattice_proto::{Fault, Incarnation, Ran};
use tokio::sync::{Notify, mpsc};

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
const SLACK: Duration = Duration::from_millis(20);

/// Nodes that stopped answering. When it is full, the oldest reports are being worked on already.
pub type Suspicions = mpsc::Receiver<Incarnation>;

/// A cheap handle on all peers.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    bus: Connection,
    subjects: Subjects,
    counters: Counters,
    /// Weak, so that a peer goes when the last route that names it does.
    peers: DashMap<Incarnation, Weak<Peer>>,
    suspicions: mpsc::Sender<Incarnation>,
    started: Instant,
}

pub(super) struct Peer {
    shared: Arc<Shared>,
    incarnation: Incarnation,
    calls: String,
    pings: String,
    cancels: String,
    pending: AtomicU32,
    strikes: AtomicU32,
    /// A call found nobody there, so it is worth asking.
    doubted: AtomicBool,
    pinging: AtomicBool,
    /// In milliseconds after `Shared::started`; 0 means not avoided.
    avoided_until: AtomicU64,
    lost: Notify,
}

impl Peers {
    /// No peers yet; whoever gets the other end hears of those that are lost.
    pub fn new(bus: Connection, subjects: Subjects, counters: Counters) -> (Self, Suspicions) {
        let (suspicions, reports) = mpsc::channel(64);
        let (peers, started) = (DashMap::new(), Instant::now());
        (Self { shared: Arc::new(Shared { bus, subjects, counters, peers, suspicions, started }) }, reports)
    }

    /// The peer with this incarnation.
    pub(super) fn get(&self, incarnation: &Incarnation) -> Arc<Peer> {
        let mut entry = self.shared.peers.entry(incarnation.clone()).or_default();
        if let Some(peer) = entry.upgrade() {
            return peer;
        }
        let inbox = |inbox| self.shared.subjects.inbox(incarnation, inbox);
        let peer = Arc::new(Peer {
            shared: self.shared.clone(),
            incarnation: incarnation.clone(),
            calls: inbox(Inbox::Call),
            pings: inbox(Inbox::Ping),
            cancels: inbox(Inbox::Cancel),
            pending: AtomicU32::new(0),
            strikes: AtomicU32::new(0),
            doubted: AtomicBool::new(false),
            pinging: AtomicBool::new(false),
            avoided_until: AtomicU64::new(0),
            lost: Notify::new(),
        });
        *entry = Arc::downgrade(&peer);
        peer
    }

    /// Pings whoever has calls pending, for as long as the node runs.
    pub async fn watch(self) {
        let mut tick = tokio::time::interval(PING);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let mut busy = Vec::new();
            self.shared.peers.retain(|_, peer| match peer.upgrade() {
                Some(peer) => {
                    let wanted = peer.pending.load(Ordering::Relaxed) > 0
                        || peer.strikes.load(Ordering::Relaxed) > 0
                        || peer.doubted.load(Ordering::Relaxed);
                    // One ping at a time: a hung peer is found by the one that stays out.
                    if wanted && !peer.pinging.swap(true, Ordering::AcqRel) {
                        busy.push(peer);
                    }
                    true
                }
                None => false,
            });
            for peer in busy {
                tokio::spawn(async move { peer.ping().await });
            }
        }
    }
}

impl Peer {
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

    /// Sends one attempt and waits for its reply.
    pub(super) async fn call(
        self: &Arc<Self>,
        call: &Call,
        deadline: Instant,
        load: &AtomicU32,
    ) -> Result<Bytes, Fault> {
        let lost = self.lost.notified();
        let mut attempt = Attempt::begin(self, call);
        let remaining = deadline.saturating_duration_since(Instant::now());
        let request = self.shared.bus.request(self.calls.clone(), call.encode(), remaining + SLACK);
        let outcome = tokio::select! {
            outcome = request => outcome,
            () = lost => {
                attempt.done = true;
                return Err(Fault::Unknown("the node that had the message stopped answering".to_owned()));
            }
        };
        attempt.done = !matches!(outcome, Err(RequestError::TimedOut));
        match outcome {
            Ok(reply) => match Reply::decode(reply) {
                Ok(reply) => {
                    // A refusal comes from before a mailbox, and knows nothing of what waits in it.
                    if reply.load > 0 || reply.outcome.is_ok() {
                        load.store(reply.load, Ordering::Relaxed);
                    }
                    self.avoided_until.store(0, Ordering::Relaxed);
                    reply.outcome
                }
                Err(error) => {
                    self.shared.counters.malformed_envelopes();
                    Err(Fault::Unknown(format!("the reply could not be read: {error}")))
                }
            },
            Err(RequestError::NoResponders) => {
                self.avoid();
                // Makes the watch look at it even though nothing is pending. It is no strike: those are 200 ms apart.
                self.doubted.store(true, Ordering::Relaxed);
                Err(Fault::NoReplica(format!("the node that ran `{}` is gone", call.target.name)))
            }
            Err(RequestError::NotConnected) => Err(Fault::NoReplica(format!(
                "`{}` runs on other nodes, and NATS cannot be reached at the moment",
                call.target.name
            ))),
            Err(RequestError::TooLarge { limit, size }) => {
                Err(Fault::TooLarge { limit: limit as u64, size: size as u64, ran: Ran::No })
            }
            Err(RequestError::TimedOut) => Err(Fault::Deadline(Ran::Maybe)),
            Err(RequestError::Broken) => Err(Fault::Unknown(
                "the connection to NATS broke while the message was on its way".to_owned(),
            )),
        }
    }

    async fn ping(&self) {
        self.doubted.store(false, Ordering::Relaxed);
        let outcome = self.shared.bus.request(self.pings.clone(), Bytes::new(), HUNG).await;
        match outcome {
            Ok(_) => {
                self.strikes.store(0, Ordering::Relaxed);
                self.avoided_until.store(0, Ordering::Relaxed);
            }
            Err(RequestError::NoResponders) => {
                self.avoid();
                if self.strikes.fetch_add(1, Ordering::Relaxed) + 1 >= STRIKES {
                    self.strikes.store(0, Ordering::Relaxed);
                    self.shared.counters.peers_lost();
                    tracing::warn!(peer = %self.incarnation, "a node is gone; calls that it had fail");
                    self.lost.notify_waiters();
                    // When the channel is full, this node's reports are being worked on already.
                    let _ = self.shared.suspicions.try_send(self.incarnation.clone());
                }
            }
            Err(RequestError::TimedOut) => {
                tracing::warn!(peer = %self.incarnation, "a node does not answer; it is avoided");
                self.avoid();
                let _ = self.shared.suspicions.try_send(self.incarnation.clone());
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

/// One call on its way. Dropped before its end, it tells the other side that nobody waits any more.
struct Attempt<'a> {
    peer: &'a Arc<Peer>,
    call: &'a Call,
    done: bool,
}

impl<'a> Attempt<'a> {
    fn begin(peer: &'a Arc<Peer>, call: &'a Call) -> Self {
        peer.pending.fetch_add(1, Ordering::Relaxed);
        Self { peer, call, done: false }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.peer.pending.fetch_sub(1, Ordering::Relaxed);
        if !self.done {
            let peer = self.peer.clone();
            let cancel = Cancel { id: self.call.id.clone(), attempt: self.call.attempt }.encode();
            tokio::spawn(async move { peer.shared.bus.publish(peer.cancels.clone(), cancel).await });
        }
    }
}
