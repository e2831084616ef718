//! A simulated lattice: nodes that do what is assigned to them, and are lost, and come back.

use std::time::Duration;

use lattice_proto::manifest::{Percent, Settings};
use lattice_proto::record::{Health, Running};
use lattice_proto::{Digest, Incarnation};

use super::*;

/// Nodes, and what they run.
struct Simulation {
    reconciler: Reconciler,
    nodes: BTreeMap<NodeName, Node>,
    now: Instant,
}

fn settings(replicas: u32) -> Settings {
    Settings { replicas: Replicas::Count(replicas), ..Settings::default() }
}

fn app(name: &str, revision: u64, actors: &[(String, u64, Settings)]) -> App {
    let actor = |(name, version, settings): &(String, u64, Settings)| {
        let (version, settings, idempotent) = (*version, settings.clone(), BTreeSet::new());
        let digest = Digest::of(version.to_string().as_bytes());
        let since = version;
        (
            name.parse().unwrap(),
            Actor { version, since, beside: None, digest, from: None, settings, idempotent },
        )
    };
    App {
        app: name.parse().unwrap(),
        revision,
        request_id: String::new(),
        origin: lattice_proto::record::Origin::Apply,
        declared_ms: 0,
        actors: actors.iter().map(actor).collect(),
    }
}

impl Simulation {
    fn new(nodes: usize) -> Self {
        let mut simulation =
            Self { reconciler: Reconciler::new(1), nodes: BTreeMap::new(), now: Instant::now() };
        for n in 0..nodes {
            simulation.join(&format!("n{n}"));
        }
        simulation
    }

    fn join(&mut self, name: &str) {
        let zone = format!("z{}", name.len() % 3);
        let record = Node {
            name: name.parse().unwrap(),
            incarnation: Incarnation::generate(),
            labels: [("zone".to_owned(), zone)].into(),
            cpus: 8,
            memory_bytes: 64 << 30,
            version: "0".into(),
            admin: String::new(),
            http: None,
            draining: false,
            actors: BTreeMap::new(),
            activations: 0,
            released: BTreeMap::new(),
        };
        self.nodes.insert(record.name.clone(), record.clone());
        self.tell(&record, NodeState::Ready);
    }

    fn lose(&mut self, name: &NodeName) {
        let record = self.nodes.remove(name).unwrap();
        self.tell(&record, NodeState::Gone);
    }

    fn tell(&mut self, record: &Node, state: NodeState) {
        self.reconciler.set_node(&Seen { record: Arc::new(record.clone()), state });
    }

    /// One plan, and all nodes do as they are told.
    fn step(&mut self, health: impl Fn(u64) -> Health) -> Plan {
        let plan = self.reconciler.plan(self.now);
        self.obey(&plan, health);
        plan
    }

    fn obey(&mut self, plan: &Plan, health: impl Fn(u64) -> Health) {
        for (name, assignment) in &plan.assignments {
            let Some(mut record) = self.nodes.get(name).cloned() else { continue };
            record.actors.clear();
            for (actor, assigned) in &assignment.actors {
                let health = |(version, replicas): (&u64, &u32)| {
                    (*version, Health { ready: *replicas, ..health(*version) })
                };
                let versions = assigned.versions.iter().map(health).collect();
                record.actors.insert(
                    actor.clone(),
                    Running { app: Some(assigned.app.clone()), versions, problem: None },
                );
            }
            self.nodes.insert(name.clone(), record.clone());
            self.tell(&record, NodeState::Ready);
        }
    }

    /// Goes on until nothing is left to do, and returns all that was noted on the way.
    fn settle(&mut self) -> Vec<Plan> {
        let mut plans = Vec::new();
        for _ in 0..2_000 {
            if !self.reconciler.is_due(self.now) {
                match self.reconciler.waking.values().min() {
                    Some(at) => self.now = *at,
                    None => return plans,
                }
            }
            plans.push(self.step(|_| Health::default()));
        }
        panic!("it does not come to rest");
    }

    fn running(&self, actor: &str) -> u32 {
        self.nodes.values().filter_map(|node| node.actors.get(actor)).map(Running::ready).sum()
    }
}

#[test]
fn counts_that_come_late_are_waited_for() {
    let mut simulation = Simulation::new(3);
    let one = |version: u64| [("one".into(), version, settings(6))];
    simulation.reconciler.set_app(&app("a", 1, &one(1)), None);
    simulation.settle();
    simulation.reconciler.set_app(&app("a", 2, &one(2)), None);
    // By the leader's clock all is well for an hour, and the nodes have looked for a moment only.
    let late = |_: u64| Health { observed_ms: Some(200), ..Health::default() };
    for _ in 0..50 {
        simulation.step(late);
        simulation.now += Duration::from_secs(60);
    }
    let there = |version: u64| {
        let running = simulation.nodes.values().flat_map(|node| node.actors.values());
        running.filter_map(|running| running.versions.get(&version)).map(|health| health.ready).sum::<u32>()
    };
    assert_eq!((there(1), there(2)), (4, 2), "no more than the first are made");
    for mut record in simulation.nodes.clone().into_values() {
        let health = record.actors.values_mut().filter_map(|running| running.versions.get_mut(&2));
        health.for_each(|health| (health.observed_ms, health.crashes) = (Some(5_000), 3));
        simulation.tell(&record, NodeState::Ready);
    }
    let plan = simulation.reconciler.plan(simulation.now);
    assert!(plan.failed.contains_key("a"), "{:?}", plan.failed);
}

