//! What is planned, kept between calls, and which actors have to be looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lattice_proto::{ActorName, NodeName};

use super::roster::{Entry, NodeId, Roster};
use super::{Demand, Intake, Misfit, Offer, Placed, Seat, Wanted, fit};

/// An actor's place in the planner.
pub(super) type ActorId = u32;

/// How often those that found no room are looked at in one settling.
const TIMES: usize = 3;

/// Plans, step by step.
#[derive(Debug, Default)]
pub struct Planner {
    pub(super) roster: Roster,
    pub(super) ids: BTreeMap<ActorName, ActorId>,
    pub(super) actors: Vec<Option<Actor>>,
    free: Vec<ActorId>,
    /// To be looked at again, each with the reason.
    dirty: BTreeMap<ActorName, Arc<str>>,
    /// Actors that are still to be looked at, as their replicas might sit better elsewhere.
    pub(super) uneasy: BTreeSet<ActorName>,
    /// Whether anything changed since all actors were to be looked at.
    pub(super) stale: bool,
    /// Whether nodes might be unevenly busy.
    pub(super) uneven: bool,
    /// Where something moved since that was last asked for.
    changed: BTreeSet<ActorName>,
    /// Whether a seat was given up, so that somebody else may have its room.
    freed: bool,
    /// For each name those actors that must be apart from it.
    objectors: BTreeMap<ActorName, BTreeSet<ActorId>>,
}

#[derive(Debug, Clone)]
pub(super) struct Actor {
    pub name: ActorName,
    pub demand: Demand,
    pub seats: BTreeMap<NodeId, Seat>,
    pub total: u32,
    pub wanted: u32,
    pub shortfall: Option<String>,
}

impl Planner {
    /// Takes in a node, or what changed of it.
    pub fn set_node(&mut self, name: &NodeName, offer: Offer) {
        let before = self.roster.id(name).and_then(|id| self.roster.get(id)).map(|entry| entry.offer.clone());
        if before.as_ref() == Some(&offer) {
            return;
        }
        let intake = offer.intake;
        let id = self.roster.set(name, offer);
        let why: Arc<str> = match intake {
            Intake::Closed => format!("{name} is being emptied").into(),
            Intake::Open | Intake::Kept => format!("{name} changed").into(),
        };
        // What had no place may have one now, there or beside fewer others.
        (self.freed, self.stale) = (true, true);
        let there = self.roster.get(id).map(|entry| entry.actors.clone()).unwrap_or_default();
        for actor in there.keys() {
            self.soil(*actor, &why);
        }
    }

    /// A node is lost, or forgotten.
    pub fn remove_node(&mut self, name: &NodeName) {
        let Some(id) = self.roster.id(name) else { return };
        let Some(entry) = self.roster.remove(id) else { return };
        let why: Arc<str> = format!("{name} was lost").into();
        for actor in entry.actors.into_keys() {
            if let Some(slot) = self.actors[actor as usize].as_mut()
                && let Some(seat) = slot.seats.remove(&id)
            {
                slot.total -= seat.replicas;
                self.changed.insert(slot.name.clone());
            }
            self.soil(actor, &why);
        }
        // One that is on every node wants one less, and one that was held back may have a place now.
        (self.freed, self.stale) = (true, true);
    }

