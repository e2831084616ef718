//! Which actors run on this node, and the way into them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use dashmap::DashMap;
use lattice_proto::ActorName;
use lattice_proto::envelope::Side;
use lattice_proto::record::Canary;

use super::{Count, Replica, Turn, WATCH};
use crate::engine::Home;
use crate::keyed::Keys;

/// Why a turn was not taken. All of them mean that it surely did not run.
pub enum Refusal {
    /// Every replica here is full.
    Overloaded(Turn),
    /// None runs here, or it is stopping.
    NotHere(Turn),
}

/// The replicas of one actor on this node.
pub struct LocalActor {
    /// What they share.
    pub home: Arc<Home>,
    /// Read by every call and written when the number changes, so readers must not wait for each other.
    replicas: RwLock<Vec<Arc<Replica>>>,
    /// What takes messages in the place of replicas, where it is a keyed actor.
    keys: Option<Arc<Keys>>,
    /// Whether the leader decides how many there are, and wants to know how busy they are.
    measured: AtomicBool,
}

/// How busy the replicas of one version are at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Busy {
    /// Those that take messages.
    pub replicas: u32,
    /// Messages waiting and running.
    pub in_flight: u64,
    /// Messages waiting only.
    pub waiting: u64,
}

/// A cheap handle on the directory. The agent writes it, the router reads it.
#[derive(Clone, Default)]
pub struct Local {
    actors: Arc<DashMap<ActorName, Versions>>,
}

/// What runs of one actor.
#[derive(Default)]
struct Versions {
    /// By version; hardly ever more than one.
    running: Vec<(u64, Arc<LocalActor>)>,
    /// Set while a new version gets a part of the calls only, here or elsewhere.
    canary: Option<Canary>,
}

impl Versions {
    /// The less busy one of those on a side that take messages: each serves as much as it can.
    fn on(&self, side: Side) -> Option<Arc<LocalActor>> {
        match self.running.as_slice() {
            [(version, only)] => side.has(*version).then(|| only.clone()),
            // Of a keyed actor the latest one has all keys: two cannot share one.
            several if several.iter().any(|(_, local)| local.keys.is_some()) => {
                let serving = several.iter().filter(|(_, local)| local.count() > 0);
                serving.max_by_key(|(version, _)| *version).map(|(_, local)| local.clone())
            }
            several => {
                let serving =
                    several.iter().filter(|(version, local)| side.has(*version) && local.count() > 0);
                serving.min_by_key(|(_, local)| local.strain()).map(|(_, local)| local.clone())
            }
        }
    }
}

/// Which side of a trial one call is for.
pub fn draw(canary: &Canary) -> Side {
    match fastrand::u8(..100) < canary.share.0 {
        true => Side::Only(canary.version),
        false => Side::Not(canary.version),
    }
}

impl LocalActor {
    /// An actor without replicas.
    pub fn new(home: Arc<Home>) -> Self {
        Self { home, replicas: RwLock::default(), keys: None, measured: AtomicBool::new(false) }
    }

    /// A keyed actor, none of whose keys is awake.
    pub fn keyed(home: Arc<Home>, keys: Arc<Keys>) -> Self {
        Self { keys: Some(keys), ..Self::new(home) }
    }

    /// The keys of a keyed actor.
    pub fn keys(&self) -> Option<&Arc<Keys>> {
        self.keys.as_ref()
    }

    /// Opens one more replica to messages.
    pub fn add(&self, replica: Arc<Replica>) {
        self.replicas.write().unwrap_or_else(PoisonError::into_inner).push(replica);
    }

    /// Takes one out of the rotation; it still answers what it has.
    pub fn remove(&self) -> Option<Arc<Replica>> {
        self.replicas.write().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Takes out those whose loop has ended although nobody stopped them, so that others are made in their place.
    pub fn bury(&self) -> usize {
        let dead: Vec<Arc<Replica>> = {
            let mut replicas = self.replicas.write().unwrap_or_else(PoisonError::into_inner);
            replicas.extract_if(.., |replica| !replica.is_alive()).collect()
        };
        // They are dropped here and not under the lock: a turn that is dropped with its mailbox answers its caller, and
        // the answer says how loaded the others are.
        dead.len()
    }

    /// How many take messages.
    pub fn count(&self) -> usize {
        if let Some(keys) = &self.keys {
            return usize::from(keys.is_open());
        }
        self.replicas.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What became of its turns so far.
    pub fn tally(&self) -> Count {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        let awake = self.keys.as_ref().map_or(0, |keys| keys.answered());
        let running = awake + replicas.iter().map(|replica| replica.answered()).sum::<u64>();
        let count = self.home.tally.count();
        Count { handled: count.handled + running, ..count }
    }

    /// Whether the leader is to be told how busy they are.
    pub fn measure(&self, measured: bool) {
        self.measured.store(measured, Ordering::Relaxed);
    }

    /// How busy they are now.
    pub fn busy(&self) -> Busy {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        let in_flight = replicas.iter().map(|replica| u64::from(replica.load())).sum();
        let running: u64 = replicas.iter().map(|replica| replica.running()).sum();
        let count = u32::try_from(replicas.len()).unwrap_or(u32::MAX);
        Busy { replicas: count, in_flight, waiting: in_flight.saturating_sub(running) }
    }

    /// Messages waiting and running in all of them.
    pub fn load(&self) -> u32 {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        replicas.iter().map(|replica| replica.load()).sum()
    }

    /// How busy each of them is, in thousandths of a message; with some chance in it, so that those that are equally busy
    /// get equally many.
    fn strain(&self) -> u64 {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        let load: u32 = replicas.iter().map(|replica| replica.load()).sum();
        let count = replicas.len().max(1) as u64;
        u64::from(load) * 1000 / count + fastrand::u64(0..1000) / count
    }

    /// Offers a turn to the least loaded replica, then to the others.
    #[allow(
        clippy::result_large_err,
        reason = "what is given back is what was given, and boxing it would cost every call"
    )]
    pub fn admit(&self, turn: Turn) -> Result<(), Refusal> {
        if let Some(keys) = &self.keys {
            return keys.admit(turn);
        }
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        let count = replicas.len();
        if count == 0 {
            return Err(Refusal::NotHere(turn));
        }
        let first = least_loaded(&replicas);
        let mut refused = match replicas[first].admit(turn) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        for replica in replicas[first + 1..].iter().chain(&replicas[..first]) {
            let (Refusal::Overloaded(turn) | Refusal::NotHere(turn)) = refused;
            match replica.admit(turn) {
                Ok(()) => return Ok(()),
                Err(again) => refused = again,
            }
        }
        Err(refused)
    }
}

