//! R5: after deploy, scale and node loss the replicas converge, and stay.

use std::time::{Duration, Instant};

use lattice_tests::wait::judge;
use lattice_tests::{Lattice, manifests};

const BOUND: Duration = Duration::from_secs(3);
const LATEST: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_converge_after_deploy_scale_and_node_loss() {
    let mut lattice = Lattice::start(3).await;

    let start = Instant::now();
    lattice.apply(&manifests::greeter(6)).await;
    lattice.wait_for_spread(1, "greeter", &[2, 2, 2], LATEST).await;
    judge("6 replicas as 2/2/2 after apply", start.elapsed(), BOUND);

    let start = Instant::now();
    lattice.scale(1, "greeter", 9).await.unwrap();
    lattice.wait_for_spread(2, "greeter", &[3, 3, 3], LATEST).await;
    judge("scaled to 9", start.elapsed(), BOUND);

    let start = Instant::now();
    lattice.scale(2, "greeter", 1).await.unwrap();
    lattice.wait_for_spread(0, "greeter", &[1], LATEST).await;
    judge("scaled to 1", start.elapsed(), BOUND);

    lattice.scale(0, "greeter", 6).await.unwrap();
    lattice.wait_for_spread(0, "greeter", &[2, 2, 2], LATEST).await;
    let killed = lattice.nodes[1].kill();
    lattice.wait_for_spread(0, "greeter", &[3, 3], LATEST).await;
    judge("back to 6 after a node's loss", killed.elapsed(), BOUND);

    lattice.restart_node(1).await;
    lattice.wait_until_joined(LATEST).await;
    let taken = lattice.wait_for_spread(1, "greeter", &[2, 2, 2], LATEST).await;
    judge("spread again after the node's return", taken, BOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_reports_the_same() {
    let lattice = Lattice::start(3).await;
    lattice.apply(&manifests::greeter(5)).await;
    for node in 0..3 {
        lattice.wait_for_spread(node, "greeter", &[1, 2, 2], LATEST).await;
        let actor = lattice.actor(node, "greeter").await;
        assert_eq!((actor.app.as_str(), actor.kind.as_str()), ("greeter", "replicated"));
        assert_eq!((actor.desired, actor.ready), (5, 5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_is_deleted_is_gone_everywhere() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::greeter(4)).await;
    lattice.delete(1, "greeter").await.unwrap();
    for node in 0..2 {
        let observe = async || lattice.actors(node).await;
        let gone = lattice_tests::wait_until(
            "no actors",
            LATEST,
            observe,
            |seen| matches!(seen, Ok(actors) if actors.is_empty()),
        );
        judge("gone after delete", gone.await, BOUND);
        let fault = lattice.call(node, "greeter", "hello", serde_json::json!("Ada")).await.unwrap_err();
        assert_eq!(fault.kind(), "no-such-actor", "{fault}");
    }
}
