//! From what is declared and what is there to what is written: assignments, routes, rollbacks. Pure, with time as an
//! argument.
//!
//! It keeps what it knows, so that a change costs what it touches. Whenever it is in doubt its owner makes a new one from
//! what is stored, and that gives the same.

mod actor;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use lattice_proto::manifest::{Range, Replicas};
use lattice_proto::record::{Actor, App, Assigned, Assignment, Node, NodeState, Route, Running};
use lattice_proto::{ActorName, AppName, NodeName};

use super::scaling::Has;
use crate::placement::{Demand, Intake, Offer, Planner, Seat, Wanted};

/// Replicas that are moved at once only to sit better: a twentieth of all.
const REBALANCED: u64 = 20;

/// A node as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it says of itself, with the labels that an operator changed.
    pub record: Arc<Node>,
    /// What the leader makes of it.
    pub state: NodeState,
}

/// What is to be written.
#[derive(Debug, Default)]
pub struct Plan {
    /// By node.
    pub assignments: BTreeMap<NodeName, Assignment>,
    /// By actor; none where the route is to be removed.
    pub routes: BTreeMap<ActorName, Option<Route>>,
    /// Apps of which all runs as declared for the first time in this revision.
    pub met: BTreeMap<AppName, u64>,
    /// Updates that failed: the revision and why.
    pub failed: BTreeMap<AppName, (u64, String)>,
}

/// Plans for a whole lattice.
pub struct Reconciler {
    term: u64,
    planner: Planner,
    apps: BTreeMap<AppName, App>,
    actors: BTreeMap<ActorName, State>,
    nodes: BTreeMap<NodeName, Seen>,
    /// As it is stored.
    orders: BTreeMap<NodeName, BTreeMap<ActorName, Assigned>>,
    /// The nodes that have an order, by actor.
    ordered: BTreeMap<ActorName, BTreeSet<NodeName>>,
    /// The nodes that report it, by actor.
    running: BTreeMap<ActorName, BTreeSet<NodeName>>,
    /// As they are stored.
    routes: BTreeMap<ActorName, Route>,
    dirty: BTreeSet<ActorName>,
    dirty_nodes: BTreeSet<NodeName>,
    /// Actors that are on their way, and not stuck.
    moving: BTreeSet<ActorName>,
    /// Actors that are to be looked at again at a time.
    waking: BTreeMap<ActorName, Instant>,
    /// Apps that are known to have been met in their revision.
    met: BTreeMap<AppName, u64>,
}

/// An actor that is declared.
struct State {
    app: AppName,
    revision: u64,
    spec: Actor,
    /// The update to `spec.version` that is going on.
    update: Option<Update>,
    /// Versions that were found to be broken.
    condemned: BTreeSet<u64>,
    /// Whether all is as declared.
    met: bool,
    /// Whether nodes were asked to count and report failures.
    observed: bool,
    /// How many replicas there are to be, where the manifest leaves that to the lattice.
    scale: u32,
}

#[derive(Debug, Clone, Copy)]
struct Update {
    /// When its first replica was seen to be ready.
    first_ready: Option<Instant>,
}

impl Reconciler {
    /// Knows nothing yet.
    pub fn new(term: u64) -> Self {
        Self {
            term,
            planner: Planner::default(),
            apps: BTreeMap::new(),
            actors: BTreeMap::new(),
            nodes: BTreeMap::new(),
            orders: BTreeMap::new(),
            ordered: BTreeMap::new(),
            running: BTreeMap::new(),
            routes: BTreeMap::new(),
            dirty: BTreeSet::new(),
            dirty_nodes: BTreeSet::new(),
            moving: BTreeSet::new(),
            waking: BTreeMap::new(),
            met: BTreeMap::new(),
        }
    }

    /// Takes in the current revision of an app; `good` is the last one that was met.
    pub fn set_app(&mut self, app: &App, good: Option<u64>) {
        if good == Some(app.revision) {
            self.met.insert(app.app.clone(), app.revision);
        }
        let known = self.apps.get(&app.app);
        if known.is_some_and(|known| known.revision == app.revision) {
            return;
        }
        let is_new = known.is_none();
        let gone = known.into_iter().flat_map(|known| known.actors.keys());
        let gone: Vec<ActorName> = gone.filter(|actor| !app.actors.contains_key(*actor)).cloned().collect();
        for actor in gone {
            self.give_up(&actor, &app.app);
        }
        for (name, spec) in &app.actors {
            let why = match self.actors.get(name) {
                None if is_new => "declared".to_owned(),
                None => format!("declared in revision {}", app.revision),
                Some(before) if before.spec.settings.replicas != spec.settings.replicas => {
                    format!("scaled in revision {}", app.revision)
                }
                Some(_) => format!("changed in revision {}", app.revision),
            };
            let before = self.actors.remove(name);
            let (mut update, mut condemned, mut observed, mut scale) = (None, BTreeSet::new(), false, 0);
            if let Some(before) = before {
                (condemned, observed, scale) = (before.condemned, before.observed, before.scale);
                update = before.update.filter(|_| before.spec.version == spec.version);
            }
            if let Replicas::Range(range) = spec.settings.replicas {
                scale = scale.clamp(range.min, range.max);
            }
            self.planner.set_actor(name, Demand::of(&spec.settings, wanted(spec, scale)), &why);
            let (app_name, revision, spec) = (app.app.clone(), app.revision, spec.clone());
            // What somebody declares again gets another chance.
            condemned.remove(&spec.version);
            self.actors.insert(
                name.clone(),
                State { app: app_name, revision, spec, update, condemned, met: false, observed, scale },
            );
            self.dirty.insert(name.clone());
        }
        self.apps.insert(app.app.clone(), app.clone());
    }

