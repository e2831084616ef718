//! K9: a key whose owner is killed answers again within a second, and one whose owner hangs or is cut off within five.
//!
//! Each of these is measured thirty times by the benchmark; here it fails at three times the bound.

use std::time::{Duration, Instant};

use lattice_tests::failover::{key_of, until_answered};
use lattice_tests::{Lattice, manifests, say};

const LATEST: Duration = Duration::from_secs(60);

/// What is promised, three times.
const KILLED: Duration = Duration::from_secs(3);
const SILENT: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_answers_again_whatever_becomes_of_its_owner() {
    let mut lattice = Lattice::builder(3).apart(1).apart(2).start().await;
    lattice.apply(&manifests::ledger_with("")).await;
    for victim in 1..3 {
        let key = key_of(&lattice, 0, victim).await;
        let began = lattice.nodes[victim].kill();
        until_answered(&lattice, 0, &key).await;
        judge("killed", began, KILLED);
        lattice.restart_node(victim).await;
        lattice.wait_until_joined(LATEST).await;

        let key = key_of(&lattice, 0, victim).await;
        let began = lattice.nodes[victim].pause();
        until_answered(&lattice, 0, &key).await;
        judge("frozen", began, SILENT);
        lattice.nodes[victim].resume();
        lattice.wait_until_joined(LATEST).await;

        let key = key_of(&lattice, 0, victim).await;
        lattice.cut(victim);
        let began = Instant::now();
        until_answered(&lattice, 0, &key).await;
        judge("cut off", began, SILENT);
        lattice.mend(victim).await;
        lattice.wait_until_joined(LATEST).await;
    }
}

fn judge(what: &str, began: Instant, bound: Duration) {
    let took = began.elapsed();
    say(&format!("measured: the key of an owner that was {what} answered again after {took:.0?}"));
    assert!(took <= bound, "the key of an owner that was {what} answered again after {took:?} only");
}
