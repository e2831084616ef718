//! From what is declared and what is there to what should be. Pure.

use std::collections::{BTreeMap, BTreeSet};

use lattice_proto::manifest::Ingress;
use lattice_proto::record::{App, Assigned, Assignment, Node, NodeState, Route, Target};
use lattice_proto::{ActorName, NodeName};

use crate::placement::{self, Current, Demand, Offer, Placed};

/// A node as the leader sees it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub record: Node,
    pub state: NodeState,
}

/// What the leader knows.
pub(super) struct World<'a> {
    /// The current revision of each app.
    pub apps: BTreeMap<&'a lattice_proto::AppName, &'a App>,
    /// Every node with a record.
    pub nodes: &'a BTreeMap<NodeName, Seen>,
    /// What was assigned before.
    pub assigned: &'a BTreeMap<NodeName, Assignment>,
}

/// What should be.
pub(super) struct Plan {
    /// For every node that has or had an assignment.
    pub assignments: BTreeMap<NodeName, Assignment>,
    /// For every actor.
    pub routes: BTreeMap<ActorName, Route>,
}

pub(super) fn plan(world: &World<'_>, term: u64) -> Plan {
    let placed = placement::place(&demands(world), &offers(world), &current(world));
    Plan { assignments: assignments(world, &placed, term), routes: routes(world, &placed) }
}

fn actors<'a>(
    world: &'a World<'_>,
) -> impl Iterator<Item = (&'a App, &'a ActorName, &'a lattice_proto::record::Actor)> {
    world.apps.values().flat_map(|app| app.actors.iter().map(move |(name, actor)| (*app, name, actor)))
}

fn demands(world: &World<'_>) -> BTreeMap<ActorName, Demand> {
    actors(world)
        .map(|(_, name, actor)| {
            let settings = &actor.settings;
            (name.clone(), Demand { replicas: settings.replicas, require: settings.require.clone() })
        })
        .collect()
}

fn offers(world: &World<'_>) -> BTreeMap<NodeName, Offer> {
    let offer = |seen: &Seen| Offer {
        labels: seen.record.labels.clone(),
        // A suspect keeps what it has until it is known to be lost; taking it away would only move it twice.
        ready: matches!(seen.state, NodeState::Ready | NodeState::Suspect) && !seen.record.draining,
    };
    world.nodes.iter().map(|(name, seen)| (name.clone(), offer(seen))).collect()
}

fn current(world: &World<'_>) -> Current {
    let mut current = Current::new();
    for (node, assignment) in world.assigned {
        for (actor, assigned) in &assignment.actors {
            current.entry(actor.clone()).or_default().insert(node.clone(), assigned.replicas);
        }
    }
    current
}

fn assignments(
    world: &World<'_>,
    placed: &BTreeMap<ActorName, Placed>,
    term: u64,
) -> BTreeMap<NodeName, Assignment> {
    let known = world.nodes.keys().chain(world.assigned.keys());
    let mut assignments: BTreeMap<NodeName, Assignment> =
        known.map(|node| (node.clone(), Assignment { term, actors: BTreeMap::new() })).collect();
    for (app, name, actor) in actors(world) {
        let Some(placed) = placed.get(name) else { continue };
        let (counts, leaving) = make_before_break(world, app.revision, name, placed, actor.settings.replicas);
        for (node, replicas) in &counts {
            if let Some(assignment) = assignments.get_mut(node) {
                let assigned = Assigned {
                    app: app.app.clone(),
                    revision: app.revision,
                    spec: actor.clone(),
                    replicas: *replicas,
                    reason: placed.reason.clone(),
                };
                assignment.actors.insert(name.clone(), assigned);
            }
        }
        for (node, before) in leaving {
            if let Some(assignment) = assignments.get_mut(&node) {
                assignment.actors.insert(name.clone(), before);
            }
        }
    }
    assignments
}

/// What each node is to run now: as placed, and until all of that is ready also what living nodes are about to lose.
///
/// So a drain, a rebalancing and a node that comes back move replicas without a moment in which there are fewer. A node
/// that is to lose all of them keeps its old order as it was: a new revision never starts where it must not.
fn make_before_break(
    world: &World<'_>,
    revision: u64,
    actor: &ActorName,
    placed: &Placed,
    wanted: u32,
) -> (BTreeMap<NodeName, u32>, BTreeMap<NodeName, Assigned>) {
    let ready = |node: &NodeName| {
        let seen = world.nodes.get(node).filter(|seen| is_alive(seen));
        let running = seen.and_then(|seen| seen.record.actors.get(actor));
        running.filter(|running| running.revision == revision).map_or(0, |running| running.ready)
    };
    let made: u32 = placed.nodes.iter().map(|(node, replicas)| ready(node).min(*replicas)).sum();
    let (mut counts, mut leaving) = (placed.nodes.clone(), BTreeMap::new());
    if made >= wanted {
        return (counts, leaving);
    }
    for (node, assignment) in world.assigned {
        let Some(before) = assignment.actors.get(actor).filter(|before| before.replicas > 0) else {
            continue;
        };
        if !world.nodes.get(node).is_some_and(is_alive) {
            continue;
        }
        match counts.get_mut(node) {
            Some(count) => *count = before.replicas.max(*count),
            None => drop(leaving.insert(node.clone(), before.clone())),
        }
    }
    (counts, leaving)
}

fn is_alive(seen: &Seen) -> bool {
    !matches!(seen.state, NodeState::Suspect | NodeState::Gone)
}

fn routes(world: &World<'_>, placed: &BTreeMap<ActorName, Placed>) -> BTreeMap<ActorName, Route> {
    let mut routes = BTreeMap::new();
    for (app, name, actor) in actors(world) {
        let mut targets = Vec::new();
        let mut problems: BTreeSet<String> = BTreeSet::new();
        problems.extend(placed.get(name).and_then(|placed| placed.shortfall.clone()));
        for (node, seen) in world.nodes {
            let Some(running) = seen.record.actors.get(name) else { continue };
            if !is_alive(seen) {
                continue;
            }
            problems.extend(running.problem.as_ref().map(|problem| format!("on {node}: {problem}")));
            if running.ready > 0 {
                let current = running.revision == app.revision;
                targets.push(Target {
                    node: node.clone(),
                    incarnation: seen.record.incarnation.clone(),
                    zone: seen.record.labels.get("zone").cloned(),
                    ready: if current { running.ready } else { 0 },
                    stale: if current { 0 } else { running.ready },
                });
            }
        }
        let route = Route {
            app: app.app.clone(),
            revision: app.revision,
            desired: actor.settings.replicas,
            targets,
            idempotent: actor.idempotent.clone(),
            nats: actor.settings.ingress.contains(&Ingress::Nats),
            problems: problems.into_iter().collect(),
        };
        routes.insert(name.clone(), route);
    }
    routes
}

/// Whether two assignments ask for the same; the term alone is no reason to write.
pub(super) fn same(before: Option<&Assignment>, after: &Assignment) -> bool {
    match before {
        Some(before) => before.actors == after.actors,
        None => after.actors.is_empty(),
    }
}