    /// Takes in an actor, or what changed of it; `why` says what for.
    pub fn set_actor(&mut self, name: &ActorName, demand: Demand, why: &str) {
        let known = self.ids.get(name).copied();
        if let Some(id) = known
            && self.actor(id).is_some_and(|actor| actor.demand == demand)
        {
            return;
        }
        self.roster.learn(&demand.placement);
        let id = known.unwrap_or_else(|| {
            let id = self.free.pop().unwrap_or_else(|| {
                self.actors.push(None);
                ActorId::try_from(self.actors.len() - 1).unwrap_or(ActorId::MAX)
            });
            self.ids.insert(name.clone(), id);
            id
        });
        let old = self.actors[id as usize].take();
        let apart: BTreeSet<ActorName> =
            old.iter().flat_map(|old| old.demand.placement.apart.clone()).collect();
        self.withdraw_objections(id, &apart);
        for other in &demand.placement.apart {
            self.objectors.entry(other.clone()).or_default().insert(id);
        }
        let apart: BTreeSet<ActorName> = apart.union(&demand.placement.apart).cloned().collect();
        let mut actor = Actor {
            name: name.clone(),
            demand: demand.clone(),
            seats: BTreeMap::new(),
            total: 0,
            wanted: 0,
            shortfall: None,
        };
        if let Some(old) = old {
            for (node, seat) in &old.seats {
                // What the replicas claim may have changed with the demand.
                self.roster.seat(*node, id, &old.demand, 0);
                self.roster.seat(*node, id, &demand, seat.replicas);
            }
            (actor.seats, actor.total) = (old.seats, old.total);
            // It may claim less than before.
            self.freed = true;
        }
        self.actors[id as usize] = Some(actor);
        self.stale = true;
        let why: Arc<str> = why.into();
        self.soil(id, &why);
        // Being apart holds for both, whoever says it.
        for other in apart {
            if let Some(other) = self.ids.get(&other).copied() {
                self.soil(other, &why);
            }
        }
    }

    /// An actor is wanted no more.
    pub fn remove_actor(&mut self, name: &ActorName) {
        let Some(id) = self.ids.remove(name) else { return };
        let Some(actor) = self.actors[id as usize].take() else { return };
        for node in actor.seats.keys() {
            self.roster.seat(*node, id, &actor.demand, 0);
        }
        self.free.push(id);
        self.withdraw_objections(id, &actor.demand.placement.apart);
        self.dirty.remove(name);
        self.uneasy.remove(name);
        self.changed.insert(name.clone());
        (self.freed, self.stale) = (true, true);
    }

    fn withdraw_objections(&mut self, id: ActorId, apart: &BTreeSet<ActorName>) {
        for other in apart {
            if let Some(objectors) = self.objectors.get_mut(other) {
                objectors.remove(&id);
                if objectors.is_empty() {
                    self.objectors.remove(other);
                }
            }
        }
    }

    /// What was decided before: known to a new leader from what is stored.
    pub fn set_seat(&mut self, name: &ActorName, node: &NodeName, seat: Seat) {
        let (Some(actor), Some(node)) = (self.ids.get(name).copied(), self.roster.id(node)) else { return };
        if seat.replicas > 0 {
            self.put(actor, node, seat.replicas, &seat.why);
        }
        self.soil(actor, &seat.why);
    }

    /// Decides what must be decided, and returns the actors of which replicas moved, came or went.
    pub fn settle(&mut self) -> BTreeSet<ActorName> {
        // By name, so that it does not matter in which order things became known. What stays is settled for all before
        // anything is placed, so that one actor's choice does not depend on which was looked at before.
        let dirty = std::mem::take(&mut self.dirty);
        let dirty: Vec<(ActorId, Arc<str>)> =
            dirty.into_iter().filter_map(|(name, why)| Some((*self.ids.get(&name)?, why))).collect();
        for (actor, _) in &dirty {
            self.unseat(*actor);
        }
        for (actor, why) in &dirty {
            self.seat(*actor, why);
        }
        self.seat_the_rest();
        std::mem::take(&mut self.changed)
    }

    /// What was given up may be room for those that found none.
    pub(super) fn seat_the_rest(&mut self) {
        let why: Arc<str> = "room was left".into();
        // Seats that are given here may again concern others, though hardly ever.
        for _ in 0..TIMES {
            if !std::mem::take(&mut self.freed) {
                return;
            }
            let ids: Vec<ActorId> = self.ids.values().copied().collect();
            for id in ids {
                let lacks = |actor: &Actor| {
                    actor.shortfall.is_some() || matches!(actor.demand.replicas, Wanted::Each(_))
                };
                if self.actor(id).is_some_and(lacks) {
                    self.seat(id, &why);
                }
            }
        }
        self.freed = false;
    }

    /// Does something, and returns the actors that it changed, which are no news at the next settling then.
    pub(super) fn apart_from_changes(&mut self, act: impl FnOnce(&mut Self)) -> BTreeSet<ActorName> {
        let pending = std::mem::take(&mut self.changed);
        act(self);
        std::mem::replace(&mut self.changed, pending)
    }

