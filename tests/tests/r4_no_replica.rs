//! R4: when no replica runs anywhere the caller knows at once, not after its deadline.

use std::time::Duration;

use lattice_proto::Ran;
use lattice_tests::wait::judge;
use lattice_tests::{Lattice, manifests, wait_until};
use serde_json::json;

/// Without waiting for anything but the network.
const AT_ONCE: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_whose_only_node_died_answers_at_once() {
    let mut lattice = Lattice::builder(3).label(2, "at=greeter").start().await;
    lattice.apply(&manifests::greeter_with("placement = { require = [\"at=greeter\"] }")).await;
    lattice.call(0, "greeter", "hello", json!("Ada")).await.unwrap();
    lattice.nodes[2].kill();

    for node in [0, 1] {
        let observe = async || lattice.call(node, "greeter", "hello", json!("Ada")).await;
        wait_until(
            "no-replica",
            Duration::from_secs(10),
            observe,
            |seen| matches!(seen, Err(fault) if fault.kind() == "no-replica"),
        )
        .await;
        let fault = lattice.call(node, "greeter", "hello", json!("Ada")).await.unwrap_err();
        assert_eq!((fault.kind(), fault.ran), ("no-replica", Ran::No), "{fault}");
        judge("no-replica", fault.elapsed, AT_ONCE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_does_not_exist_answers_at_once() {
    let lattice = Lattice::start(2).await;
    for node in [0, 1] {
        let fault = lattice.call(node, "nobody", "hello", json!("Ada")).await.unwrap_err();
        assert_eq!((fault.kind(), fault.ran), ("no-such-actor", Ran::No), "{fault}");
        assert!(fault.message.contains("nobody"), "{fault}");
        judge("no-such-actor", fault.elapsed, AT_ONCE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_for_an_actor_that_has_none_is_refused() {
    let lattice = Lattice::builder(2).label(1, "at=greeter").start().await;
    lattice.apply(&manifests::greeter_with("placement = { require = [\"at=greeter\"] }")).await;
    for node in [0, 1] {
        let fault = lattice.call(node, "greeter/alice", "hello", json!("Ada")).await.unwrap_err();
        assert_eq!((fault.kind(), fault.ran), ("malformed", Ran::No), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_does_not_exist_is_named() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::greeter(1)).await;
    let fault = lattice.call(0, "greeter", "helo", json!("Ada")).await.unwrap_err();
    assert_eq!((fault.kind(), fault.ran), ("no-such-operation", Ran::No), "{fault}");
    assert!(fault.message.contains("helo"), "{fault}");
}
