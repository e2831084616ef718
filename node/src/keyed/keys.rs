//! The keys of one keyed actor on this node, by their activations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dashmap::{DashMap, Entry};
use futures::FutureExt;
use lattice_proto::ActorId;
use lattice_proto::envelope::Seen;
use lattice_proto::shard::Shard;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::activation::{Activation, Activity, Parts};
use super::{Letters, Owners, Store};
use crate::engine::{Compiled, Home};
use crate::replica::{Refusal, Turn};

/// How many are looked at, to find one that was not used for long.
const LOOK_AT: usize = 64;

/// Activations that may wait for a place at once. More would only take memory.
const WAITING: usize = 1_024;

/// How long one may take to go to sleep for another one. It is more than what it waits for its letters to be posted.
const LEAVE: Duration = Duration::from_millis(1_500);

/// One that waits, for as long as it lives.
struct Waits(Arc<AtomicUsize>);

impl Waits {
    fn begin(waiting: &Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting.clone())
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What all keyed actors of this node share. A cheap handle.
#[derive(Clone)]
pub struct Keyed {
    pub(super) owners: Owners,
    pub(super) store: Store,
    pub(super) letters: Letters,
    /// One for each activation that may be awake, of all actors.
    places: Arc<Semaphore>,
    most: usize,
    /// Activations that wait for one.
    waiting: Arc<AtomicUsize>,
    pub(super) all: Arc<DashMap<usize, Arc<Keys>>>,
}

/// One version of one keyed actor.
pub struct Keys {
    home: Arc<Home>,
    compiled: Compiled,
    keyed: Keyed,
    open: AtomicBool,
    activations: DashMap<Arc<str>, Arc<Activation>>,
}

/// How busy the keys of one version of an actor are at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BusyKeys {
    /// Those that are awake, or wake.
    pub awake: u64,
    /// Messages waiting and running.
    pub in_flight: u64,
    /// Messages waiting only.
    pub waiting: u64,
}

impl Keyed {
    /// Nothing is awake yet, and no more than `most` will be.
    pub fn new(owners: Owners, store: Store, letters: Letters, most: usize) -> Self {
        let (places, waiting) = (Arc::new(Semaphore::new(most)), Arc::default());
        Self { owners, store, letters, places, most, waiting, all: Arc::default() }
    }

    /// Makes sure that there is somewhere to keep records.
    pub async fn ensure(&self) -> Result<(), crate::bus::Error> {
        self.store.ensure().await
    }

    /// The same after each outage, for as long as this node serves any.
    pub async fn ensure_after_outages(self) {
        self.store.ensure_after_outages(|| !self.all.is_empty()).await;
    }

    /// The keys of one version of an actor, none of them awake.
    pub fn keys(&self, home: Arc<Home>, compiled: Compiled) -> Arc<Keys> {
        let keys = Arc::new(Keys {
            home,
            compiled,
            keyed: self.clone(),
            open: AtomicBool::new(true),
            activations: DashMap::new(),
        });
        self.all.insert(Arc::as_ptr(&keys) as usize, keys.clone());
        keys
    }

    /// Everything of these shards that is awake is told to end; returns when it has.
    pub(super) async fn let_go(&self, shards: &[Shard]) {
        let of_them = |activation: &Activation| shards.contains(&activation.shard);
        let mut leaving = Vec::new();
        for keys in self.all.iter() {
            let there = keys.activations.iter().map(|entry| entry.value().clone());
            leaving.extend(there.filter(|activation| of_them(activation)));
        }
        for activation in &leaving {
            activation.close();
        }
        for activation in leaving {
            activation.ended().await;
        }
    }

    /// Whether so many wait for a place that one more would only wait as well.
    fn is_crowded(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= WAITING
    }

    /// Activations that are awake.
    pub fn awake(&self) -> usize {
        self.most - self.places.available_permits()
    }

