//! An actor pinned to the edge serves local callers without NATS, also after a restart, and is brought up to date later.

use std::path::PathBuf;
use std::time::Duration;

use lattice_tests::lattice::Settings;
use lattice_tests::load::Plan;
use lattice_tests::{Lattice, Node, Relay, manifests, say, wait_until};
use serde_json::json;

const LATEST: Duration = Duration::from_secs(60);

/// The index of the node at the edge; the other one is 0.
const EDGE: usize = 1;

/// A node in the cloud and one at the edge, behind this link, with the greeter pinned there.
async fn edge(link: Option<&Relay>, lattice: Lattice) -> Lattice {
    let mut lattice = lattice;
    let mut settings = lattice.nodes[0].settings().clone();
    "edge".clone_into(&mut settings.name);
    settings.labels = vec!["tier=edge".to_owned()];
    settings.folder = lattice.nats.folder().join("edge");
    settings.nats = link.map_or(settings.nats, |link| Some(link.url()));
    lattice.nodes.push(Node::start(settings).await);
    lattice.wait_until_joined(LATEST).await;
    lattice.apply(&greeting("Hello")).await;
    wait_until_kept(&lattice, 1).await;
    lattice
}

fn greeting(text: &str) -> String {
    let lines = "placement = { require = [\"tier=edge\"] }\nreplicas = 2";
    manifests::greeter_with(&format!("{lines}\nenv = {{ GREETING = \"{text}\" }}"))
}

fn kept(settings: &Settings) -> PathBuf {
    settings.folder.join("data/last/assignment.json")
}

/// Waits until this version of the greeter is what the edge would begin with.
async fn wait_until_kept(lattice: &Lattice, version: u64) {
    let file = kept(lattice.nodes[EDGE].settings());
    let observe = async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default()
    };
    let version = version.to_string();
    wait_until("the assignment is on disk", LATEST, observe, |kept| {
        let versions = kept["assignment"]["actors"]["greeter"]["versions"].as_object();
        versions.is_some_and(|versions| versions.keys().eq([&version]))
    })
    .await;
}

