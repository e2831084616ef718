//! K1, K3, K5: what a key has committed is one chain, nothing is answered before its commit, and one turn runs at a time.

use std::time::Duration;

use lattice_tests::audit::Audit;
use lattice_tests::clients::Clients;
use lattice_tests::linearize::{List, assert_linearizable};
use lattice_tests::load::Plan;
use lattice_tests::{Lattice, manifests, say, wait_until};
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(30);

async fn append(lattice: &Lattice, node: usize, key: &str, number: u64) -> Value {
    lattice.call(node, &format!("ledger/{key}"), "append", json!(number)).await.unwrap()
}

async fn all(lattice: &Lattice, node: usize, key: &str) -> Value {
    lattice.call(node, &format!("ledger/{key}"), "all", Value::Null).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_one_actor_wherever_it_is_called() {
    let lattice = Lattice::start(3).await;
    lattice.apply(&manifests::ledger_with("")).await;
    for number in 0..30 {
        let count = append(&lattice, number as usize % 3, "alice", number).await;
        assert_eq!(count, json!(number + 1));
    }
    append(&lattice, 0, "bob", 7).await;
    for node in 0..3 {
        assert_eq!(all(&lattice, node, "alice").await, json!((0..30).collect::<Vec<_>>()));
        assert_eq!(all(&lattice, node, "bob").await, json!([7]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_taken_one_by_one_and_none_is_lost() {
    let lattice = Lattice::start(3).await;
    lattice.apply(&manifests::ledger_with("")).await;
    let calls = (0..300).map(|number| append(&lattice, number as usize % 3, "hot", number));
    let mut counts: Vec<u64> =
        futures::future::join_all(calls).await.iter().map(|count| count.as_u64().unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=300).collect::<Vec<_>>());
    let list = all(&lattice, 1, "hot").await;
    let mut list: Vec<u64> = list.as_array().unwrap().iter().map(|entry| entry.as_u64().unwrap()).collect();
    list.sort_unstable();
    assert_eq!(list, (0..300).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_fails_or_traps_leaves_the_state_as_it_was() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::ledger_with("limits = { state = \"1KiB\" }")).await;
    append(&lattice, 0, "alice", 1).await;
    let fault = lattice.call(1, "ledger/alice", "fail", json!(2)).await.unwrap_err();
    assert_eq!(fault.kind(), "rejected", "{fault}");
    let fault = lattice.call(0, "ledger/alice", "trap", json!(3)).await.unwrap_err();
    assert_eq!(fault.kind(), "trapped", "{fault}");
    let fault = lattice.call(0, "ledger/alice", "grow", json!(5_000)).await.unwrap_err();
    assert_eq!(fault.kind(), "too-large", "{fault}");
    assert!(fault.message.contains("1024") && fault.message.contains("5"), "{fault}");
    assert_eq!(append(&lattice, 1, "alice", 4).await, json!(2));
    assert_eq!(all(&lattice, 0, "alice").await, json!([1, 4]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_outlives_everything_that_runs() {
    let mut lattice = Lattice::start(3).await;
    lattice.apply(&manifests::ledger_with("")).await;
    for key in 0..20 {
        append(&lattice, key as usize % 3, &format!("key-{key}"), key).await;
    }
    lattice.restart_everything(LATEST).await;
    for key in 0..20 {
        let name = format!("ledger/key-{key}");
        let reply = lattice.call_within(key as usize % 3, &name, "append", json!(100), LATEST).await.unwrap();
        assert_eq!(reply, json!(2));
        assert_eq!(all(&lattice, 0, &format!("key-{key}")).await, json!([key, 100]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_answers_again_after_its_owner_was_killed() {
    let mut lattice = Lattice::start(3).await;
    lattice.apply(&manifests::ledger_with("")).await;
    let keys: Vec<String> = (0..30).map(|key| format!("key-{key}")).collect();
    for key in &keys {
        append(&lattice, 0, key, 1).await;
    }
    lattice.nodes[2].kill();
    let began = std::time::Instant::now();
    for key in &keys {
        let name = format!("ledger/{key}");
        match lattice.call_within(0, &name, "append", json!(2), LATEST).await {
            Ok(reply) => assert_eq!(reply, json!(2), "{key}"),
            // It was sent before NATS knew that nobody is there any more.
            Err(fault) => assert_eq!(fault.kind(), "unknown", "{key}: {fault}"),
        }
        let kept = lattice.call_within(0, &name, "all", Value::Null, LATEST).await.unwrap();
        assert!(kept == json!([1, 2]) || kept == json!([1]), "{key}: {kept}");
    }
    say(&format!("measured: all of {} keys answered {:?} after the kill", keys.len(), began.elapsed()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_move_with_their_shards_and_nobody_sees_a_failure() {
    let mut lattice = Lattice::start(2).await;
    lattice.apply(&manifests::ledger_with("")).await;
    for key in 0..40 {
        append(&lattice, 0, &format!("key-{key}"), 1).await;
    }
    // Shards follow a node that joins, a few at a time, and leave one that is drained.
    let third = lattice.add_node("third", &[]).await;
    lattice.wait_until_joined(LATEST).await;
    let sent = std::cell::Cell::new(1);
    let to_all = async |via: usize| {
        sent.set(sent.get() + 1);
        for key in 0..40 {
            assert_eq!(append(&lattice, via, &format!("key-{key}"), 2).await, json!(sent.get()));
        }
        let nodes = lattice.list_nodes(0).await.unwrap();
        let activations = |name: &str| nodes.iter().find(|node| node.name == name).unwrap().activations;
        (activations("node-1"), activations("third"))
    };
    wait_until("the new node has keys", LATEST, async || to_all(third).await, |(_, third)| *third > 0).await;
    lattice.drain(0, "node-1").await.unwrap();
    wait_until("the old node has none", LATEST, async || to_all(1).await, |(old, _)| *old == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_comes_back_to_its_own_activation_is_told_at_once() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::ledger_with("grants = { call = [\"ledger\"] }")).await;
    append(&lattice, 0, "bob", 5).await;
    assert_eq!(lattice.call(0, "ledger/alice", "ask", json!("ledger/bob")).await.unwrap(), json!([5]));
    let fault = lattice.call(0, "ledger/alice", "ask", json!("ledger/alice")).await.unwrap_err();
    assert_eq!(fault.kind(), "rejected", "{fault}");
    assert!(fault.message.contains("this very chain") && fault.elapsed < Duration::from_secs(2), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_rolls_in_under_load_and_keeps_what_was_kept() {
    let lattice = Lattice::start(3).await;
    lattice.apply(&manifests::ledger_with("")).await;
    let plan = Plan::greet(100, Duration::from_secs(60), &[0, 1, 2]);
    let load = lattice.load(&plan.on("ledger/busy", "append", json!({ "number": 1 })));
    load.wait_for(100).await;
    lattice.apply(&manifests::ledger_with("env = { VERSION = \"2\" }")).await;
    load.wait_for(100).await;
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
    let kept = all(&lattice, 1, "busy").await;
    assert_eq!(kept.as_array().unwrap().len(), report.answered());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_see_is_linearizable_while_owners_are_killed_and_paused() {
    let mut lattice = Lattice::start(3).await;
    let audit = Audit::begin(&lattice).await;
    lattice.apply(&manifests::ledger_with("")).await;
    let ways = [lattice.admin(0), lattice.admin(0)];
    // Reads may be stale by a lease in this mode, so only appends are judged: each tells where it stands.
    let clients = Clients::start(&ways, &["a", "b", "c", "d", "e", "f"], false);
    clients.wait_for(100).await;
    for round in 0..3 {
        let whom = 1 + round % 2;
        if round == 1 {
            lattice.nodes[whom].pause();
            wait_until(
                "it is lost",
                LATEST,
                async || lattice.state(0, whom).await,
                |state| state == "gone" || state == "none",
            )
            .await;
            clients.wait_for(100).await;
            lattice.nodes[whom].resume();
            lattice.wait_until_joined(LATEST).await;
        } else {
            lattice.nodes[whom].kill();
            clients.wait_for(100).await;
            lattice.restart_node(whom).await;
        }
        clients.wait_for(50).await;
    }
    let history = clients.stop().await;
    let effort = assert_linearizable(&List::default(), &history);
    let checked = audit.check(&lattice.nats).await;
    say(&format!("measured: {history}; {effort}; {checked:?}"));
    assert!(checked.commits > 400, "{checked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_that_is_not_committed() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::ledger_with("")).await;
    append(&lattice, 0, "alice", 1).await;
    lattice.nats.pause();
    // The key is on this node, so that the call itself needs no NATS.
    let call = lattice.call_within(0, "ledger/alice", "append", json!(2), Duration::from_secs(1));
    let fault = call.await.unwrap_err();
    assert_eq!((fault.kind(), fault.ran), ("deadline", lattice_proto::Ran::Maybe), "{fault}");
    lattice.nats.resume();
    // What was on its way is stored once, or not at all.
    let reply = lattice.call_within(0, "ledger/alice", "append", json!(3), LATEST).await.unwrap();
    let kept = all(&lattice, 0, "alice").await;
    assert!(kept == json!([1, 3]) || kept == json!([1, 2, 3]), "{kept}");
    assert_eq!(reply, json!(kept.as_array().unwrap().len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_meant_is_refused_with_the_reason() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::ledger_with("")).await;
    lattice.apply(&manifests::greeter(1)).await;
    for (target, word) in [
        ("ledger", "keyed actor"),
        ("greeter/alice", "no keyed actor"),
        ("ledger/", "a key has 1 to 256 bytes"),
        (&format!("ledger/{}", "x".repeat(1 << 20)), "a key has 1 to 256 bytes"),
    ] {
        let fault = lattice.call(0, target, "all", Value::Null).await.unwrap_err();
        assert!(fault.message.contains(word), "{}: {fault}", &target[..target.len().min(30)]);
    }
    // Whatever else is in a key is part of it.
    for key in ["a.b", "a b", "a*", ">", "ä/ö", "a\nb", "=41", "A"] {
        append(&lattice, 0, key, key.len() as u64).await;
        assert_eq!(all(&lattice, 0, key).await, json!([key.len()]), "{key:?}");
    }
    let fault = lattice.try_apply(0, &manifests::ledger_with("").replace("kind = \"keyed\"\n", "")).await;
    assert!(fault.unwrap_err().message.contains("keyed"));
}
