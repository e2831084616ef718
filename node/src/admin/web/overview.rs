//! The lattice at a glance: who calls whom, the nodes with what they run, actors and apps.

use std::collections::BTreeMap;

use lattice_proto::admin::{ActorPicture, NodePicture, Picture};
use maud::{Markup, html};

use super::graph;
use super::number::{bytes, micros, rate};

/// What is in the way of one app, as far as it is told here.
const PROBLEMS: usize = 5;

/// Actors and apps that are listed unless all are asked for: a page that is sent each second is to stay small.
const LISTED: usize = 100;

/// Actors that are shown on one node.
const CHIPS: usize = 12;

/// What is sent anew.
pub(super) fn contents(picture: &Picture, all: bool) -> Markup {
    let Picture { nodes, actors, .. } = picture;
    let ready = nodes.iter().filter(|node| node.state == "ready" && node.answers).count();
    let there = nodes.iter().filter(|node| node.state != "gone").count();
    let sum = |part: fn(&ActorPicture) -> Option<f64>| {
        let rates: Vec<f64> = actors.iter().filter_map(part).collect();
        (!rates.is_empty()).then(|| rates.iter().sum::<f64>())
    };
    let failures = sum(|actor| actor.failures_per_second);
    let mut runs = BTreeMap::<&str, Vec<(&ActorPicture, u64)>>::new();
    for actor in actors {
        for on in &actor.nodes {
            runs.entry(&on.node).or_default().push((actor, on.replicas));
        }
    }
    html! {
        h1 { "Lattice " (picture.lattice) }
        @if !picture.problem.is_empty() { p .problem { (picture.problem) } }
        dl .tiles {
            div { dt { "Nodes ready" } dd .wait[ready < there] { (ready) " of " (there) } }
            div { dt { "Actors" } dd { (actors.len()) } }
            div { dt { "Calls in a second" } dd { (rate(sum(|actor| actor.calls_per_second))) } }
            div { dt { "Failures in a second" }
                dd .bad[failures.is_some_and(|failures| failures > 0.0)] { (rate(failures)) } }
        }
        h2 #calls { "Who calls whom" }
        (graph::draw(picture))
        h2 #nodes { "Nodes" }
        ul .nodes { @for node in nodes { (card(node, runs.get(node.name.as_str()).map_or(&[], Vec::as_slice))) } }
        h2 #actors { "Actors" }
        (table(actors, all))
        h2 #apps { "Apps" }
        (apps(actors, all))
    }
}

fn card(node: &NodePicture, here: &[(&ActorPicture, u64)]) -> Markup {
    let tone = match node.state.as_str() {
        "ready" if node.answers => "",
        "gone" | "suspect" => "bad",
        _ => "wait",
    };
    let figures = node.state != "gone";
    html! {
        li .node .(tone) {
            h3 { (node.name) @if node.leader { " " span .faint { "leads" } } }
            p {
                (node.state) @if figures && !node.answers { ", does not answer" }
                @if figures {
                    ", " (rate(node.calls_per_second)) " calls/s, " (bytes(node.memory_bytes)) " of memory"
                }
            }
            @if figures {
                p .faint {
                    (node.replicas) " replicas, " (node.keys_awake) " keys awake; lease " (node.lease_ms) " ms, lag "
                    (micros(node.lag_us)) ", NATS " (micros(node.round_trip_us))
                }
            }
            @if !here.is_empty() {
                ul .chips {
                    @for (actor, replicas) in here.iter().take(CHIPS) {
                        li { a href={ "/actors/" (actor.actor) } { (actor.actor) @if *replicas > 1 { " ×" (replicas) } } }
                    }
                    @if here.len() > CHIPS { li { span { "and " (here.len() - CHIPS) " more" } } }
                }
            }
        }
    }
}

