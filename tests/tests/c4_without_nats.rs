//! C4: losing NATS, or the leader, stops nothing that runs.

use std::time::Duration;

use lattice_tests::load::Plan;
use lattice_tests::{Lattice, manifests, say, wait_until};
use serde_json::json;

const LATEST: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actors_run_on_without_nats_and_control_resumes_with_it() {
    let mut lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(3)).await;

    lattice.nats.stop().await;
    // Long enough for every lease to have expired, several times.
    let plan = Plan::greet(100, Duration::from_secs(8), &[0, 1, 2]);
    let report = lattice.load(&plan).finish().await;
    say(&format!("measured without NATS: {report}"));
    assert_eq!(report.kinds(), [].into(), "a call to a replica on the same node needs no NATS: {report}");

    lattice.nats.restart().await;
    lattice.wait_until_joined(LATEST).await;
    lattice.wait_for_spread(0, "greeter", &[1, 1, 1], LATEST).await;
    lattice.scale(1, "greeter", 6).await.unwrap();
    lattice.wait_for_spread(2, "greeter", &[2, 2, 2], LATEST).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_nats_stops_nothing_that_runs() {
    let lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(3)).await;

    lattice.nats.pause();
    let report = lattice.load(&Plan::greet(100, Duration::from_secs(6), &[0, 1, 2])).finish().await;
    lattice.nats.resume();
    assert_eq!(report.kinds(), [].into(), "{report}");

    lattice.wait_until_joined(LATEST).await;
    lattice.wait_for_spread(1, "greeter", &[1, 1, 1], LATEST).await;
    lattice.scale(2, "greeter", 6).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_leads_when_the_leader_is_killed() {
    let mut lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(6)).await;
    let leader = lattice.leader(0).await.unwrap();
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();

    let load = lattice.load(&Plan::greet(100, Duration::from_secs(60), &others));
    load.wait_for(100).await;
    lattice.nodes[leader].kill();
    let observe = async || lattice.leader(others[0]).await;
    let taken =
        wait_until("another leader", LATEST, observe, |seen| seen.is_some_and(|now| now != leader)).await;
    say(&format!("measured: another leader after {taken:?}"));
    lattice.wait_for_spread(others[1], "greeter", &[3, 3], LATEST).await;
    let report = load.stop().await;
    assert!(report.untyped().is_empty(), "{report}");
    assert!(report.kinds().keys().all(|kind| kind == "unknown"), "{report}");

    lattice.scale(others[1], "greeter", 4).await.unwrap();
    lattice.wait_for_spread(others[0], "greeter", &[2, 2], LATEST).await;
    lattice.call(others[0], "greeter", "hello", json!("Ada")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_run_on_take_orders_again_after_jetstream_lost_everything() {
    let mut lattice = Lattice::start(2).await;
    lattice.apply(&manifests::greeter(2)).await;
    // A few terms, so that a leader who counted from one again would be behind.
    lattice.replace_leaders(2, LATEST).await;

    lattice.nats.stop().await;
    lattice.nats.lose_data();
    lattice.nats.restart().await;
    lattice.wait_until_joined(LATEST).await;
    // Nobody has said yet what there should be, so what there is runs on; longer than a node waits with what it stops.
    let report = lattice.load(&Plan::greet(100, Duration::from_secs(8), &[0, 1])).finish().await;
    assert_eq!(report.kinds(), [].into(), "{report}");
    lattice.apply(&manifests::greeter(4)).await;
    lattice.wait_for_spread(1, "greeter", &[2, 2], LATEST).await;
    lattice.call(0, "greeter", "hello", json!("Ada")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_comes_back_when_all_nodes_and_nats_restart() {
    let mut lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(6)).await;
    for node in 0..3 {
        lattice.nodes[node].kill();
    }
    lattice.nats.kill();

    lattice.nats.restart().await;
    for node in 0..3 {
        lattice.restart_node(node).await;
    }
    lattice.wait_until_joined(LATEST).await;
    lattice.wait_for_spread(0, "greeter", &[2, 2, 2], LATEST).await;
    lattice.call(2, "greeter", "hello", json!("Ada")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lists_without_end_keeps_nobody_from_watching() {
    let mut lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(6)).await;
    for _ in 0..40 {
        let lists = (0..50).map(|list| lattice.actors(list % 3));
        for list in futures::future::join_all(lists).await {
            list.unwrap();
        }
    }
    // A reader's place in the server goes with the reader; what is left are the watches.
    let jetstream = async_nats::jetstream::new(lattice.nats.client().await);
    let observe = async || {
        let bucket = jetstream.get_stream(format!("KV_lat_{}_routes", lattice.id())).await.unwrap();
        bucket.cached_info().state.consumer_count
    };
    wait_until("few consumers of routes", Duration::from_secs(15), observe, |count| *count < 20).await;
    let leader = lattice.leader(0).await.unwrap();
    lattice.nodes[leader].kill();
    lattice.wait_for_spread((leader + 1) % 3, "greeter", &[3, 3], Duration::from_secs(10)).await;
}
