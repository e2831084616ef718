//! Where actors run, as this node knows it: a route per actor that was called from here, kept fresh.
//!
//! The leader writes routes into a bucket, and the server republishes each change on `lat.<lattice>.route.<actor>`. A
//! route that is watched costs one plain subscription, not a consumer. What was republished is a hint: it is read again
//! after every reconnection, when a call finds it out of date, and now and then.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dashmap::DashMap;
use lattice_proto::envelope::Side;
use lattice_proto::record::{self, Route};
use lattice_proto::subject::Subjects;
use lattice_proto::{ActorName, Incarnation};
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use super::choice::Candidate;
use super::peer::{Peer, Peers};
use crate::bus::{Bus, Entry};
use crate::telemetry::Counters;

/// How long a route that nobody doubts is trusted.
const RESYNC: Duration = Duration::from_secs(20);

/// How long the first look at a route may take.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// How long it is remembered that there is no such actor, so that a flood of calls to it costs one look a second.
const REMEMBER: Duration = Duration::from_secs(1);

const UNREACHABLE: &str = "NATS cannot be reached to find it elsewhere";

/// A route with the nodes that it names.
pub(super) struct Known {
    /// Its revision in the bucket.
    pub revision: u64,
    /// What the leader wrote.
    pub route: Route,
    /// The nodes with replicas, except this one.
    pub targets: Vec<KnownTarget>,
    /// Whether it names this node as well.
    pub names_this_node: bool,
}

pub(super) struct KnownTarget {
    pub peer: Arc<Peer>,
    zone: Option<String>,
    /// Replicas of the wanted version, and of others.
    ready: u32,
    stale: u32,
    /// Messages that waited there at the last reply.
    pub load: AtomicU32,
}

impl Known {
    /// The targets that have replicas on this side and were not tried yet.
    pub fn candidates(&self, zone: Option<&str>, tried: &[Incarnation], side: Side) -> Vec<Candidate> {
        let untried =
            self.targets.iter().enumerate().filter(|(_, target)| !tried.contains(target.peer.incarnation()));
        let candidate = |(index, target): (usize, &KnownTarget)| {
            let all = target.ready + target.stale;
            let replicas = match side {
                Side::Any => all,
                Side::Only(_) => target.ready,
                Side::Not(_) => target.stale,
            };
            (replicas > 0 || side == Side::Any).then(|| Candidate {
                index,
                near: zone.is_some() && target.zone.as_deref() == zone,
                avoided: target.peer.is_avoided(),
                load: target.load.load(Relaxed) / all.max(1),
                replicas,
            })
        };
        untried.filter_map(candidate).collect()
    }
}

/// What is known of one actor: nothing yet, no such actor, or a route.
type State = Option<Option<Arc<Known>>>;

struct Watched {
    state: watch::Receiver<State>,
    /// Asks for a fresh look.
    doubt: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

/// A cheap handle on the table.
#[derive(Clone)]
pub struct Table {
    shared: Arc<Shared>,
}

struct Shared {
    bus: Bus,
    subjects: Subjects,
    own: Incarnation,
    peers: Peers,
    counters: Counters,
    watched: DashMap<ActorName, Arc<Watched>>,
}

impl Table {
    /// An empty table.
    pub fn new(bus: Bus, subjects: Subjects, own: Incarnation, peers: Peers, counters: Counters) -> Self {
        Self { shared: Arc::new(Shared { bus, subjects, own, peers, counters, watched: DashMap::new() }) }
    }

    /// The route of an actor, if it is known by now.
    pub(super) fn known(&self, actor: &ActorName) -> Option<Arc<Known>> {
        let watched = self.shared.watched.get(actor)?;
        watched.state.borrow().clone().flatten()
    }

    /// The route of an actor; none when no such actor is deployed. The first time it is looked up, then remembered.
    pub(super) async fn get(&self, actor: &ActorName) -> Result<Option<Arc<Known>>, String> {
        let watched = match self.shared.watched.get(actor) {
            Some(watched) => watched.value().clone(),
            // Nothing is begun that cannot be ended: while NATS is away, names that somebody makes up leave nothing behind.
            None if !self.shared.bus.control.is_up() => return Err(UNREACHABLE.to_owned()),
            None => self.watch(actor),
        };
        if let Some(state) = &*watched.state.borrow() {
            return Ok(state.clone());
        }
        if !self.shared.bus.control.is_up() {
            return Err(UNREACHABLE.to_owned());
        }
        let mut state = watched.state.clone();
        let first = tokio::time::timeout(FIRST_LOOK, state.wait_for(Option::is_some)).await;
        match first {
            Ok(Ok(state)) => Ok(state.clone().flatten()),
            // The task ended because there is no such actor: names that somebody makes up must not fill the table.
            Ok(Err(_)) => Ok(None),
            Err(_) => Err("its route could not be read in time".to_owned()),
        }
    }

