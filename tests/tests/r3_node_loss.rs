//! R3: a killed node fails only the calls in flight there, and quickly; a hung one leaves the rotation.

use std::time::{Duration, Instant};

use lattice_proto::Ran;
use lattice_tests::load::Plan;
use lattice_tests::wait::judge;
use lattice_tests::{Lattice, manifests, say, wait_until};
use serde_json::{Value, json};

/// The kernel and the server need a moment to bury a process; what is sent to it meanwhile is in flight there too. The
/// longest seen was 51 ms.
const BURIAL: Duration = Duration::from_millis(150);

/// A node that is asked but runs nothing, and two that run everything: with a replica of its own, the node that is asked
/// would send no call to the others, and their loss would show nothing.
async fn start_with_a_caller_apart() -> Lattice {
    Lattice::builder(3).label(1, "at=work").label(2, "at=work").start().await
}

const AT_WORK: &str = "placement = { require = [\"at=work\"] }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_fails_only_what_was_in_flight_there() {
    let mut lattice = start_with_a_caller_apart().await;
    lattice.apply(&manifests::misfit_with(&format!("replicas = 6\nconcurrency = 16\n{AT_WORK}"))).await;
    // At 200 calls per second of 50 ms each, some five are always in flight on each of the two nodes.
    let turn = Duration::from_millis(50);
    let plan = Plan::greet(200, Duration::from_secs(60), &[0]).on("misfit", "sleep", json!({ "ms": 50 }));
    let load = lattice.load(&plan);
    load.wait_for(400).await;

    let killed = lattice.nodes[2].kill();
    let back = lattice.wait_for_spread(0, "misfit", &[6], Duration::from_secs(30)).await;
    load.wait_for(200).await;
    let report = load.stop().await;
    say(&format!("measured: {report}"));

    assert!(report.untyped().is_empty(), "{:?}", report.untyped());
    assert!(report.failed().count() > 0, "nothing was in flight there, so nothing was shown");
    let mut longest = Duration::ZERO;
    for (shot, fault) in report.failed() {
        longest = longest.max(shot.ended().saturating_duration_since(killed));
        let after = shot.started.saturating_duration_since(killed);
        assert_eq!(
            (fault.kind(), fault.ran),
            ("unknown", Ran::Maybe),
            "sent {after:?} after the kill: {fault}"
        );
        assert!(after < BURIAL, "a call sent {after:?} after the kill failed: {fault}");
        assert!(shot.started + turn * 10 > killed, "a call failed that had ended before the kill: {fault}");
    }
    judge("the last failure after the kill", longest, Duration::from_secs(1));
    judge("all replicas back after the kill", back, Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_call_to_a_killed_node_fails_though_nothing_else_goes_there() {
    let mut lattice = Lattice::builder(3).label(2, "at=misfit").start().await;
    lattice.apply(&manifests::misfit_with("placement = { require = [\"at=misfit\"] }")).await;

    let long = tokio::spawn(lattice_tests::lattice::call(
        lattice.admin(0),
        "misfit",
        "sleep",
        json!({ "ms": 25_000 }).to_string().into_bytes(),
        Duration::from_secs(30),
    ));
    wait_until_busy(&lattice).await;
    let killed = lattice.nodes[2].kill();
    let fault = long.await.unwrap().unwrap_err();
    assert_eq!((fault.kind(), fault.ran), ("unknown", Ran::Maybe), "{fault}");
    judge("the failure after the kill", killed.elapsed(), Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_node_leaves_the_rotation_and_comes_back() {
    let lattice = start_with_a_caller_apart().await;
    lattice.apply(&manifests::greeter_with(&format!("replicas = 6\n{AT_WORK}"))).await;
    let plan = Plan::greet(100, Duration::from_secs(120), &[0]).within(Duration::from_secs(2));
    let load = lattice.load(&plan);
    load.wait_for(200).await;

    let paused = lattice.nodes[2].pause();
    // Who is out of the rotation gets no more calls, and so causes no more failures.
    lattice.wait_for_spread(0, "greeter", &[6], Duration::from_secs(30)).await;
    load.wait_for(300).await;
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    assert!(report.untyped().is_empty(), "{:?}", report.untyped());
    assert!(report.failed().count() > 0, "no call went there, so nothing was shown");
    let last = report.failed().map(|(shot, _)| shot.started.saturating_duration_since(paused)).max();
    judge("the last call lost to the hung node", last.unwrap_or_default(), Duration::from_secs(3));

    lattice.nodes[2].resume();
    lattice.wait_for_spread(0, "greeter", &[3, 3], Duration::from_secs(30)).await;
    lattice.call(2, "greeter", "hello", json!({ "name": "Ada" })).await.unwrap();
}

/// A call with a short deadline expires in the mailbox when the only instance is held.
async fn wait_until_busy(lattice: &Lattice) {
    let observe =
        async || lattice.call_within(0, "misfit", "count", Value::Null, Duration::from_millis(200)).await;
    let start = Instant::now();
    wait_until(
        "the long call runs",
        Duration::from_secs(10),
        observe,
        |seen| matches!(seen, Err(fault) if fault.kind() == "deadline"),
    )
    .await;
    assert!(start.elapsed() < Duration::from_secs(15));
}