/// Waits until a node greets like this.
async fn wait_for_greeting(lattice: &Lattice, via: usize, text: &str) {
    let wanted = json!(format!("{text}, Ada!"));
    let observe = async || lattice.call(via, "greeter", "hello", json!("Ada")).await;
    wait_until(&format!("node {via} says {text}"), LATEST, observe, |said| {
        said.as_ref().ok() == Some(&wanted)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_actor_serves_its_node_without_nats_and_after_a_restart_without_nats() {
    let mut lattice = edge(None, Lattice::start(1).await).await;
    lattice.nats.stop().await;
    let report = lattice.load(&Plan::greet(50, Duration::from_secs(3), &[EDGE])).finish().await;
    assert_eq!(report.kinds(), [].into(), "{report}");

    lattice.restart_node(EDGE).await;
    assert_eq!(lattice.nodes[EDGE].ready().nats, "offline");
    wait_for_greeting(&lattice, EDGE, "Hello").await;
    let fault = lattice.call(EDGE, "elsewhere", "hello", json!("Ada")).await.unwrap_err();
    assert_eq!(fault.kind(), "no-replica", "{fault}");
    assert!(fault.elapsed < Duration::from_secs(1), "{fault}");
    let fault = lattice.list_nodes(EDGE).await.unwrap_err();
    assert_eq!(fault.kind(), "unavailable", "{fault}");
    let fault = lattice.try_apply(EDGE, &greeting("Later")).await.unwrap_err();
    assert_eq!(fault.kind(), "unavailable", "{fault}");

    // Nothing that runs is started anew when the link is back.
    let load = lattice.load(&Plan::greet(50, Duration::from_secs(120), &[EDGE]));
    lattice.nats.restart().await;
    lattice.wait_until_joined(LATEST).await;
    lattice.wait_for_spread(0, "greeter", &[2], LATEST).await;
    wait_for_greeting(&lattice, 0, "Hello").await;
    load.wait_for(50).await;
    let report = load.stop().await;
    say(&format!("measured while the link came back: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
    let said = lattice.nodes[EDGE].output();
    assert!(said.contains("online name=edge"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_declared_while_the_link_was_gone_is_rolled_in_when_it_is_back() {
    let lattice = Lattice::start(1).await;
    let mut link = Relay::to(&lattice.nats).await;
    let mut lattice = edge(Some(&link), lattice).await;
    for (version, text, restart) in [(2, "Two", false), (3, "Three", true)] {
        link.cut();
        let observe = async || lattice.list_nodes(0).await.unwrap_or_default();
        wait_until("the edge is taken for lost", LATEST, observe, |nodes| {
            nodes.iter().all(|node| node.name != "edge" || node.state == "gone")
        })
        .await;
        let declared = lattice.begin_apply(0, &greeting(text)).await.unwrap();
        if restart {
            lattice.restart_node(EDGE).await;
            assert_eq!(lattice.nodes[EDGE].ready().nats, "offline");
            wait_for_greeting(&lattice, EDGE, "Two").await;
        }

        let load = lattice.load(&Plan::greet(50, Duration::from_secs(120), &[EDGE]));
        load.wait_for(10).await;
        link.mend().await;
        lattice.finish(0, declared).await.unwrap();
        wait_for_greeting(&lattice, 0, text).await;
        let report = load.stop().await;
        say(&format!("measured while {text} was rolled in: {report}"));
        assert_eq!(report.kinds(), [].into(), "{report}");
        wait_until_kept(&lattice, version).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_while_the_link_was_gone_is_withdrawn_when_it_is_back() {
    let lattice = Lattice::start(1).await;
    let mut link = Relay::to(&lattice.nats).await;
    let mut lattice = edge(Some(&link), lattice).await;
    link.cut();
    lattice.delete(0, "greeter").await.unwrap();
    lattice.restart_node(EDGE).await;
    wait_for_greeting(&lattice, EDGE, "Hello").await;
    link.mend().await;
    let observe = async || lattice.call(EDGE, "greeter", "hello", json!("Ada")).await;
    wait_until("the greeter is gone", LATEST, observe, |said| {
        said.as_ref().is_err_and(|fault| fault.kind() == "no-such-actor")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_memory_is_told_and_the_node_waits_for_nats() {
    let mut lattice = edge(None, Lattice::start(1).await).await;
    lattice.nats.stop().await;
    lattice.nodes[EDGE].kill();
    let settings = lattice.nodes[EDGE].settings().clone();
    let file = kept(&settings);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();

    lattice.nodes[EDGE] = Node::spawn(settings);
    let observe = async || lattice.nodes[EDGE].output();
    wait_until("it says what is wrong, and waits", LATEST, observe, |said| {
        said.contains("damaged") && said.contains("assignment.json") && said.contains("waiting for NATS")
    })
    .await;
    lattice.nats.restart().await;
    lattice.nodes[EDGE].wait_until_ready().await;
    assert_ne!(lattice.nodes[EDGE].ready().nats, "offline");
    wait_for_greeting(&lattice, EDGE, "Hello").await;
    wait_until_kept(&lattice, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_were_changed_on_disk_are_not_run() {
    let mut lattice = edge(None, Lattice::start(1).await).await;
    lattice.nats.stop().await;
    lattice.nodes[EDGE].kill();
    let folder = lattice.nodes[EDGE].settings().folder.join("data/artifacts");
    for artifact in std::fs::read_dir(folder).unwrap() {
        let path = artifact.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(path, bytes).unwrap();
    }

    lattice.restart_node(EDGE).await;
    assert_eq!(lattice.nodes[EDGE].ready().nats, "offline");
    let observe = async || lattice.nodes[EDGE].output();
    wait_until("it says what is wrong", LATEST, observe, |said| {
        said.contains("on disk is damaged") && said.contains("cannot run as assigned")
    })
    .await;
    let fault = lattice.call(EDGE, "greeter", "hello", json!("Ada")).await.unwrap_err();
    assert_eq!(fault.kind(), "no-replica", "{fault}");

    lattice.nats.restart().await;
    wait_for_greeting(&lattice, EDGE, "Hello").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_name_was_taken_meanwhile_stops_with_the_reason() {
    let lattice = Lattice::start(1).await;
    let mut link = Relay::to(&lattice.nats).await;
    let mut lattice = edge(Some(&link), lattice).await;
    link.cut();
    lattice.restart_node(EDGE).await;
    assert_eq!(lattice.nodes[EDGE].ready().nats, "offline");
    wait_for_greeting(&lattice, EDGE, "Hello").await;

    let mut settings = lattice.nodes[EDGE].settings().clone();
    settings.folder = lattice.nats.folder().join("successor");
    settings.nats = Some(lattice.nats.url());
    lattice.nodes.push(Node::start(settings).await);
    link.mend().await;
    let status = lattice.nodes[EDGE].ended(LATEST).await;
    let said = lattice.nodes[EDGE].output();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("a node named `edge` is running") && said.contains("--name"), "{said}");
    wait_for_greeting(&lattice, 2, "Hello").await;
}
