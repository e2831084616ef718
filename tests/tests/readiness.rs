//! Readiness: a replica takes messages when its own check says so, and an update to a version whose check fails is taken
//! back.

use std::time::Duration;

use lattice_tests::load::Plan;
use lattice_tests::{Lattice, manifests, say};
use serde_json::json;

const LATEST: Duration = Duration::from_secs(30);

fn unready(replicas: u32, why: &str) -> String {
    manifests::misfit_with(&format!("replicas = {replicas}\nenv = {{ UNREADY = \"{why}\" }}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_whose_check_fails_is_taken_back_with_its_text_and_fails_no_call() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::misfit_with("replicas = 4")).await;
    let plan = Plan::greet(100, Duration::from_secs(120), &[0, 1]);
    let load = lattice.load(&plan.on("misfit", "echo", json!({ "text": "x" })));
    load.wait_for(100).await;
    let fault = lattice.try_apply(0, &unready(4, "the price list is empty")).await.unwrap_err();
    assert_eq!(fault.kind(), "not-reached", "{fault}");
    assert!(fault.message.contains("taken back to what revision 1 says"), "{fault}");
    assert!(fault.message.contains("its own check failed: the price list is empty"), "{fault}");
    lattice.wait_for_spread(0, "misfit", &[2, 2], LATEST).await;
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
    let history = lattice.history(1, "misfit").await;
    let note = &history.last().unwrap().note;
    assert!(note.contains("its own check failed: the price list is empty"), "{note}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_version_whose_check_fails_traps_or_hangs_is_degraded_and_says_which() {
    let lattice = Lattice::start(1).await;
    let table = [
        ("no key for the till", "its own check failed: no key for the till"),
        ("trap", "its own check trapped"),
        ("hang", "its own check did not answer within 10 seconds"),
    ];
    for (why, words) in table {
        let fault = lattice.try_apply(0, &unready(1, why)).await.expect_err(why);
        assert!(fault.message.contains(words), "{why}: {fault}");
        assert_eq!(lattice.actor(0, "misfit").await.condition, "Degraded", "{why}");
        let fault = lattice.call(0, "misfit", "echo", json!("x")).await.expect_err(why);
        assert_eq!(fault.kind(), "no-replica", "{why}: {fault}");
        // The next one begins with nothing that was said of this one.
        lattice.delete(0, "misfit").await.unwrap();
    }
    // What is ready again is served again.
    lattice.apply(&manifests::misfit_with("replicas = 1")).await;
    assert_eq!(lattice.call(0, "misfit", "echo", json!("x")).await, Ok(json!("x")));
}
