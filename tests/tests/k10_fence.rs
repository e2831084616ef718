//! K4, K10: an owner that cannot renew its lease serves nothing more before the lease can have run out, and in `strict` mode
//! nobody takes its place before that.

use std::time::{Duration, Instant};

use lattice_proto::Ran;
use lattice_tests::audit::Audit;
use lattice_tests::clients::Clients;
use lattice_tests::linearize::{List, assert_linearizable};
use lattice_tests::{Fault, Lattice, manifests, say, wait_for, wait_until};
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(30);

/// What a lease lives for after its last renewal.
const LEASE: Duration = Duration::from_secs(2);

/// How long a read may take while its owner serves.
const READ: Duration = Duration::from_millis(200);

/// The index of the node that is cut off.
const FAR: usize = 1;

/// A node, and another one whose way to NATS can be cut.
async fn start() -> Lattice {
    Lattice::builder(2).apart(FAR).label(FAR, "at=far").start().await
}

async fn read(lattice: &Lattice) -> Result<Value, Fault> {
    lattice.call_within(FAR, "ledger/alice", "all", Value::Null, READ).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_cut_off_serves_nothing_more_and_goes_on_when_it_is_back() {
    let mut lattice = start().await;
    lattice.apply(&manifests::ledger_with("placement = { require = [\"at=far\"] }")).await;
    lattice.apply(&manifests::greeter_with("placement = { require = [\"at=far\"] }")).await;
    lattice.call(FAR, "ledger/alice", "append", json!(1)).await.unwrap();
    lattice.cut(FAR);
    let cut = Instant::now();
    let mut last = Duration::ZERO;
    let refused = wait_for(
        "the owner refuses",
        LATEST,
        async || {
            let answer = read(&lattice).await;
            if answer.is_ok() {
                last = cut.elapsed();
            }
            answer
        },
        |answer: &Result<Value, Fault>| answer.is_err(),
    )
    .await
    .unwrap_err();
    say(&format!("measured: the last read was answered {last:?} after the link was cut"));
    assert!(last < LEASE * 3, "it was answered {last:?} after the cut");
    assert_eq!(refused.ran, Ran::No, "{refused}");
    // It stays so, and what has no owner is served all the same.
    for _ in 0..5 {
        assert_eq!(read(&lattice).await.unwrap_err().ran, Ran::No);
        lattice.call(FAR, "greeter", "hello", json!("Ada")).await.unwrap();
    }
    lattice.mend(FAR).await;
    let reply = lattice.call_within(FAR, "ledger/alice", "append", json!(2), LATEST).await.unwrap();
    assert_eq!(reply, json!(2));
    assert_eq!(read(&lattice).await.unwrap(), json!([1, 2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_strict_mode_reads_are_linearizable_too_while_owners_are_cut_off() {
    let mut lattice = start().await;
    let audit = Audit::begin(&lattice).await;
    lattice.apply(&manifests::ledger_with("mode = \"strict\"")).await;
    let ways = [lattice.admin(0), lattice.admin(FAR)];
    let clients = Clients::start(&ways, &["a", "b", "c", "d", "e", "f"], true);
    clients.wait_for(100).await;
    for _ in 0..2 {
        lattice.cut(FAR);
        // Whoever is left takes over what the other one had, while that one's clients go on asking it.
        wait_until(
            "it is lost",
            LATEST,
            async || lattice.state(0, FAR).await,
            |state| state == "gone" || state == "none",
        )
        .await;
        clients.wait_for(100).await;
        lattice.mend(FAR).await;
        lattice.wait_until_joined(LATEST).await;
        clients.wait_for(100).await;
    }
    let history = clients.stop().await;
    let effort = assert_linearizable(&List::default(), &history);
    let checked = audit.check(&lattice.nats).await;
    say(&format!("measured: {history}; {effort}; {checked:?}"));
}
