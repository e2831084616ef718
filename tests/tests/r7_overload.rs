//! R7: a full mailbox answers at once, and the actor recovers by itself.

use std::time::{Duration, Instant};

use lattice_proto::Ran;
use lattice_tests::load::Plan;
use lattice_tests::wait::judge;
use lattice_tests::{Lattice, manifests, say, wait_until};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_mailbox_refuses_at_once_and_recovers() {
    let lattice = Lattice::builder(2).label(1, "at=misfit").start().await;
    lattice.apply(&manifests::misfit_with("mailbox = 4\nplacement = { require = [\"at=misfit\"] }")).await;

    // Turns of 20 ms, one at a time, are 50 per second; 1,000 per second are twenty times as many.
    let plan = Plan::greet(1_000, Duration::from_secs(3), &[0, 1]).on("misfit", "sleep", json!({ "ms": 20 }));
    let report = lattice.load(&plan).finish().await;
    say(&format!("measured: {report}"));
    let ended = Instant::now();
    let observe = async || lattice.call(0, "misfit", "echo", json!("still there")).await;
    wait_until("service after the load", Duration::from_secs(10), observe, Result::is_ok).await;
    judge("full service after the load", ended.elapsed(), Duration::from_secs(1));

    assert!(report.answered() >= 50, "an overloaded actor still works: {report}");
    let mut refusals = Vec::new();
    for (shot, fault) in report.failed() {
        assert_eq!((fault.kind(), fault.ran), ("overloaded", Ran::No), "{fault}");
        refusals.push(shot.latency);
    }
    refusals.sort_unstable();
    assert!(refusals.len() > 1_000, "most calls are refused: {report}");
    judge("half of the refusals", refusals[refusals.len() / 2], Duration::from_millis(5));
    judge("99 of 100 refusals", refusals[refusals.len() * 99 / 100], Duration::from_millis(5));
}