    /// Where the replicas of one actor are to be.
    pub fn placed(&self, name: &ActorName) -> Option<Placed> {
        let actor = self.actor(*self.ids.get(name)?)?;
        let node = |(id, seat): (&NodeId, &Seat)| Some((self.roster.get(*id)?.name.clone(), seat.clone()));
        Some(Placed {
            nodes: actor.seats.iter().filter_map(node).collect(),
            wanted: actor.wanted,
            shortfall: actor.shortfall.clone(),
        })
    }

    /// All replicas that are placed.
    pub fn replicas(&self) -> u64 {
        self.actors.iter().flatten().map(|actor| u64::from(actor.total)).sum()
    }

    pub(super) fn actor(&self, id: ActorId) -> Option<&Actor> {
        self.actors.get(id as usize)?.as_ref()
    }

    /// Marks an actor to be looked at again.
    pub(super) fn soil(&mut self, id: ActorId, why: &Arc<str>) {
        if let Some(actor) = self.actor(id) {
            let name = actor.name.clone();
            self.dirty.entry(name).or_insert_with(|| why.clone());
        }
    }

    /// An actor has so many replicas on a node from now on.
    pub(super) fn put(&mut self, id: ActorId, node: NodeId, replicas: u32, why: &Arc<str>) {
        let Some(actor) = self.actors[id as usize].as_mut() else { return };
        self.roster.seat(node, id, &actor.demand, replicas);
        let before = match replicas {
            0 => actor.seats.remove(&node),
            _ => actor.seats.insert(node, Seat { replicas, why: why.clone() }),
        };
        let before_replicas = before.as_ref().map_or(0, |seat| seat.replicas);
        actor.total = actor.total - before_replicas + replicas;
        if before_replicas != replicas {
            self.changed.insert(actor.name.clone());
            // Where somebody must be apart, one that comes keeps others away as one that goes lets them in.
            self.freed |= replicas < before_replicas || !self.objectors.is_empty();
            self.stale = true;
        }
        // Fewer replicas are there for the reason for which more were.
        if let (Some(before), Some(seat)) = (before, actor.seats.get_mut(&node))
            && before.replicas >= seat.replicas
        {
            seat.why = before.why;
        }
    }

    /// Why an actor cannot be on a node, whatever else runs there.
    pub(super) fn misfit(&self, actor: &Actor, node: &Entry) -> Result<(), Misfit> {
        if node.offer.intake == Intake::Closed {
            return Err(Misfit::Closed);
        }
        fit::labels(&actor.demand.placement, &node.offer.labels)?;
        self.beside(actor, node)
    }

    /// Whether an actor on a node must not be beside this one.
    pub(super) fn beside(&self, actor: &Actor, node: &Entry) -> Result<(), Misfit> {
        let is_there = |name: &ActorName| {
            *name != actor.name && self.ids.get(name).is_some_and(|id| node.replicas_of(*id) > 0)
        };
        if let Some(other) = actor.demand.placement.apart.iter().find(|name| is_there(name)) {
            return Err(Misfit::Apart(other.clone()));
        }
        let objectors = self.objectors.get(&actor.name).into_iter().flatten();
        let mut there = objectors.filter(|id| node.replicas_of(**id) > 0).filter_map(|id| self.actor(*id));
        match there.find(|other| other.name != actor.name) {
            Some(other) => Err(Misfit::Apart(other.name.clone())),
            None => Ok(()),
        }
    }

    /// Takes away what cannot stay where it is.
    fn unseat(&mut self, id: ActorId) {
        let Some(actor) = self.actor(id) else { return };
        let only_one = actor.demand.placement.apart.contains(&actor.name);
        let mut leaving = Vec::new();
        for (node, seat) in &actor.seats {
            let Some(entry) = self.roster.get(*node) else { continue };
            let most = match self.misfit(actor, entry) {
                // Of two that must be apart the later one by name goes.
                Err(Misfit::Apart(other)) if actor.name < other => seat.replicas,
                Err(_) => 0,
                Ok(()) => seat.replicas.saturating_sub(entry.excess(&actor.demand)),
            };
            let most = if only_one { most.min(1) } else { most };
            if most < seat.replicas {
                leaving.push((*node, most, seat.why.clone()));
            }
        }
        for (node, most, why) in leaving {
            self.put(id, node, most, &why);
        }
    }
}