#[test]
fn what_another_app_runs_under_the_same_name_does_not_count() {
    let mut simulation = Simulation::new(3);
    let one = [("one".into(), 1, settings(6))];
    simulation.reconciler.set_app(&app("a", 1, &one), None);
    simulation.settle();
    // Both have a version 1, and nothing tells them apart but the app.
    simulation.reconciler.keep_apps(|app| app.as_str() != "a");
    simulation.reconciler.set_app(&app("b", 1, &one), None);
    let plan = simulation.reconciler.plan(simulation.now);
    assert_eq!(plan.met, BTreeMap::new());
    let route = plan.routes.values().flatten().next().unwrap();
    assert_eq!((route.app.as_str(), route.targets.len()), ("b", 0));
    simulation.obey(&plan, |_| Health::default());
    let plans = simulation.settle();
    assert_eq!(plans.iter().flat_map(|plan| plan.met.keys()).map(AppName::as_str).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn what_is_declared_runs_and_what_is_not_is_gone() {
    let mut simulation = Simulation::new(3);
    simulation.reconciler.set_app(&app("a", 1, &[("one".into(), 1, settings(6))]), None);
    let plans = simulation.settle();
    assert_eq!(simulation.running("one"), 6);
    assert_eq!(plans.iter().flat_map(|plan| plan.met.values()).collect::<Vec<_>>(), [&1]);
    assert!(!simulation.reconciler.is_due(simulation.now), "nothing is left to do");
    simulation.reconciler.keep_apps(|_| false);
    simulation.settle();
    assert_eq!(simulation.running("one"), 0);
    assert!(simulation.reconciler.routes.is_empty(), "{:?}", simulation.reconciler.routes);
}

#[test]
fn a_new_leader_finds_everything_as_it_should_be() {
    let mut simulation = Simulation::new(5);
    let declared = app("a", 1, &[("one".into(), 1, settings(7)), ("two".into(), 1, settings(3))]);
    simulation.reconciler.set_app(&declared, None);
    simulation.settle();
    let mut next = Reconciler::new(2);
    for node in simulation.nodes.values() {
        next.set_node(&Seen { record: Arc::new(node.clone()), state: NodeState::Ready });
    }
    next.set_app(&declared, Some(1));
    for (node, actors) in &simulation.reconciler.orders {
        next.set_assignment(node, &Assignment { term: 1, actors: actors.clone() });
    }
    for (actor, route) in &simulation.reconciler.routes {
        next.set_route(actor, Some(route.clone()));
    }
    let plan = next.plan(simulation.now);
    let changed = plan.assignments.iter().filter(|(node, assignment)| {
        simulation.reconciler.orders.get(*node).is_none_or(|known| *known != assignment.actors)
    });
    assert_eq!(changed.count(), 0);
    assert!(plan.routes.is_empty() && plan.met.is_empty(), "{plan:?}");
}

#[test]
fn a_version_that_fails_is_reported_until_it_is_taken_back() {
    let mut simulation = Simulation::new(3);
    simulation.reconciler.set_app(&app("a", 1, &[("one".into(), 1, settings(6))]), None);
    simulation.settle();
    simulation.reconciler.set_app(&app("a", 2, &[("one".into(), 2, settings(6))]), Some(1));
    let sick = |version| Health {
        crashes: if version == 2 { 5 } else { 0 },
        handled: 5,
        failed: 5,
        ..Health::default()
    };
    let mut failed = Vec::new();
    for _ in 0..10 {
        failed.extend(simulation.step(sick).failed.into_values());
        simulation.now += Duration::from_secs(1);
    }
    assert!(failed.len() > 1 && failed.iter().all(|(revision, _)| *revision == 2), "{failed:?}");
    // Until then no more replicas are made of it than were there when it was found out.
    assert!(simulation.running("one") >= 6);
    let problems = &simulation.reconciler.routes["one"].problems;
    assert!(problems.iter().any(|problem| problem.starts_with("the update fails")), "{problems:?}");
    let good = app("a", 3, &[("one".into(), 1, settings(6))]);
    simulation.reconciler.set_app(&good, Some(1));
    let plans = simulation.settle();
    assert!(plans.iter().all(|plan| plan.failed.is_empty()), "{plans:?}");
    assert_eq!(simulation.running("one"), 6);
    assert_eq!(Percent(5), settings(1).update.failures);
}

#[test]
fn an_actor_that_moves_between_apps_is_kept_whoever_comes_first() {
    let mut simulation = Simulation::new(2);
    let other = |app_name: &str, revision, actors: &[&str]| {
        let actors: Vec<_> = actors.iter().map(|name| ((*name).to_owned(), 2, settings(2))).collect();
        app(app_name, revision, &actors)
    };
    simulation.reconciler.set_app(&other("z", 2, &["x", "y"]), None);
    simulation.settle();
    // The new owner is heard of before the old one has given it up.
    simulation.reconciler.set_app(&other("a", 2, &["x"]), None);
    simulation.reconciler.set_app(&other("z", 3, &["y"]), None);
    simulation.settle();
    assert_eq!((simulation.running("x"), simulation.running("y")), (2, 2));
    let orders = simulation.reconciler.orders.values().filter_map(|orders| orders.get("x"));
    assert!(orders.clone().count() > 0 && orders.clone().all(|order| order.app.as_str() == "a"));
}

#[test]
fn an_update_to_no_replicas_ends() {
    let mut simulation = Simulation::new(2);
    simulation.reconciler.set_app(&app("a", 1, &[("one".into(), 1, settings(2))]), None);
    simulation.settle();
    simulation.reconciler.set_app(&app("a", 2, &[("one".into(), 2, settings(0))]), Some(1));
    let plans = simulation.settle();
    assert_eq!(simulation.running("one"), 0);
    assert!(plans.iter().any(|plan| plan.met.values().any(|revision| *revision == 2)), "{plans:?}");
}

/// Actors of this size make a million replicas on ten thousand nodes.
fn load(nodes: usize) -> Vec<(String, u64, Settings)> {
    let actors = nodes / 10;
    (0..actors).map(|n| (format!("a{n}"), 1, settings(1_000))).collect()
}

/// Plans from nothing, loses a node, and goes through a seeded churn, with so many nodes.
fn churn(nodes: usize, rounds: usize) -> (Duration, Duration) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut simulation = Simulation::new(nodes);
    let declared: Vec<App> =
        load(nodes).chunks(100).enumerate().map(|(n, actors)| app(&format!("app{n}"), 1, actors)).collect();
    for app in &declared {
        simulation.reconciler.set_app(app, None);
    }
    let began = Instant::now();
    let plan = simulation.reconciler.plan(simulation.now);
    let from_nothing = began.elapsed();
    assert_eq!(plan.assignments.len(), nodes);
    let placed: u64 = simulation.reconciler.planner.replicas();
    assert_eq!(placed, nodes as u64 * 100);
    simulation.obey(&plan, |_| Health::default());
    simulation.settle();

    let victim: NodeName = "n3".parse().unwrap();
    simulation.lose(&victim);
    let began = Instant::now();
    let moved = simulation.reconciler.planner.settle();
    let placed = began.elapsed();
    simulation.reconciler.dirty.extend(moved);
    let plan = simulation.reconciler.plan(simulation.now);
    let lost = began.elapsed();
    assert!(plan.assignments.len() <= 101 + nodes / 10, "{}", plan.assignments.len());
    simulation.obey(&plan, |_| Health::default());
    simulation.settle();

    for round in 0..rounds {
        match random.u32(0..3) {
            0 => {
                let names: Vec<NodeName> = simulation.nodes.keys().cloned().collect();
                simulation.lose(&names[random.usize(..names.len())]);
            }
            1 => simulation.join(&format!("m{round}")),
            _ => {
                let app = random.usize(..declared.len());
                let mut next = declared[app].clone();
                next.revision = round as u64 + 2;
                for actor in next.actors.values_mut().take(5) {
                    actor.settings.replicas = Replicas::Count(random.u32(900..1_100));
                }
                simulation.reconciler.set_app(&next, None);
            }
        }
        simulation.settle();
    }
    for (name, state) in &simulation.reconciler.actors {
        assert!(state.met, "{name}");
    }
    println!("measured: {nodes} nodes: placed anew in {placed:?}");
    (from_nothing, lost)
}

#[test]
fn a_lattice_of_a_hundred_nodes_comes_to_rest_through_any_churn() {
    let (from_nothing, lost) = churn(100, 60);
    assert!(lost < from_nothing);
}

/// Ten thousand nodes and a million replicas. For the soak, as it takes its time.
#[test]
#[ignore = "takes long; `cargo xtask soak` runs it"]
fn a_lattice_of_ten_thousand_nodes_comes_to_rest_through_churn() {
    for nodes in [100, 1_000, 10_000] {
        let (from_nothing, lost) = churn(nodes, 12);
        println!(
            "measured: {nodes} nodes: planned from nothing in {from_nothing:?}, after a loss in {lost:?}"
        );
    }
}