    /// How many replicas there are to be of an actor of which the manifest leaves that to the lattice.
    pub fn set_scale(&mut self, actor: &ActorName, replicas: u32, why: &str) {
        let Some(state) = self.actors.get_mut(actor).filter(|state| state.scale != replicas) else { return };
        state.scale = replicas;
        let demand = Demand::of(&state.spec.settings, wanted(&state.spec, replicas));
        self.planner.set_actor(actor, demand, why);
        self.dirty.insert(actor.clone());
    }

    /// Actors of which the manifest leaves the number of replicas to the lattice, each with the replicas that it has.
    pub fn scaled(&self) -> Vec<(ActorName, Range, Has)> {
        let has = |actor: &ActorName| {
            let nodes = self.ordered.get(actor).into_iter().flatten();
            let placed = nodes.filter_map(|node| Some(self.orders.get(node)?.get(actor)?.placed)).sum();
            let nodes = self.running.get(actor).into_iter().flatten().filter_map(|node| self.nodes.get(node));
            let running =
                nodes.filter(|seen| is_alive(seen)).filter_map(|seen| seen.record.actors.get(actor));
            Has { placed, ready: running.map(Running::ready).sum() }
        };
        let scaled = self.actors.iter().filter_map(|(actor, state)| match state.spec.settings.replicas {
            Replicas::Range(range) => Some((actor.clone(), range, has(actor))),
            Replicas::Count(_) | Replicas::Each(_) => None,
        });
        scaled.collect()
    }

    /// Only these apps are declared.
    pub fn keep_apps(&mut self, declared: impl Fn(&AppName) -> bool) {
        let gone: Vec<AppName> = self.apps.keys().filter(|app| !declared(app)).cloned().collect();
        for app in gone {
            if let Some(app) = self.apps.remove(&app) {
                for actor in app.actors.keys() {
                    self.give_up(actor, &app.app);
                }
            }
        }
    }

    /// An app wants an actor no more. Another one may have it by now.
    fn give_up(&mut self, actor: &ActorName, app: &AppName) {
        if self.actors.get(actor).is_some_and(|state| state.app != *app) {
            return;
        }
        self.planner.remove_actor(actor);
        self.actors.remove(actor);
        self.dirty.insert(actor.clone());
    }

    /// Takes in a node, or what changed of it.
    pub fn set_node(&mut self, seen: &Seen) {
        let name = &seen.record.name;
        let known = self.nodes.get(name);
        if known.is_some_and(|known| known.state == seen.state && Arc::ptr_eq(&known.record, &seen.record)) {
            return;
        }
        let before = self.nodes.insert(name.clone(), seen.clone());
        match seen.state {
            NodeState::Gone => self.planner.remove_node(name),
            state => self.planner.set_node(name, offer(&seen.record, state)),
        }
        let none = BTreeMap::new();
        let (old, new) = (before.as_ref().map_or(&none, |seen| &seen.record.actors), &seen.record.actors);
        let same = |before: &Seen| {
            before.state == seen.state
                && before.record.incarnation == seen.record.incarnation
                && before.record.labels == seen.record.labels
        };
        if before.as_ref().is_some_and(same) {
            let changed = |actor: &&ActorName| old.get(*actor) != new.get(*actor);
            self.dirty.extend(old.keys().chain(new.keys()).filter(changed).cloned());
        } else {
            self.dirty.extend(old.keys().chain(new.keys()).cloned());
            self.dirty.extend(self.orders.get(name).into_iter().flat_map(BTreeMap::keys).cloned());
            // It may have had an order before it was known, or one that its loss took away.
            self.dirty_nodes.insert(name.clone());
        }
        for actor in old.keys().filter(|actor| !new.contains_key(*actor)) {
            if let Some(nodes) = self.running.get_mut(actor) {
                nodes.remove(name);
            }
        }
        for actor in new.keys() {
            self.running.entry(actor.clone()).or_default().insert(name.clone());
        }
    }

