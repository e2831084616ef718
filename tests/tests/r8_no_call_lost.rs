//! R8: a drain and an update lose no call.

use std::time::Duration;

use lattice_proto::admin::NodeRequest;
use lattice_tests::load::Plan;
use lattice_tests::{Lattice, artifacts, manifests, say, wait_until};
use serde_json::json;

const LATEST: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_to_stop_under_load_loses_no_call() {
    let mut lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(6)).await;
    let load = lattice.load(&Plan::greet(200, Duration::from_secs(60), &[0, 1]));
    load.wait_for(200).await;
    let status = lattice.nodes[2].terminate().await;
    assert_eq!(status.code(), Some(0), "{}", lattice.nodes[2].output());
    lattice.wait_for_spread(0, "greeter", &[3, 3], LATEST).await;
    load.wait_for(200).await;
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_under_load_loses_no_call() {
    let lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(6)).await;
    let load = lattice.load(&Plan::greet(200, Duration::from_secs(60), &[0, 1, 2]));
    load.wait_for(200).await;
    for greeting in ["Good morning", "Good evening"] {
        lattice
            .apply(&manifests::greeter_with(&format!("replicas = 6\nenv = {{ GREETING = \"{greeting}\" }}")))
            .await;
        let reply = lattice.call(1, "greeter", "hello", json!("Ada")).await.unwrap();
        assert_eq!(reply, json!(format!("{greeting}, Ada!")), "done must mean done");
    }
    load.wait_for(200).await;
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_artifact_of_the_storefront_rolls_in_under_load_and_loses_no_call() {
    let lattice = Lattice::start(3).await;
    lattice.apply(&manifests::shop(3, "storefront.wasm")).await;
    let plan = Plan::greet(200, Duration::from_secs(60), &[0, 1, 2]);
    let load = lattice.load(&plan.on("storefront", "quote", json!({ "sku": "tea", "quantity": 2 })));
    load.wait_for(200).await;
    let digest =
        artifacts::put(&mut lattice.admin(0), artifacts::variant("storefront.wasm", 2)).await.unwrap();
    lattice.apply(&manifests::shop(3, digest.as_str())).await;
    load.wait_for(200).await;
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
    let history = lattice.history(1, "shop").await;
    let storefront = history[1].actors.iter().find(|actor| actor.actor == "storefront").unwrap();
    assert_eq!((storefront.artifact.as_str(), history[1].good), (digest.as_str(), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_is_deleted_under_load_answers_what_it_has_taken() {
    let lattice = Lattice::start(3).await;
    lattice.apply(&manifests::misfit_with("replicas = 6\nconcurrency = 8")).await;
    let plan = Plan::greet(100, Duration::from_secs(60), &[0, 1, 2]);
    let load = lattice.load(&plan.on("misfit", "sleep", json!({ "ms": 300 })));
    load.wait_for(100).await;
    lattice.delete(0, "misfit").await.unwrap();
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    // Whoever calls what is gone is told so; whoever called before has an answer.
    let kinds: Vec<String> = report.kinds().into_keys().collect();
    let surely_not_run = ["no-such-actor", "no-replica"];
    assert!(kinds.iter().all(|kind| surely_not_run.contains(&kind.as_str())), "{report}");
    assert!(report.failed().all(|(_, fault)| fault.ran == lattice_proto::Ran::No), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lets_go_of_its_keys_keeps_its_replicas_until_others_serve() {
    let lattice = Lattice::start(3).await;
    lattice.apply(&manifests::ledger_with("")).await;
    lattice.apply(&manifests::greeter(1)).await;
    let load = lattice.load(&Plan::greet(200, Duration::from_secs(120), &[0, 1, 2]));
    for name in ["node-0", "node-1", "node-2"] {
        let keys = async || {
            for key in 0..40 {
                lattice.call(0, &format!("ledger/key-{key}"), "append", json!(1)).await.unwrap();
            }
            let nodes = lattice.list_nodes(0).await.unwrap();
            nodes.iter().find(|node| node.name == name).unwrap().activations
        };
        wait_until("it has keys", LATEST, keys, |keys| *keys > 0).await;
        lattice.drain(0, name).await.unwrap();
        wait_until("it has none", LATEST, keys, |keys| *keys == 0).await;
        load.wait_for(100).await;
        lattice.admin(0).uncordon(NodeRequest { node: name.to_owned() }).await.unwrap();
    }
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
    let events = lattice.events(0).await;
    let left: Vec<_> = events.iter().filter(|event| event.kind == "node-left").collect();
    assert!(left.is_empty(), "nobody was lost: {left:?}");
}