    /// Looks again, and waits for a route that is newer than `revision`, at most for `pause`.
    pub(super) async fn newer(&self, actor: &ActorName, revision: u64, pause: Duration) {
        if let Some(watched) = self.shared.watched.get(actor) {
            watched.doubt.notify_one();
        }
        self.awaited(actor, revision, pause).await;
    }

    /// Waits for a route that is newer than `revision` without asking for one, at most for `pause`.
    pub(super) async fn awaited(&self, actor: &ActorName, revision: u64, pause: Duration) {
        let Some(watched) = self.shared.watched.get(actor).map(|entry| entry.value().clone()) else { return };
        let mut state = watched.state.clone();
        let changed = state.wait_for(|state| match state {
            Some(known) => known.as_ref().is_none_or(|known| known.revision > revision),
            None => false,
        });
        // The caller looks at what is known then, newer or not.
        let _ = tokio::time::timeout(pause, changed).await;
    }

    /// The revision that this node knows; 0 when it knows none.
    pub(super) fn revision(&self, actor: &ActorName) -> u64 {
        let watched = self.shared.watched.get(actor);
        watched
            .and_then(|watched| watched.state.borrow().clone().flatten().map(|known| known.revision))
            .unwrap_or(0)
    }

    fn watch(&self, actor: &ActorName) -> Arc<Watched> {
        let entry = self.shared.watched.entry(actor.clone());
        let watched = entry.or_insert_with(|| {
            let (sender, state) = watch::channel(None);
            let doubt = Arc::<Notify>::default();
            let task = tokio::spawn(follow(self.clone(), actor.clone(), sender, doubt.clone()));
            Arc::new(Watched { state, doubt, _task: AbortOnDropHandle::new(task) })
        });
        watched.value().clone()
    }
}

/// Keeps one route fresh until the actor is gone.
async fn follow(table: Table, actor: ActorName, state: watch::Sender<State>, doubt: Arc<Notify>) {
    let shared = &table.shared;
    let subject = shared.subjects.route(&actor);
    let mut link = shared.bus.control.link();
    loop {
        // Subscribed before it is read, so that no change falls between.
        let Ok(mut changes) = shared.bus.control.subscribe(subject.clone(), None).await else { break };
        let generation = link.borrow().generation;
        let mut announced: Option<u64> = None;
        loop {
            match shared.bus.routes.get(actor.as_str()).await {
                Ok(entry) => {
                    let route = entry.as_ref().and_then(|entry| parse(shared, entry));
                    let read = entry.as_ref().map_or(0, |entry| entry.revision);
                    if announced.take().is_some_and(|announced| read < announced) {
                        tokio::time::sleep(Duration::from_millis(fastrand::u64(5..25))).await;
                        continue;
                    }
                    let gone = route.is_none();
                    publish(&state, route);
                    if gone && tokio::time::timeout(REMEMBER, changes.next()).await.is_err() {
                        // Names that somebody makes up must not fill the table; later callers start a new look.
                        shared.watched.remove(&actor);
                        return;
                    }
                    if gone {
                        // It was deployed just now.
                        continue;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, %actor, "cannot read a route");
                    // A route that is known goes on being used: losing the bus is not losing the actors.
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(50..200))).await;
                    if link.borrow().generation != generation || state.borrow().is_none() {
                        break;
                    }
                }
            }
            let resync = RESYNC + Duration::from_millis(fastrand::u64(0..10_000));
            tokio::select! {
                change = changes.next() => match change {
                    // A read may be older than what was just republished: then it is read once more.
                    Some(change) => announced = change.headers.get("Nats-Sequence").and_then(|text| text.parse().ok()),
                    None => break,
                },
                () = doubt.notified() => {}
                () = tokio::time::sleep(resync) => {}
                changed = link.wait_for(|link| link.up && link.generation != generation) => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
            }
        }
    }
}

fn parse(shared: &Shared, entry: &Entry) -> Option<Arc<Known>> {
    let bytes = entry.value.as_ref()?;
    match record::decode::<Route>(bytes) {
        Ok(route) => {
            let elsewhere = route.targets.iter().filter(|target| target.incarnation != shared.own);
            let targets = elsewhere.map(|target| KnownTarget {
                peer: shared.peers.get(&target.incarnation),
                zone: target.zone.clone(),
                ready: target.ready,
                stale: target.stale,
                load: AtomicU32::new(0),
            });
            let targets = targets.collect();
            let names_this_node = route.targets.iter().any(|target| target.incarnation == shared.own);
            Some(Arc::new(Known { revision: entry.revision, route, targets, names_this_node }))
        }
        Err(error) => {
            shared.counters.malformed_records();
            tracing::warn!(%error, actor = entry.key, "a route cannot be read");
            None
        }
    }
}

/// Shows a route unless a newer one is shown already: reads may be stale.
fn publish(state: &watch::Sender<State>, route: Option<Arc<Known>>) {
    state.send_if_modified(|shown| {
        let older = match (&shown, &route) {
            (Some(Some(shown)), Some(route)) => route.revision <= shown.revision,
            _ => false,
        };
        if !older {
            *shown = Some(route);
        }
        !older
    });
}