    /// A node is known no more.
    pub fn remove_node(&mut self, name: &NodeName) {
        let Some(before) = self.nodes.remove(name) else { return };
        self.planner.remove_node(name);
        for actor in before.record.actors.keys() {
            if let Some(nodes) = self.running.get_mut(actor) {
                nodes.remove(name);
            }
            self.dirty.insert(actor.clone());
        }
        self.dirty.extend(self.orders.get(name).into_iter().flat_map(BTreeMap::keys).cloned());
    }

    /// The names of all nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes.keys()
    }

    /// An assignment was stored, by this leader or by another. What is not as it should be is written again.
    pub fn saw_assignment(&mut self, node: &NodeName, assignment: &Assignment) {
        // An echo of what this leader wrote may be older than what it wrote since. What did not arrive is found otherwise.
        let foreign = assignment.term != self.term;
        if foreign && self.orders.get(node).is_none_or(|known| *known != assignment.actors) {
            self.dirty_nodes.insert(node.clone());
        }
    }

    /// Takes over what an earlier one found out about updates, which is stored nowhere.
    pub fn inherit(&mut self, earlier: Self) {
        for (name, before) in earlier.actors {
            if let Some(state) = self.actors.get_mut(&name) {
                state.condemned = before.condemned;
                if before.revision != state.revision {
                    // What somebody declares again gets another chance.
                    state.condemned.remove(&state.spec.version);
                }
                state.update = before.update.filter(|_| before.spec.version == state.spec.version);
            }
        }
    }

    /// Takes in what is stored for a node, when it begins. To be called after apps and nodes are known.
    pub fn set_assignment(&mut self, node: &NodeName, assignment: &Assignment) {
        for (actor, assigned) in &assignment.actors {
            let seat = Seat { replicas: assigned.placed, why: assigned.reason.as_str().into() };
            self.planner.set_seat(actor, node, seat);
            if let Some(state) = self.actors.get_mut(actor) {
                state.observed |= assigned.observed;
            }
            self.ordered.entry(actor.clone()).or_default().insert(node.clone());
            self.dirty.insert(actor.clone());
        }
        self.orders.insert(node.clone(), assignment.actors.clone());
    }

    /// Takes in what is stored of an actor's route.
    pub fn set_route(&mut self, actor: &ActorName, route: Option<Route>) {
        let known = match &route {
            Some(route) => self.routes.insert(actor.clone(), route.clone()),
            None => self.routes.remove(actor),
        };
        if known != route {
            // Whoever wrote it, it is made right again.
            self.dirty.insert(actor.clone());
        }
    }

    /// Whether there is anything to plan.
    pub fn is_due(&self, now: Instant) -> bool {
        !self.dirty.is_empty()
            || !self.dirty_nodes.is_empty()
            || self.waking.values().any(|at| *at <= now)
            || (self.moving.is_empty() && self.planner.is_uneasy())
    }

    /// What is to be written now. What it returns counts as written.
    pub fn plan(&mut self, now: Instant) -> Plan {
        self.dirty.extend(self.planner.settle());
        let awake: Vec<ActorName> =
            self.waking.iter().filter(|(_, at)| **at <= now).map(|(actor, _)| actor.clone()).collect();
        for actor in awake {
            self.waking.remove(&actor);
            self.dirty.insert(actor);
        }
        if self.dirty.is_empty() && self.moving.is_empty() && self.planner.is_uneasy() {
            let budget = (self.planner.replicas() / REBALANCED).max(1);
            self.dirty.extend(self.planner.rebalance(u32::try_from(budget).unwrap_or(u32::MAX)));
        }
        let mut plan = Plan::default();
        for actor in std::mem::take(&mut self.dirty) {
            self.plan_actor(&actor, now, &mut plan);
        }
        for node in std::mem::take(&mut self.dirty_nodes) {
            let actors = self.orders.get(&node).cloned().unwrap_or_default();
            plan.assignments.insert(node, Assignment { term: self.term, actors });
        }
        plan
    }
}

fn is_alive(seen: &Seen) -> bool {
    !matches!(seen.state, NodeState::Suspect | NodeState::Gone)
}

/// How many replicas an actor asks for; `scale` is what the lattice decided where that is left to it.
pub(super) fn wanted(spec: &Actor, scale: u32) -> Wanted {
    match spec.settings.replicas {
        Replicas::Count(count) => Wanted::Count(count),
        // Without a node that fits nobody owns its keys.
        Replicas::Each(_) => Wanted::Each(u32::from(spec.settings.kind.keyed().is_some())),
        Replicas::Range(_) => Wanted::Count(scale),
    }
}

/// What a node offers, in the state in which the leader sees it.
pub(super) fn offer(record: &Node, state: NodeState) -> Offer {
    let intake = match state {
        NodeState::Ready => Intake::Open,
        // A suspect keeps what it has until it is known to be lost; taking it away would only move it twice.
        NodeState::Cordoned | NodeState::Suspect => Intake::Kept,
        NodeState::Draining | NodeState::Gone => Intake::Closed,
    };
    Offer { labels: record.labels.clone(), intake, memory: record.memory_bytes, cpus: record.cpus }
}

#[cfg(test)]
mod tests;