    /// A place for the activation of these turns, for which another one is sent to sleep where all are taken. None when all of
    /// those are busy.
    pub(super) async fn place(&self, own: &Activity) -> Option<OwnedSemaphorePermit> {
        let place = self.places.clone().acquire_owned();
        tokio::pin!(place);
        // Whoever waits keeps its place in the queue.
        if let Some(place) = place.as_mut().now_or_never() {
            return place.ok();
        }
        let _waits = Waits::begin(&self.waiting);
        let mut leaving: Vec<Arc<Activation>> = Vec::new();
        loop {
            // One for each that waits; and another one, where the last commit of the first takes long.
            match self.make_room(own) {
                Some(other) => leaving.push(other),
                None if leaving.iter().all(|other| other.has_ended()) => return None,
                None => {}
            }
            if let Ok(place) = tokio::time::timeout(LEAVE, place.as_mut()).await {
                return place.ok();
            }
        }
    }
}

impl Keys {
    /// Takes a turn for its key, or gives it back at once.
    ///
    /// # Errors
    /// Why not, with the turn.
    #[allow(
        clippy::result_large_err,
        reason = "what is given back is what was given, and boxing it would cost every call"
    )]
    pub fn admit(&self, mut turn: Turn) -> Result<(), Refusal> {
        let owners = &self.keyed.owners;
        let actor = turn.context.actor.clone();
        let Some(key) = actor.key.clone() else { return Err(Refusal::NotHere(turn)) };
        // One that is awake is told by whoever takes it away, so nothing has to be held to admit to it.
        let awake = self.activations.get(&key).map(|activation| activation.clone());
        if let Some(awake) = awake
            && self.is_open()
            && owners.mine(awake.shard) == Some(awake.epoch)
        {
            turn = match awake.admit(turn) {
                // It goes to sleep this very moment.
                Err(Refusal::NotHere(turn)) => turn,
                taken => return taken,
            };
        }
        let shard = owners.shard(&actor.name, &key);
        let Some((shard, epoch)) = shard.and_then(|shard| Some((shard, owners.mine(shard)?))) else {
            return Err(Refusal::NotHere(turn));
        };
        if !self.open.load(Ordering::Acquire) {
            return Err(Refusal::NotHere(turn));
        }
        // Whatever looks at other maps, or at all of this one, must not hold an entry of it meanwhile.
        let mut earlier = Vec::new();
        if !self.activations.contains_key(&key) {
            if self.keyed.is_crowded() {
                return Err(Refusal::Overloaded(turn));
            }
            earlier = self.keyed.elsewhere(self, &actor, &key);
        }
        match self.activations.entry(key) {
            // Looked at again with the entry held: whoever takes keys away says so first, and then looks for what is awake.
            _ if !self.is_open() || owners.mine(shard) != Some(epoch) => Err(Refusal::NotHere(turn)),
            Entry::Occupied(known) if known.get().epoch > epoch => Err(Refusal::NotHere(turn)),
            Entry::Occupied(mut known) => {
                let activation = known.get().clone();
                let turn = match activation.epoch == epoch {
                    true => match activation.admit(turn) {
                        // It goes to sleep this very moment.
                        Err(Refusal::NotHere(turn)) => turn,
                        taken => return taken,
                    },
                    false => turn,
                };
                let next = self.wake(actor, shard, epoch, vec![activation]);
                known.insert(next.clone());
                next.admit(turn)
            }
            Entry::Vacant(free) => {
                let next = self.wake(actor, shard, epoch, earlier);
                free.insert(next.clone());
                next.admit(turn)
            }
        }
    }

    /// The activation of a key, which is woken if it sleeps; none when it cannot be here at the moment.
    pub(super) fn awake(&self, actor: &ActorId) -> Option<Arc<Activation>> {
        let owners = &self.keyed.owners;
        let key = actor.key.clone()?;
        let shard = owners.shard(&actor.name, &key)?;
        let epoch = owners.mine(shard)?;
        let mut earlier = Vec::new();
        if !self.activations.contains_key(&key) {
            if self.keyed.is_crowded() {
                return None;
            }
            earlier = self.keyed.elsewhere(self, actor, &key);
        }
        match self.activations.entry(key) {
            _ if !self.is_open() || owners.mine(shard) != Some(epoch) => None,
            Entry::Occupied(known) if known.get().epoch > epoch => None,
            Entry::Occupied(known) if known.get().epoch == epoch && !known.get().is_closed() => {
                Some(known.get().clone())
            }
            Entry::Occupied(mut known) => {
                let next = self.wake(actor.clone(), shard, epoch, vec![known.get().clone()]);
                known.insert(next.clone());
                Some(next)
            }
            Entry::Vacant(free) => {
                let next = self.wake(actor.clone(), shard, epoch, earlier);
                free.insert(next.clone());
                Some(next)
            }
        }
    }

    /// What there is of a key, without waking it.
    pub fn look(&self, actor: &ActorId) -> Seen {
        let known = actor.key.as_ref().and_then(|key| self.activations.get(key));
        let awake = known.filter(|activation| !activation.has_ended());
        awake.map_or_else(Seen::default, |activation| Seen { awake: true, messages: activation.load() })
    }

    fn wake(
        &self,
        actor: ActorId,
        shard: Shard,
        epoch: u64,
        earlier: Vec<Arc<Activation>>,
    ) -> Arc<Activation> {
        Arc::new(Activation::start(Parts {
            actor,
            shard,
            epoch,
            compiled: self.compiled.clone(),
            home: self.home.clone(),
            keyed: self.keyed.clone(),
            earlier,
        }))
    }

    /// Whether it takes messages.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Turns that the present instances have answered.
    pub fn answered(&self) -> u64 {
        self.activations.iter().map(|entry| entry.value().answered()).sum()
    }

    /// How busy those that are awake are now.
    pub fn busy(&self) -> BusyKeys {
        let mut busy = BusyKeys::default();
        for entry in &self.activations {
            let (load, running) = (u64::from(entry.value().load()), entry.value().running());
            busy.awake += u64::from(!entry.value().has_ended());
            busy.in_flight += load;
            busy.waiting += load.saturating_sub(running);
        }
        busy
    }

    /// Takes nothing more.
    pub fn close(&self) {
        self.open.store(false, Ordering::Release);
    }

    /// Takes nothing more, and returns when everything that it took has been answered.
    pub async fn stop(self: Arc<Self>) {
        self.close();
        let all: Vec<Arc<Activation>> = self.activations.iter().map(|entry| entry.value().clone()).collect();
        for activation in &all {
            activation.close();
        }
        for activation in all {
            activation.ended().await;
        }
        self.sweep();
        self.keyed.all.remove(&(Arc::as_ptr(&self) as usize));
    }

    /// Looks after turns that never end, and forgets what has gone to sleep.
    pub fn watch(&self, now: Instant) {
        for entry in &self.activations {
            entry.value().watch(now);
        }
        self.sweep();
    }

    fn sweep(&self) {
        self.activations.retain(|_, activation| !activation.has_ended());
    }
}

