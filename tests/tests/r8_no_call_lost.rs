//! R8: a drain and an update lose no call.

#![allow(clippy::unwrap_used, reason = "a test may fail on what it did not expect")]

use std::time::Duration;

use lattice_tests::load::Plan;
use lattice_tests::{Lattice, manifests, say};

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
        let reply = lattice.call(1, "greeter", "hello", serde_json::json!("Ada")).await.unwrap();
        assert_eq!(reply, serde_json::json!(format!("{greeting}, Ada!")), "done must mean done");
    }
    load.wait_for(200).await;
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
}