/// How bad it is: what fails first, then what is not as declared, then what is busy.
fn order(actor: &ActorPicture) -> (bool, bool, u64) {
    let failing = actor.failures_per_second.is_some_and(|failures| failures > 0.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for sorting")]
    let calls = (actor.calls_per_second.unwrap_or(0.0) * 1_000.0) as u64;
    (failing, !actor.problems.is_empty(), calls)
}

fn table(actors: &[ActorPicture], all: bool) -> Markup {
    let mut sorted: Vec<&ActorPicture> = actors.iter().collect();
    sorted.sort_by(|a, b| order(b).cmp(&order(a)).then_with(|| a.actor.cmp(&b.actor)));
    let shown = if all { sorted.len() } else { LISTED };
    html! {
        @if sorted.is_empty() { p .note { "Nothing is deployed yet: " code { "lattice apply lattice.toml" } } }
        @else {
            div .scroll tabindex="0" role="region" aria-labelledby="actors" {
                table {
                    thead { tr {
                        th { "Actor" } th .text { "App" } th { "Ready" } th { "Calls/s" } th { "Failures/s" } th { "Rejected/s" } th { "p50" } th { "p99" }
                        th { "Waiting" } th { "Memory" }
                    } }
                    tbody {
                        @for actor in sorted.iter().take(shown) {
                            tr {
                                td { a #{ "actor-" (actor.actor) } href={ "/actors/" (actor.actor) } { (actor.actor) } }
                                td .text { (actor.app) }
                                td .wait[!actor.problems.is_empty()] { (ready(actor)) }
                                td { (rate(actor.calls_per_second)) }
                                td .bad[order(actor).0] { (rate(actor.failures_per_second)) }
                                td { (rate(actor.calls_per_second.map(|_| rejected(actor)))) }
                                td { (micros(actor.p50_us)) }
                                td { (micros(actor.p99_us)) }
                                td { (actor.waiting) }
                                td { (bytes(actor.memory_bytes)) }
                            }
                        }
                    }
                }
            }
            @if sorted.len() > shown {
                p { "The " (shown) " that fail or do most are listed; " a href="/?all=1" { "all " (sorted.len()) } "." }
            }
        }
    }
}

/// What it answers by a rejection, in a second: it is no failure, and more than usual is worth a look.
fn rejected(actor: &ActorPicture) -> f64 {
    actor.faults_per_second.get("rejected").copied().unwrap_or(0.0)
}

/// What of an actor is ready.
pub(super) fn ready(actor: &ActorPicture) -> String {
    match actor.kind.as_str() {
        "keyed" => format!("{} keys", actor.keys_awake),
        _ => format!("{} of {}", actor.ready, actor.desired),
    }
}

fn apps(actors: &[ActorPicture], all: bool) -> Markup {
    let mut apps = BTreeMap::<&str, Vec<&ActorPicture>>::new();
    for actor in actors {
        apps.entry(&actor.app).or_default().push(actor);
    }
    let shown = if all { apps.len() } else { LISTED };
    html! {
        div .scroll tabindex="0" role="region" aria-labelledby="apps" {
            table {
                thead { tr { th { "App" } th { "Revision" } th { "Replicas" } th .text { "What is in the way" } } }
                tbody {
                    @for (app, actors) in apps.iter().take(shown) {
                        @let (ready, desired) = progress(actors);
                        @let problems: Vec<&String> = actors.iter().flat_map(|actor| &actor.problems).collect();
                        tr {
                            td { (app) }
                            td { (actors.iter().map(|actor| actor.revision).max().unwrap_or(0)) }
                            td .wait[ready < desired] { (ready) " of " (desired) }
                            td .text.long {
                                @if problems.is_empty() { span .faint { "nothing" } }
                                @for problem in problems.iter().take(PROBLEMS) { div .wait { (problem) } }
                                @if problems.len() > PROBLEMS { div .wait { "and " (problems.len() - PROBLEMS) " more" } }
                            }
                        }
                    }
                }
            }
        }
        @if apps.len() > shown { p { a #all-apps href="/?all=1" { "All " (apps.len()) } "." } }
    }
}

fn progress(actors: &[&ActorPicture]) -> (u32, u32) {
    let replicated = actors.iter().filter(|actor| actor.kind != "keyed");
    replicated.fold((0, 0), |(ready, desired), actor| (ready + actor.ready, desired + actor.desired))
}

#[cfg(test)]
mod tests {
    use lattice_proto::admin::{ActorOnNode, CallPicture};

    use super::*;

    /// A lattice of so many nodes and actors, each of which calls two others.
    fn large(nodes: usize, actors: usize) -> Picture {
        let node = |at: usize| NodePicture {
            name: format!("node-{at}"),
            state: "ready".to_owned(),
            answers: true,
            ..NodePicture::default()
        };
        let on = |at: usize| ActorOnNode { node: format!("node-{}", at % nodes), ..ActorOnNode::default() };
        let actor = |at: usize| ActorPicture {
            actor: format!("actor-{at}"),
            app: format!("app-{}", at / 10),
            calls_per_second: Some(5.0),
            nodes: (0..3).map(|step| on(at + step)).collect(),
            ..ActorPicture::default()
        };
        let call = |at: usize| CallPicture {
            caller: format!("actor-{}", at % actors),
            actor: format!("actor-{}", (at * 7 + 1) % actors),
            calls_per_second: 1.0,
            failures_per_second: 0.0,
        };
        Picture {
            lattice: "large".to_owned(),
            nodes: (0..nodes).map(node).collect(),
            actors: (0..actors).map(actor).collect(),
            calls: (0..2 * actors).map(call).collect(),
            ..Picture::default()
        }
    }

    #[test]
    fn a_page_that_is_sent_each_second_stays_small_and_is_made_in_time() {
        let picture = large(50, 500);
        let began = std::time::Instant::now();
        let page = contents(&picture, false).into_string();
        let took = began.elapsed();
        assert!(page.len() < 256 << 10, "{} bytes", page.len());
        // Three times the 200 ms that all of an update may take, of which this is to be little.
        assert!(took < std::time::Duration::from_millis(600), "{took:?}");
        assert!(page.contains("all 500") && page.contains("node-49"));
    }
}
