//! K8: a reminder never comes early, comes at least once, survives a restart of everything, and carries a stable id.

use std::time::Duration;

use lattice_tests::{Lattice, manifests, say};
use serde::Deserialize;
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Deserialize)]
struct Rung {
    number: u64,
    due: u64,
    came: u64,
    id: String,
}

async fn start(nodes: usize) -> Lattice {
    let lattice = Lattice::start(nodes).await;
    lattice.apply(&manifests::ledger_with("idle = \"1s\"")).await;
    lattice
}

async fn later(lattice: &Lattice, key: &str, number: u64, ms: u64, every: bool) {
    let arguments = json!({ "id": format!("r{number}"), "number": number, "ms": ms, "every": every });
    lattice.call(0, &format!("ledger/{key}"), "later", arguments).await.unwrap();
}

async fn rung(lattice: &Lattice, key: &str) -> Vec<Rung> {
    let reply = lattice.call_within(0, &format!("ledger/{key}"), "rung", Value::Null, LATEST).await;
    serde_json::from_value(reply.unwrap()).unwrap()
}

/// Waits until a key was reminded so often.
async fn wait_for_rung(lattice: &Lattice, key: &str, count: usize) -> Vec<Rung> {
    let what = format!("{key} was reminded {count} times");
    lattice_tests::wait_for(&what, LATEST, async || rung(lattice, key).await, |rung| rung.len() >= count)
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reminders_come_when_they_are_due_and_not_before() {
    let lattice = start(3).await;
    for key in 0..10 {
        later(&lattice, &format!("key-{key}"), key, 200 + key * 150, false).await;
    }
    for key in 0..10_u64 {
        let rung = wait_for_rung(&lattice, &format!("key-{key}"), 1).await;
        assert_eq!((rung.len(), rung[0].number), (1, key));
        assert!(rung[0].came >= rung[0].due, "{rung:?}");
        say(&format!(
            "measured: due after {} ms, came {} ms later",
            200 + key * 150,
            rung[0].came - rung[0].due
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_repeats_goes_on_until_it_is_cancelled_and_the_last_word_counts() {
    let lattice = start(2).await;
    later(&lattice, "alice", 1, 1_000, true).await;
    // Replaced before it is due: only the second one comes.
    later(&lattice, "alice", 2, 600, false).await;
    later(&lattice, "alice", 2, 1_600, false).await;
    later(&lattice, "alice", 3, 500, false).await;
    lattice.call(0, "ledger/alice", "forget", json!("r3")).await.unwrap();
    let rung = wait_for_rung(&lattice, "alice", 4).await;
    let of = |number: u64| rung.iter().filter(move |rung| rung.number == number).collect::<Vec<_>>();
    assert_eq!((of(2).len(), of(3).len()), (1, 0), "{rung:?}");
    let repeated = of(1);
    for pair in repeated.windows(2) {
        assert!(pair[1].due > pair[0].due && (pair[1].due - pair[0].due) % 1_000 == 0, "{rung:?}");
        assert_ne!(pair[0].id, pair[1].id);
    }
    assert!(rung.iter().all(|rung| rung.came >= rung.due), "{rung:?}");
    lattice.call(0, "ledger/alice", "forget", json!("r1")).await.unwrap();
    let before = self::rung(&lattice, "alice").await.len();
    // Another key shows that time has passed, in which nothing more came.
    later(&lattice, "bob", 4, 2_000, false).await;
    wait_for_rung(&lattice, "bob", 1).await;
    assert_eq!(self::rung(&lattice, "alice").await.len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reminders_survive_owners_and_a_restart_of_everything() {
    let mut lattice = start(3).await;
    for key in 0..12 {
        later(&lattice, &format!("key-{key}"), 20 + key, 3_000, false).await;
    }
    lattice.nodes[2].kill();
    lattice.restart_everything(LATEST).await;
    for key in 0..12_u64 {
        let rung = wait_for_rung(&lattice, &format!("key-{key}"), 1).await;
        assert_eq!((rung.len(), rung[0].number), (1, 20 + key), "{rung:?}");
        assert!(rung[0].came >= rung[0].due, "{rung:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_handled_is_kept_and_what_repeats_goes_on() {
    let lattice = start(1).await;
    later(&lattice, "alice", 13, 100, false).await;
    later(&lattice, "alice", 1, 1_000, true).await;
    let letters = lattice_tests::wait_for(
        "the reminder was given up",
        LATEST,
        async || lattice.dead_letters(0).await.unwrap(),
        |letters| !letters.is_empty(),
    )
    .await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter = &letters[0];
    assert_eq!((letter.target.as_str(), letter.operation.as_str()), ("ledger/alice", "ring"));
    assert!(letter.reason.contains("as it was told") && letter.sender == "ledger/alice", "{letter:?}");
    // The other one was not held up.
    assert!(rung(&lattice, "alice").await.len() >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_while_its_app_is_deleted_comes_when_it_is_back() {
    let lattice = start(1).await;
    later(&lattice, "alice", 1, 1_000, false).await;
    // Beyond what the server can count, which must not mean at once.
    later(&lattice, "alice", 2, 99_999_999_999_000, false).await;
    lattice.delete(0, "ledger").await.unwrap();
    // Longer than all the tries of a letter together: this very gap is what is tested.
    tokio::time::sleep(Duration::from_secs(15)).await;
    lattice.apply(&manifests::ledger_with("idle = \"1s\"")).await;
    let rung = wait_for_rung(&lattice, "alice", 1).await;
    assert_eq!(rung.iter().map(|rung| rung.number).collect::<Vec<_>>(), [1], "{rung:?}");
}
