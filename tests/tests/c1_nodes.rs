//! C1: what an operator wants of a node is done, what runs there moves before it stops, and every place is explained.

use std::time::Duration;

use lattice_proto::admin::{LabelNodeRequest, NodeRequest};
use lattice_tests::load::Plan;
use lattice_tests::{Lattice, manifests, say, wait_until};

const LATEST: Duration = Duration::from_secs(30);

fn node(name: &str) -> NodeRequest {
    NodeRequest { node: name.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_drained_under_load_is_empty_and_no_call_is_lost() {
    let mut lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(6)).await;
    let load = lattice.load(&Plan::greet(200, Duration::from_secs(60), &[0, 1]));
    load.wait_for(200).await;
    let drained = lattice.drain(0, "node-2").await.unwrap();
    assert_eq!((drained.kind.as_str(), drained.remaining), ("drain", 0));
    lattice.wait_for_spread(1, "greeter", &[3, 3], LATEST).await;
    assert_eq!(lattice.state(0, 2).await, "draining");
    let reasons = lattice.explain(0, "greeter").await;
    assert!(reasons["node-0"].contains("node-2 is being emptied"), "{reasons:?}");
    assert!(reasons["node-2"].contains("is being emptied"), "{reasons:?}");

    // It stays so, also when it is started again.
    lattice.restart_node(2).await;
    lattice.wait_for_spread(1, "greeter", &[3, 3], LATEST).await;
    lattice.admin(1).uncordon(node("node-2")).await.unwrap();
    lattice.wait_for_spread(1, "greeter", &[2, 2, 2], LATEST).await;
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cordoned_node_keeps_what_it_has_and_takes_nothing_new() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::greeter(2)).await;
    lattice.admin(0).cordon(node("node-1")).await.unwrap();
    let state = async || lattice.state(0, 1).await;
    wait_until("it is cordoned", LATEST, state, |state| state == "cordoned").await;
    lattice.scale(0, "greeter", 6).await.unwrap();
    assert_eq!(lattice.placements(0, "greeter").await, [("node-0".into(), 5), ("node-1".into(), 1)]);
    lattice.admin(0).uncordon(node("node-1")).await.unwrap();
    lattice.wait_for_spread(0, "greeter", &[3, 3], LATEST).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_change_at_run_time_and_actors_follow_them() {
    let lattice = Lattice::start(2).await;
    let pinned = manifests::greeter_with("replicas = \"each\"\nplacement = { require = [\"tier=edge\"] }");
    let begun = lattice.begin_apply(0, &pinned).await.unwrap();
    let reasons = async || lattice.explain(1, "greeter").await;
    let lacks = |reasons: &std::collections::BTreeMap<String, String>| {
        reasons.values().all(|reason| reason == "has not the label tier=edge")
    };
    wait_until("both lack it", LATEST, reasons, lacks).await;
    let label = |set: &[(&str, &str)], remove: &[&str]| LabelNodeRequest {
        node: "node-1".to_owned(),
        set: set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        remove: remove.iter().map(|key| (*key).to_owned()).collect(),
    };
    lattice.admin(0).label_node(label(&[("tier", "edge")], &[])).await.unwrap();
    lattice.wait_for_spread(0, "greeter", &[1], LATEST).await;
    lattice.finish(0, begun).await.unwrap();
    assert_eq!(lattice.placements(0, "greeter").await, [("node-1".into(), 1)]);
    lattice.admin(0).label_node(label(&[], &["tier"])).await.unwrap();
    let gone = async || lattice.placements(0, "greeter").await;
    wait_until("it is nowhere", LATEST, gone, |placements| placements.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_has_nowhere_to_move_things_says_so() {
    let lattice = Lattice::builder(2).label(1, "tier=edge").start().await;
    lattice.apply(&manifests::greeter_with("placement = { require = [\"tier=edge\"] }")).await;
    let fault = lattice.drain(0, "node-1").await.unwrap_err();
    assert!(fault.message.contains("tier=edge"), "{fault}");
    assert_eq!(lattice.actor(0, "greeter").await.ready, 1, "better there than nowhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_for_what_is_no_node_are_refused() {
    let lattice = Lattice::start(1).await;
    for name in ["nobody", "No Name", ""] {
        let fault =
            lattice.admin(0).cordon(node(name)).await.map_err(lattice_tests::Fault::from).unwrap_err();
        let wanted = if name == "nobody" { "not-found" } else { "invalid-request" };
        assert_eq!(fault.kind(), wanted, "{name}: {fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_misses_nobody_whose_record_is_written_meanwhile() {
    let lattice = Lattice::start(3).await;
    let client = lattice.nats.client().await;
    let bucket = format!("lat_{}_nodes", lattice.id());
    let jetstream = async_nats::jetstream::new(client);
    let stream = jetstream.get_stream(format!("KV_{bucket}")).await.unwrap();
    // The same once more, as if it had changed, and as often as that goes.
    let subject = format!("$KV.{bucket}.node.node-1");
    let record = stream.get_last_raw_message_by_subject(&subject).await.unwrap().payload;
    let writing = tokio::spawn(async move {
        loop {
            jetstream.publish(subject.clone(), record.clone()).await.unwrap().await.unwrap();
        }
    });
    for listing in 0..300 {
        let nodes = lattice.list_nodes(0).await.unwrap();
        assert_eq!(nodes.len(), 3, "listing {listing}: {nodes:?}");
    }
    writing.abort();
}
