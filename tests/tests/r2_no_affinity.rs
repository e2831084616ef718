//! R2: no affinity and no order between messages, which shows as calls that do not wait for each other.

use std::time::{Duration, Instant};

use futures::future::join_all;
use lattice_tests::wait::judge;
use lattice_tests::{Fault, Lattice, manifests};
use serde_json::{Value, json};

/// So many turns of this length, all begun at once through node 0.
async fn sleep_at_once(lattice: &Lattice, calls: usize, ms: u64) -> Vec<Result<Value, Fault>> {
    let call = |_| lattice.call(0, "misfit", "sleep", json!({ "ms": ms }));
    join_all((0..calls).map(call)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_calls_at_once_use_eight_replicas() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::misfit_with("replicas = 16")).await;
    let start = Instant::now();
    let replies = sleep_at_once(&lattice, 8, 300).await;
    assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    // One after the other they would take 2.4 s.
    judge("eight turns of 300 ms at once", start.elapsed(), Duration::from_millis(400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_replica_leaves_calls_to_one_on_another_node() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::misfit_with("replicas = 2\nmailbox = 1")).await;
    let replies = sleep_at_once(&lattice, 4, 500).await;
    // The replica here holds one turn and one message that waits; a third answer must have come from the other node.
    assert!(replies.iter().filter(|reply| reply.is_ok()).count() >= 3, "{replies:?}");
    let refused = replies.iter().filter_map(|reply| reply.as_ref().err());
    assert!(refused.into_iter().all(|fault| fault.kind() == "overloaded"), "{replies:?}");
}