/// The replica with the fewest messages; of many, the best of a random stretch.
fn least_loaded(replicas: &[Arc<Replica>]) -> usize {
    // Looking at a load costs a nanosecond, and an idle replica that is not found costs a whole turn.
    const LOOK_AT: usize = 32;
    let count = replicas.len();
    // A random start keeps equally loaded replicas equally busy.
    let start = if count == 1 { 0 } else { fastrand::usize(..count) };
    let stretch = (0..count.min(LOOK_AT)).map(|step| (start + step) % count);
    stretch.min_by_key(|index| replicas[*index].load()).unwrap_or(start)
}

impl Local {
    /// One actor, if it runs here.
    pub fn get(&self, actor: &ActorName) -> Option<Arc<LocalActor>> {
        self.actors.get(actor)?.on(Side::Any)
    }

    /// One actor, by a version that is on this side; by another one where none is.
    pub fn on(&self, actor: &ActorName, side: Side) -> Option<Arc<LocalActor>> {
        let versions = self.actors.get(actor)?;
        versions.on(side).filter(|local| local.count() > 0).or_else(|| versions.on(Side::Any))
    }

    /// One actor for a call whose side is drawn now, if there is one to draw and it was not drawn before.
    pub fn drawn(&self, actor: &ActorName, side: &mut Option<Side>) -> Option<Arc<LocalActor>> {
        let versions = self.actors.get(actor)?;
        if side.is_none() {
            *side = versions.canary.as_ref().map(draw);
        }
        versions.on(side.unwrap_or_default())
    }

    /// Makes one version of an actor known.
    pub fn insert(&self, actor: ActorName, version: u64, local: Arc<LocalActor>) {
        let running = &mut self.actors.entry(actor).or_default().running;
        running.retain(|(known, _)| *known != version);
        running.push((version, local));
    }

    /// Says that a new version of an actor that runs here gets a part of the calls only, or that none does.
    pub fn set_canary(&self, actor: &ActorName, canary: Option<Canary>) {
        if let Some(mut versions) = self.actors.get_mut(actor) {
            versions.canary = canary;
        }
    }

    /// Forgets one version of an actor.
    pub fn remove(&self, actor: &ActorName, version: u64) {
        if let Some(mut versions) = self.actors.get_mut(actor) {
            versions.running.retain(|(known, _)| *known != version);
        }
        self.actors.remove_if(actor, |_, versions| versions.running.is_empty());
    }

    /// Everything that runs here, each version by itself.
    pub fn all(&self) -> Vec<(ActorName, Arc<LocalActor>)> {
        let mut all = Vec::new();
        for entry in self.actors.iter() {
            let running = entry.value().running.iter();
            all.extend(running.map(|(_, local)| (entry.key().clone(), local.clone())));
        }
        all
    }

    /// Those of which the leader wants to know how busy they are, by actor and version.
    pub fn measured(&self) -> Vec<(ActorName, u64, Arc<LocalActor>)> {
        let mut measured = Vec::new();
        for entry in self.actors.iter() {
            for (version, local) in &entry.value().running {
                if local.measured.load(Ordering::Relaxed) {
                    measured.push((entry.key().clone(), *version, local.clone()));
                }
            }
        }
        measured
    }

    /// Looks after turns that never end, for as long as the node runs.
    pub async fn watch(self) {
        let mut tick = tokio::time::interval(WATCH);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = tick.tick().await.into_std();
            for local in self.actors.iter().flat_map(|entry| entry.value().running.clone()) {
                let (_, local) = local;
                if let Some(keys) = &local.keys {
                    keys.watch(now.max(Instant::now()));
                }
                for replica in local.replicas.read().unwrap_or_else(PoisonError::into_inner).iter() {
                    replica.watch(now.max(Instant::now()));
                }
            }
        }
    }
}
