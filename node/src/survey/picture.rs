//! Puts together what is declared, what nodes report and what they say of themselves. Pure.

use std::collections::BTreeMap;

use lattice_proto::admin::{ActorOnNode, ActorPicture, CallPicture, NodePicture, Picture};
use lattice_proto::record::{App, NodeState, Route};
use lattice_proto::survey::Survey;
use lattice_proto::{ActorName, Incarnation};
use tokio::time::Instant;

use super::rates::{Between, Happened, REJECTED, float};
use crate::controller::NodeView;

/// What is declared and reported.
#[derive(Default)]
pub(super) struct Listing {
    pub nodes: Vec<NodeView>,
    pub actors: Vec<(App, ActorName, Option<Route>)>,
}

/// What one node said.
pub(super) struct Known {
    pub survey: Survey,
    /// Since the survey before.
    pub between: Option<Between>,
    /// Whether it answered this time.
    pub answers: bool,
    /// When it answered last.
    pub heard: Instant,
}

/// The picture, without its moment.
pub(super) fn paint(lattice: &str, listing: &Listing, known: &BTreeMap<Incarnation, Known>) -> Picture {
    Picture {
        at_ms: 0,
        lattice: lattice.to_owned(),
        nodes: listing.nodes.iter().map(|view| node(view, known.get(&view.record.incarnation))).collect(),
        actors: listing
            .actors
            .iter()
            .map(|(app, name, route)| actor(app, name, route.as_ref(), known))
            .collect(),
        calls: calls(known),
        problem: problem(known),
    }
}

fn node(view: &NodeView, known: Option<&Known>) -> NodePicture {
    let record = &view.record;
    let host = known.map(|known| known.survey.host).unwrap_or_default();
    let between = known.and_then(|known| known.between.as_ref());
    let handled = |between: &Between| sum(between.actors.values().map(|happened| float(happened.handled)));
    NodePicture {
        name: record.name.to_string(),
        state: view.state.as_str().to_owned(),
        leader: view.leader,
        answers: known.is_some_and(|known| known.answers),
        version: record.version.clone(),
        admin: record.admin.clone(),
        cpus: record.cpus,
        machine_bytes: record.memory_bytes,
        memory_bytes: host.memory,
        guest_bytes: host.guest_memory,
        replicas: host.replicas,
        keys_awake: host.keys_awake,
        lease_ms: host.lease_ms,
        calls_per_second: between.map(|between| handled(between) / between.seconds),
        round_trip_us: between.and_then(|between| between.round_trip_us),
        lag_us: between.and_then(|between| between.lag_us),
    }
}

/// Of none it is 0: what the standard library makes of none is shown as `-0`.
fn sum(rates: impl Iterator<Item = f64>) -> f64 {
    rates.fold(0.0, |sum, rate| sum + rate)
}

fn actor(
    app: &App,
    name: &ActorName,
    route: Option<&Route>,
    known: &BTreeMap<Incarnation, Known>,
) -> ActorPicture {
    let keyed = app.actors.get(name).is_some_and(|actor| actor.settings.kind.keyed().is_some());
    let targets = route.map(|route| route.targets.as_slice()).unwrap_or_default();
    let mut picture = ActorPicture {
        actor: name.to_string(),
        app: app.app.to_string(),
        kind: if keyed { "keyed" } else { "replicated" }.to_owned(),
        revision: app.revision,
        desired: route.map_or(0, |route| route.desired),
        ready: targets.iter().map(|target| target.ready + target.stale).sum(),
        problems: route.map(|route| route.problems.clone()).unwrap_or_default(),
        ..ActorPicture::default()
    };
    let mut all = Happened::default();
    // Rates of nodes add up; each was taken in a time of its own.
    let (mut calls, mut cpus, mut seen) = (0.0, 0.0, false);
    let mut faults = BTreeMap::<String, f64>::new();
    for known in known.values() {
        let happened = known
            .between
            .as_ref()
            .and_then(|between| between.actors.get(name).map(|happened| (happened, between.seconds)));
        if let Some((happened, seconds)) = happened {
            seen = true;
            calls += float(happened.handled) / seconds;
            cpus += float(happened.cpu_us) / 1e6 / seconds;
            for (kind, count) in &happened.faults {
                *faults.entry(kind.clone()).or_default() += float(*count) / seconds;
            }
            all.add_latencies(happened);
        }
        let Some(facts) = known.survey.actors.get(name) else { continue };
        picture.in_flight += facts.in_flight;
        picture.waiting += facts.waiting;
        picture.memory_bytes += facts.memory;
        picture.keys_awake += facts.awake;
        picture.traps += facts.traps;
        if facts.replicas > 0 || facts.awake > 0 || facts.memory > 0 {
            picture.nodes.push(ActorOnNode {
                node: known.survey.node.to_string(),
                replicas: facts.replicas,
                in_flight: facts.in_flight,
                memory_bytes: facts.memory,
                calls_per_second: happened.map(|(happened, seconds)| float(happened.handled) / seconds),
            });
        }
    }
    picture.nodes.sort_by(|a, b| a.node.cmp(&b.node));
    if seen {
        let failures = sum(faults.iter().filter(|(kind, _)| *kind != REJECTED).map(|(_, rate)| *rate));
        picture.calls_per_second = Some(calls);
        picture.cpus = Some(cpus);
        picture.failures_per_second = Some(failures);
        picture.p50_us = all.percentile_us(50.0);
        picture.p99_us = all.percentile_us(99.0);
        picture.faults_per_second = faults.into_iter().collect();
    }
    picture
}

fn calls(known: &BTreeMap<Incarnation, Known>) -> Vec<CallPicture> {
    let mut edges = BTreeMap::<(String, String), (f64, f64)>::new();
    for between in known.values().filter_map(|known| known.between.as_ref()) {
        for ((caller, actor), edge) in &between.edges {
            let caller = caller.as_ref().map(ActorName::to_string).unwrap_or_default();
            let (calls, failed) = edges.entry((caller, actor.to_string())).or_default();
            *calls += float(edge.calls) / between.seconds;
            *failed += float(edge.failed) / between.seconds;
        }
    }
    let picture = |((caller, actor), (calls_per_second, failures_per_second))| CallPicture {
        caller,
        actor,
        calls_per_second,
        failures_per_second,
    };
    edges.into_iter().map(picture).collect()
}

fn problem(known: &BTreeMap<Incarnation, Known>) -> String {
    let cut: Vec<&str> =
        known.values().filter(|known| known.survey.cut).map(|known| known.survey.node.as_str()).collect();
    match cut[..] {
        [] => String::new(),
        _ => {
            format!("not all that runs on {} is shown: it has too many actors for one answer", cut.join(", "))
        }
    }
}

/// Whether a node is to be asked.
pub(super) fn is_asked(view: &NodeView) -> bool {
    view.state != NodeState::Gone
}