impl Keyed {
    /// The activations of a key in other versions of the actor, which have to end before another one claims it.
    fn elsewhere(&self, keys: &Keys, actor: &ActorId, key: &str) -> Vec<Arc<Activation>> {
        let others = self.all.iter().map(|entry| entry.value().clone());
        let others =
            others.filter(|other| !std::ptr::eq(&**other, keys) && other.home.actor.name == actor.name);
        others.filter_map(|other| other.activations.get(key).map(|entry| entry.value().clone())).collect()
    }

    /// Sends one to sleep that was not used for long, and is not this one; none when everything that was looked at is busy.
    pub(super) fn make_room(&self, but: &Activity) -> Option<Arc<Activation>> {
        let mut looked_at = Vec::with_capacity(LOOK_AT);
        for keys in self.all.iter() {
            let idle = keys.activations.iter().map(|entry| entry.value().clone());
            let idle = idle.filter(|activation| activation.is_idle() && !activation.is(but));
            looked_at.extend(idle.take(LOOK_AT - looked_at.len()));
            if looked_at.len() == LOOK_AT {
                break;
            }
        }
        looked_at.sort_unstable_by_key(|activation| activation.used());
        // Others look for one in this very moment, and each needs one of its own.
        looked_at.into_iter().find(|activation| activation.close())
    }
}
