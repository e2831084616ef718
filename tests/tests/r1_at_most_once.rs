//! R1: a call runs at most once per attempt, and is tried again only when it surely did not run.

use std::collections::BTreeSet;
use std::time::Duration;

use lattice_proto::Ran;
use lattice_tests::load::Plan;
use lattice_tests::{Lattice, manifests, say, wait_until};
use serde_json::{Value, json};

const COUNTER: &str = "concurrency = 64\nmailbox = 4096\nplacement = { require = [\"at=counter\"] }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_runs_twice_while_nats_is_killed_again_and_again() {
    let mut lattice = Lattice::builder(3).label(0, "at=counter").start().await;
    lattice.apply(&manifests::misfit_with(COUNTER)).await;

    // The one instance lives on node 0 and survives all of this; the calls come over NATS from the others.
    let plan = Plan::greet(200, Duration::from_secs(60), &[1, 2]).on("misfit", "count", Value::Null);
    let load = lattice.load(&plan.within(Duration::from_secs(2)));
    for _ in 0..3 {
        load.wait_for(200).await;
        lattice.nats.kill();
        lattice.nats.restart().await;
    }
    load.wait_for(200).await;
    let report = load.stop().await;
    say(&format!("measured: {report}"));

    let counted = lattice.call(0, "misfit", "count", Value::Null).await.unwrap().as_u64().unwrap() - 1;
    let answered = report.answered() as u64;
    let maybe = report.failed().filter(|(_, fault)| fault.ran != Ran::No).count() as u64;
    assert!(report.untyped().is_empty(), "{:?}", report.untyped());
    assert!(answered <= counted, "answered {answered}, but ran only {counted} times");
    assert!(counted <= answered + maybe, "ran {counted} times, but {answered} answers and {maybe} unknown");
    let replies: BTreeSet<_> =
        report.shots.iter().filter_map(|shot| shot.outcome.as_ref().ok()?.as_u64()).collect();
    assert_eq!(replies.len() as u64, answered, "two calls saw the same count");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_trapped_is_not_tried_elsewhere() {
    let lattice = Lattice::start(3).await;
    lattice.apply(&manifests::misfit_with("replicas = 3")).await;
    // This node's own replica comes first, so each node tells the count of its own.
    for (node, wanted) in [(0, 1), (1, 1), (2, 1)] {
        assert_eq!(lattice.call(node, "misfit", "count", Value::Null).await, Ok(json!(wanted)));
    }

    let fault = lattice.call(1, "misfit", "trap", Value::Null).await.unwrap_err();
    assert_eq!((fault.kind(), fault.ran), ("trapped", Ran::Yes), "{fault}");

    // Its replica begins anew, which shows in its count; the others go on counting where they were.
    let observe = async || lattice.call(1, "misfit", "count", Value::Null).await;
    wait_until("a fresh replica", Duration::from_secs(30), observe, |seen| *seen == Ok(json!(1))).await;
    for node in [0, 2] {
        let count = lattice.call(node, "misfit", "count", Value::Null).await.unwrap().as_u64().unwrap();
        assert!(count >= 2, "the replica of node {node} began anew too, so the call was tried there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_past_its_deadline_never_runs_later() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::misfit_with("limits = { turn = \"20s\" }")).await;

    // One turn holds the only instance; what waits behind it expires in the mailbox.
    let asleep = lattice.call_within(0, "misfit", "sleep", json!({ "ms": 1500 }), Duration::from_secs(5));
    let expired = async {
        let mut faults = Vec::new();
        let observe = async || match lattice
            .call_within(0, "misfit", "count", Value::Null, Duration::from_millis(100))
            .await
        {
            Ok(count) => Some(count),
            Err(fault) => {
                faults.push(fault);
                None
            }
        };
        wait_until("the instance is held", Duration::from_secs(5), observe, Option::is_none).await;
        faults
    };
    let (slept, faults) = tokio::join!(asleep, expired);
    assert_eq!(slept, Ok(json!(1500)));
    for fault in &faults {
        assert_eq!((fault.kind(), fault.ran), ("deadline", Ran::No), "{fault}");
    }
    let before = lattice.call(0, "misfit", "count", Value::Null).await.unwrap();
    let after = lattice.call(0, "misfit", "count", Value::Null).await.unwrap();
    assert_eq!(after.as_u64(), before.as_u64().map(|count| count + 1), "an expired call ran after all");
}
