//! K6, K7: what is sent arrives at least once, has its effect on state exactly once, and keeps its order for each sender and
//! key, whatever is killed meanwhile.

use std::time::Duration;

use lattice_proto::admin::DeadLetterRequest;
use lattice_tests::{Fault, Lattice, manifests, say};
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(60);

const LEDGER: &str = "grants = { call = [\"ledger\", \"greeter\", \"nobody\"] }";

async fn start(nodes: usize) -> Lattice {
    let lattice = Lattice::start(nodes).await;
    lattice.apply(&manifests::ledger_with(LEDGER)).await;
    lattice
}

/// The list of a key, however long it takes to be told.
async fn all(lattice: &Lattice, node: usize, key: &str) -> Vec<u64> {
    let reply = lattice.call_within(node, &format!("ledger/{key}"), "all", Value::Null, LATEST).await;
    serde_json::from_value(reply.unwrap()).unwrap()
}

/// Waits until a key has this list.
async fn wait_for_list(lattice: &Lattice, node: usize, key: &str, list: &[u64]) {
    let what = format!("{key} has {} entries", list.len());
    let found = lattice_tests::wait_for(
        &what,
        LATEST,
        async || all(lattice, node, key).await,
        |found| found.len() >= list.len(),
    )
    .await;
    assert_eq!(found, list, "{key}");
}

