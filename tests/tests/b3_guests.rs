//! B3: a guest that misbehaves costs its own turn, never another replica or the node.

use std::time::Duration;

use lattice_proto::Ran;
use lattice_tests::load::Plan;
use lattice_tests::wait::judge;
use lattice_tests::{Lattice, manifests, say, wait_until};
use serde_json::{Value, json};

const SETTINGS: &str = "limits = { memory = \"64MiB\", turn = \"500ms\", payload = \"1MiB\" }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_misdeed_costs_its_own_turn_only() {
    let mut lattice = Lattice::start(1).await;
    lattice.apply(&manifests::greeter(1)).await;
    lattice.apply(&manifests::misfit_with(SETTINGS)).await;
    let neighbour = lattice.load(&Plan::greet(50, Duration::from_secs(120), &[0]));

    let table = [
        ("trap", Value::Null, "trapped", Duration::from_secs(1)),
        ("hoard", Value::Null, "trapped", Duration::from_secs(1)),
        // The budget of the turn, and the tick that finds it overdrawn.
        ("spin", Value::Null, "trapped", Duration::from_secs(1)),
        ("big_reply", json!({ "bytes": 10 << 20 }), "too-large", Duration::from_secs(1)),
    ];
    for (misdeed, arguments, kind, bound) in table {
        let fault = lattice.call(0, "misfit", misdeed, arguments).await.expect_err(misdeed);
        assert_eq!((fault.kind(), fault.ran), (kind, Ran::Yes), "{misdeed}: {fault}");
        judge(&format!("the answer to {misdeed}"), fault.elapsed, bound);
        let observe = async || lattice.call(0, "misfit", "echo", json!("back")).await;
        let back = wait_until("misfit serves again", Duration::from_secs(30), observe, |seen| {
            *seen == Ok(json!("back"))
        });
        say(&format!("measured: serves again after {misdeed}: {:?}", back.await));
    }

    let report = neighbour.stop().await;
    assert_eq!(report.kinds(), [].into(), "the neighbour felt it: {report}");
    assert!(!lattice.nodes[0].has_ended());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_is_logged_with_its_reason() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::misfit_with("grants = { log = true }")).await;
    lattice.call(0, "misfit", "trap", Value::Null).await.unwrap_err();
    let observe = async || lattice.nodes[0].output();
    wait_until("the trap in the node's log", Duration::from_secs(5), observe, |log| {
        log.contains("misfit") && log.contains("unreachable")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spinning_replicas_do_not_hold_up_the_node() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::greeter(1)).await;
    // More spinning guests than there are threads to run anything on.
    lattice.apply(&manifests::misfit_with("replicas = 8\nlimits = { turn = \"2s\" }")).await;
    let spinning: Vec<_> = (0..8)
        .map(|_| {
            let (client, payload) = (lattice.admin(0), Vec::new());
            tokio::spawn(lattice_tests::lattice::call(
                client,
                "misfit",
                "spin",
                payload,
                Duration::from_secs(30),
            ))
        })
        .collect();
    let report = lattice.load(&Plan::greet(50, Duration::from_secs(2), &[0])).finish().await;
    say(&format!("measured beside 8 spinning guests: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
    for spin in spinning {
        let fault = spin.await.unwrap().unwrap_err();
        assert_eq!(fault.kind(), "trapped", "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actors_own_error_arrives_whole() {
    let lattice = Lattice::builder(2).label(1, "at=misfit").start().await;
    lattice.apply(&manifests::misfit_with("placement = { require = [\"at=misfit\"] }")).await;
    for node in 0..2 {
        let fault = lattice.call(node, "misfit", "reject", json!("out-of-luck")).await.unwrap_err();
        assert_eq!(
            (fault.kind(), fault.ran, fault.code.as_str()),
            ("rejected", Ran::Yes, "out-of-luck"),
            "{fault}"
        );
        assert_eq!(fault.details, "{\"code\":\"out-of-luck\"}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_serves_for_long_needs_no_more_memory() {
    let lattice = Lattice::start(1).await;
    // A guest that kept a hundred bytes of each message would be at its limit long before the last one.
    let manifest = "[app]\nname = \"long\"\n\n\
        [actors.caller]\nartifact = \"misfit.wasm\"\ngrants = { call = [\"callee\"] }\nlimits = { memory = \"4MiB\" }\n\n\
        [actors.callee]\nartifact = \"misfit.wasm\"\nlimits = { memory = \"4MiB\" }\n";
    lattice.apply(manifest).await;
    let calls = 60_000;
    let storm = json!({ "to": "callee", "n": calls, "at_once": 16, "bytes": 64, "json": true });
    let replies = lattice.call_within(0, "caller", "storm", storm, Duration::from_secs(60)).await;
    assert_eq!(replies, Ok(json!(calls)));
}
