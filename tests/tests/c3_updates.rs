//! C3, R8: an update that fails is taken back by itself, harms few calls, and says so.

use std::time::Duration;

use lattice_tests::load::Plan;
use lattice_tests::{Lattice, manifests, say, wait_until};
use serde_json::json;

const LATEST: Duration = Duration::from_secs(30);

/// Of a hundred calls, while a broken version comes and goes.
const FAILED: usize = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_traps_is_taken_back_and_fails_few_calls() {
    let lattice = Lattice::start(3).await;
    lattice.apply(&manifests::misfit_with("replicas = 6")).await;
    let plan = Plan::greet(200, Duration::from_secs(120), &[0, 1, 2]);
    let load = lattice.load(&plan.on("misfit", "echo", json!({ "text": "x" })));
    load.wait_for(1_000).await;
    let broken = manifests::misfit_with("replicas = 6\nenv = { BROKEN = \"1\" }");
    let fault = lattice.try_apply(1, &broken).await.unwrap_err();
    assert_eq!(fault.kind(), "not-reached", "{fault}");
    assert!(fault.message.contains("taken back to what revision 1 says"), "{fault}");
    assert!(fault.message.contains("crashed"), "{fault}");
    lattice.wait_for_spread(0, "misfit", &[2, 2, 2], LATEST).await;
    load.wait_for(3_000).await;
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    let failed = report.failed().count();
    assert!(failed * 100 < report.shots.len() * FAILED, "{report}");
    assert!(report.kinds().keys().all(|kind| *kind == "trapped"), "{report}");

    let history = lattice.history(2, "misfit").await;
    let shown: Vec<_> = history.iter().map(|r| (r.revision, r.origin.as_str(), r.current)).collect();
    assert_eq!(shown, [(1, "apply", false), (2, "apply", false), (3, "rollback", true)]);
    assert!(history[2].note.contains("crashed"), "{}", history[2].note);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_does_not_start_is_taken_back_and_fails_no_call() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::greeter(4)).await;
    let load = lattice.load(&Plan::greet(100, Duration::from_secs(120), &[0, 1]));
    load.wait_for(100).await;
    let broken = manifests::greeter_with("replicas = 4\nlimits = { memory = \"64KiB\" }");
    let fault = lattice.try_apply(0, &broken).await.unwrap_err();
    assert!(fault.message.contains("taken back to what revision 1 says"), "{fault}");
    lattice.wait_for_spread(0, "greeter", &[2, 2], LATEST).await;
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_a_version_back_takes_no_replicas_away() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::misfit_with("replicas = 1")).await;
    // The third has no place, so that this revision never comes true.
    let apart = "replicas = 3\nplacement = { apart = [\"misfit\"] }";
    lattice.try_apply(0, &manifests::misfit_with(apart)).await.unwrap_err();
    let load = lattice.load(&Plan::greet(100, Duration::from_secs(120), &[0, 1]).on(
        "misfit",
        "echo",
        json!({ "text": "x" }),
    ));
    let broken = manifests::misfit_with(&format!("{apart}\nenv = {{ BROKEN = \"1\" }}"));
    lattice.begin_apply(1, &broken).await.unwrap();
    let observe = async || lattice.history(0, "misfit").await.len();
    wait_until("it is taken back", LATEST, observe, |revisions| *revisions == 4).await;
    let observe = async || lattice.actor(1, "misfit").await;
    wait_until("two serve, and three are wanted", LATEST, observe, |actor| {
        (actor.ready, actor.desired) == (2, 3)
    })
    .await;
    load.stop().await;
    assert_eq!(lattice.history(0, "misfit").await[3].actors[0].replicas, "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_version_that_is_broken_has_nothing_to_go_back_to_and_says_what_is_wrong() {
    let lattice = Lattice::start(1).await;
    let broken = manifests::greeter_with("limits = { memory = \"64KiB\" }");
    let fault = lattice.try_apply(0, &broken).await.unwrap_err();
    assert!(fault.message.contains("memory"), "{fault}");
    assert_eq!(lattice.actor(0, "greeter").await.condition, "Degraded");
}