/// Sends until it is surely stored, as a program would that has an id for what it sends.
async fn surely_send(lattice: &Lattice, node: usize, id: &str, target: &str, operation: &str, what: &Value) {
    lattice_tests::wait_for(
        "the message is stored",
        LATEST,
        async || lattice.send_as(id, node, target, operation, what.clone()).await,
        |sent: &Result<String, Fault>| sent.is_ok(),
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_arrives_in_its_order_and_once() {
    let lattice = start(3).await;
    for number in 0..100 {
        lattice.send(number as usize % 3, "ledger/alice", "append", json!(number)).await.unwrap();
    }
    // The same id again has no further effect, and says so by no error.
    for _ in 0..3 {
        lattice.send_as("once", 1, "ledger/alice", "append", json!(100)).await.unwrap();
    }
    lattice.send(2, "ledger/alice", "append", json!(101)).await.unwrap();
    wait_for_list(&lattice, 0, "alice", &(0..102).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_turn_sends_leaves_with_its_commit_or_not_at_all() {
    let lattice = start(3).await;
    let to: Vec<String> = (0..5).map(|n| format!("ledger/to-{n}")).collect();
    for number in 0..20 {
        let arguments = json!({ "number": number, "to": to });
        lattice.call(number as usize % 3, "ledger/alice", "spread", arguments).await.unwrap();
        let arguments = json!({ "number": 1_000 + number, "to": to[0] });
        let refused = lattice.call(0, "ledger/alice", "spread_and_fail", arguments).await.unwrap_err();
        assert_eq!(refused.kind(), "rejected", "{refused}");
    }
    let sent: Vec<u64> = (0..20).collect();
    for n in 0..5 {
        wait_for_list(&lattice, n % 3, &format!("to-{n}"), &sent).await;
    }
    assert_eq!(all(&lattice, 0, "alice").await, sent);
    assert_eq!(lattice.dead_letters(0).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_twice_or_out_of_order_when_owners_are_killed() {
    let mut lattice = start(3).await;
    let keys: Vec<String> = (0..12).map(|key| format!("key-{key}")).collect();
    let mut sent = 0;
    for round in 0..4 {
        for _ in 0..10 {
            for key in &keys {
                let (target, id) = (format!("ledger/{key}"), format!("{key}-{sent}"));
                // Half are sent by an actor that is itself killed now and then.
                if key.len() % 2 == 0 {
                    surely_send(&lattice, 0, &id, &target, "append", &json!(sent)).await;
                } else {
                    let what = json!({ "number": sent, "to": [target] });
                    surely_send(&lattice, 0, &id, &format!("ledger/by-{key}"), "spread", &what).await;
                }
            }
            sent += 1;
        }
        let whom = 1 + round % 2;
        lattice.nodes[whom].kill();
        lattice.restart_node(whom).await;
    }
    let list: Vec<u64> = (0..sent).collect();
    for key in &keys {
        wait_for_list(&lattice, 0, key, &list).await;
    }
    assert_eq!(lattice.dead_letters(0).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_handled_is_kept_and_holds_nobody_up() {
    let lattice = start(2).await;
    let began = std::time::Instant::now();
    let dead = lattice.send(0, "ledger/alice", "follow", json!(7)).await.unwrap();
    lattice.send(0, "ledger/alice", "append", json!(8)).await.unwrap();
    let never = lattice.send(1, "ledger/alice", "nothing_of_the_kind", json!(9)).await.unwrap();
    lattice.send(1, "ledger/bob", "append", json!(1)).await.unwrap();
    wait_for_list(&lattice, 1, "bob", &[1]).await;
    // The second waits for the first, which is tried a few times.
    wait_for_list(&lattice, 1, "alice", &[8]).await;
    say(&format!("measured: the first was given up after {:?}", began.elapsed()));
    let letters = lattice_tests::wait_for(
        "both are with the dead letters",
        LATEST,
        async || lattice.dead_letters(1).await.unwrap(),
        |letters| letters.len() == 2,
    )
    .await;
    let rejected = letters.iter().find(|letter| letter.id == dead).unwrap();
    assert!(rejected.reason.contains("there is nothing yet") && rejected.tries > 1, "{rejected:?}");
    let unknown = letters.iter().find(|letter| letter.id == never).unwrap();
    assert!(unknown.reason.contains("nothing_of_the_kind") && unknown.tries == 1, "{unknown:?}");

    let mut admin = lattice.admin(0);
    let shown = admin.get_dead_letter(DeadLetterRequest { id: dead.clone() }).await.unwrap().into_inner();
    assert_eq!((shown.target.as_str(), &shown.payload[..]), ("ledger/alice", &b"7"[..]));
    admin.retry_dead_letter(DeadLetterRequest { id: dead }).await.unwrap();
    wait_for_list(&lattice, 0, "alice", &[8, 7]).await;
    admin.drop_dead_letter(DeadLetterRequest { id: never.clone() }).await.unwrap();
    assert_eq!(lattice.dead_letters(0).await.unwrap(), []);
    let missing = admin.get_dead_letter(DeadLetterRequest { id: never }).await.unwrap_err();
    assert_eq!(Fault::from(missing).kind(), "not-found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_everything_is_killed_at_once() {
    let mut lattice = start(3).await;
    let to: Vec<String> = (0..30).map(|n| format!("ledger/to-{n}")).collect();
    let arguments = json!({ "number": 1, "to": to });
    lattice.call(0, "ledger/alice", "spread", arguments).await.unwrap();
    lattice.restart_everything(LATEST).await;
    for n in 0..30 {
        wait_for_list(&lattice, n % 3, &format!("to-{n}"), &[1]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_money_of_all_accounts_stays_the_same() {
    let mut lattice = Lattice::start(3).await;
    lattice.apply(&manifests::bank_with("")).await;
    let accounts: Vec<String> = (0..10).map(|n| format!("account/a{n}")).collect();
    for account in &accounts {
        lattice.call(0, account, "deposit", json!(1_000)).await.unwrap();
    }
    for number in 0..200_usize {
        let (from, to) = (number % 10, (number * 7 + 3) % 10);
        if from == to {
            continue;
        }
        let what = json!({ "to": format!("a{to}"), "amount": 1 + number % 5, "id": number.to_string() });
        // Sent, so that no answer need be waited for; and again with the same id, as who heard nothing would.
        surely_send(&lattice, 0, &format!("t{number}"), &accounts[from], "transfer", &what).await;
        if number % 70 == 69 {
            lattice.nodes[1].kill();
            lattice.restart_node(1).await;
        }
    }
    let mut expected = [1_000_i64; 10];
    for number in 0..200_usize {
        let (from, to) = (number % 10, (number * 7 + 3) % 10);
        let amount = i64::try_from(1 + number % 5).unwrap();
        if from != to {
            expected[from] -= amount;
            expected[to] += amount;
        }
    }
    let balances = async || {
        let mut balances = Vec::new();
        for account in &accounts {
            let balance = lattice.call_within(2, account, "balance", Value::Null, LATEST).await.unwrap();
            balances.push(balance.as_i64().unwrap());
        }
        balances
    };
    let found =
        lattice_tests::wait_for("every transfer has arrived", LATEST, balances, |found| *found == expected)
            .await;
    assert_eq!(found.iter().sum::<i64>(), 10_000);
    assert_eq!(lattice.dead_letters(0).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replicated_actor_is_told_as_well_wherever_it_runs() {
    let lattice = start(2).await;
    lattice.apply(&manifests::greeter(1)).await;
    lattice.send(0, "greeter", "hello", json!("Ada")).await.unwrap();
    lattice.send(1, "greeter", "hello", json!("Ada")).await.unwrap();
    let wrong = lattice.send(1, "greeter", "hello", json!({ "no": "name" })).await.unwrap();
    let letters = lattice_tests::wait_for(
        "the one that cannot be read was given up",
        LATEST,
        async || lattice.dead_letters(1).await.unwrap(),
        |letters| !letters.is_empty(),
    )
    .await;
    assert_eq!(letters.iter().map(|letter| &letter.id).collect::<Vec<_>>(), [&wrong]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_is_refused_with_the_reason() {
    let lattice = start(1).await;
    lattice.apply(&manifests::greeter(1)).await;
    for (target, kind, word) in [
        ("nobody", "no-such-actor", "nobody"),
        ("ledger", "malformed", "keyed actor"),
        ("greeter/alice", "malformed", "no keyed actor"),
        ("ledger/", "invalid-request", "a key has 1 to 256 bytes"),
    ] {
        let fault = lattice.send(0, target, "append", json!(1)).await.unwrap_err();
        assert_eq!(fault.kind(), kind, "{target}: {fault}");
        assert!(fault.message.contains(word), "{target}: {fault}");
    }
    let fault = lattice.send_as("a b", 0, "ledger/a", "append", json!(1)).await.unwrap_err();
    assert!(fault.kind() == "invalid-request" && fault.message.contains("request_id"), "{fault}");
    let large = "x".repeat(2 << 20);
    let fault = lattice.send(0, "ledger/a", "append", json!(large)).await.unwrap_err();
    assert_eq!(fault.kind(), "too-large", "{fault}");
    // What is not granted is not sent, and the turn that would have is undone.
    let arguments = json!({ "number": 1, "to": ["account/a"] });
    let fault = lattice.call(0, "ledger/a", "spread", arguments).await.unwrap_err();
    assert!(fault.kind() == "denied" && fault.message.contains("grants.call"), "{fault}");
    assert_eq!(all(&lattice, 0, "a").await, [0; 0]);
}
