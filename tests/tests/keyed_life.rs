//! How long a key is awake: until it is idle, or another one needs the room; and what it is told meanwhile by its timers.

use std::time::Duration;

use futures::StreamExt;
use lattice_tests::{Lattice, manifests, wait_for, wait_until};
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(30);

async fn touched(lattice: &Lattice) -> u64 {
    lattice.call(0, "ledger/alice", "touched", Value::Null).await.unwrap().as_u64().unwrap()
}

async fn awake(lattice: &Lattice) -> u32 {
    lattice.list_nodes(0).await.unwrap().iter().map(|node| node.activations).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_come_while_a_key_is_awake_and_do_not_keep_it_awake() {
    // One node: a key that moves loses its timers, and where there are two it may, right after they have begun to serve.
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::ledger_with("idle = \"3s\"")).await;
    let touched = async || touched(&lattice).await;
    let tick = async |id: &str, ms: u64, every: bool| {
        let arguments = json!({ "id": id, "ms": ms, "every": every });
        lattice.call(0, "ledger/alice", "tick", arguments).await.unwrap();
    };
    tick("once", 50, false).await;
    tick("again", 20, true).await;
    wait_until("it was told again and again", LATEST, touched, |count| *count > 10).await;
    lattice.call(0, "ledger/alice", "untick", json!("again")).await.unwrap();
    let stopped = touched().await;
    tick("last", 100, false).await;
    let count = wait_for("the last one came", LATEST, touched, |count| *count > stopped).await;
    assert_eq!(count, stopped + 1, "what was cancelled comes no more");

    // A key that nobody calls falls asleep whatever its timers do, and they end.
    wait_until("it is known to be awake", LATEST, async || awake(&lattice).await, |awake| *awake == 1).await;
    tick("again", 20, true).await;
    wait_until("it sleeps", LATEST, async || awake(&lattice).await, |awake| *awake == 0).await;
    let woken = touched().await;
    tick("last", 200, false).await;
    let count = wait_for("the last one came", LATEST, touched, |count| *count > woken).await;
    assert_eq!(count, woken + 1, "it woke without its timers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_come_to_a_key_that_never_rests_and_are_bounded() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::ledger_with("")).await;
    let fault = lattice.call(0, "ledger/alice", "tick_often", json!(257)).await.unwrap_err();
    assert!(fault.to_string().contains("256 timers"), "{fault}");
    lattice.call(0, "ledger/alice", "tick_often", json!(255)).await.unwrap();
    let arguments = json!({ "id": "again", "ms": 20, "every": true });
    lattice.call(0, "ledger/alice", "tick", arguments).await.unwrap();
    let flood = async {
        let calls = futures::stream::repeat_with(|| lattice.call(0, "ledger/alice", "all", Value::Null));
        calls.buffer_unordered(16).for_each(|reply| async { drop(reply.unwrap()) }).await;
    };
    let enough =
        wait_until("timers come all the same", LATEST, async || touched(&lattice).await, |n| *n > 20);
    tokio::select! {
        () = flood => {}
        _ = enough => {}
    }
}

/// Others have taken half of what there is, so that far fewer keys can be awake than may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_make_room_for_each_other_and_no_call_is_refused_for_it() {
    const POOL: u32 = 12;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("lattice.toml");
    std::fs::write(&config, format!("pool = {POOL}\nactivations = {POOL}\n")).unwrap();
    let lattice = Lattice::builder(1).arg("--config").arg(config.to_str().unwrap()).start().await;
    lattice.apply(&manifests::greeter(POOL / 2)).await;
    lattice.apply(&manifests::ledger_with("")).await;
    for round in 1..=2 {
        for key in 0..3 * POOL {
            let actor = format!("ledger/{key}");
            assert_eq!(lattice.call(0, &actor, "append", json!(round)).await, Ok(json!(round)), "{actor}");
        }
    }
    let all = (0..3 * POOL).map(|key| format!("ledger/{key}"));
    let calls = all.map(|actor| {
        let lattice = &lattice;
        async move { lattice.call(0, &actor, "append", json!(3)).await }
    });
    let replies: Vec<_> = futures::stream::iter(calls).buffer_unordered(4).collect().await;
    assert!(replies.iter().all(|reply| *reply == Ok(json!(3))), "{replies:?}");
    let known = async || awake(&lattice).await;
    let awake = wait_for("some are awake", LATEST, known, |awake| *awake > 0).await;
    assert!(awake <= POOL, "{awake} are awake");
}
