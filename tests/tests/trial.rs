//! A new version that is on trial gets its part of the calls, until it is promoted, taken back, or found to be broken.

use std::time::Duration;

use lattice_tests::load::{Plan, Report};
use lattice_tests::{Lattice, manifests, say, wait_until};
use serde_json::json;

const LATEST: Duration = Duration::from_secs(30);

fn greeter(greeting: &str) -> String {
    manifests::greeter_with(&format!(
        "replicas = 10\nupdate = {{ canary = \"20%\" }}\nenv = {{ GREETING = \"{greeting}\" }}"
    ))
}

/// The part of all answers that begin like this, in percent.
fn part(report: &Report, greeting: &str) -> usize {
    let answers: Vec<_> =
        report.shots.iter().filter_map(|shot| shot.outcome.as_ref().ok()?.as_str()).collect();
    answers.iter().filter(|answer| answer.starts_with(greeting)).count() * 100 / answers.len().max(1)
}

async fn some_calls(lattice: &Lattice, callers: &[usize]) -> Report {
    let load = lattice.load(&Plan::greet(400, Duration::from_secs(60), callers));
    load.wait_for(1_000).await;
    load.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_gets_its_part_of_the_calls_wherever_they_come_from_and_ends_as_it_is_told() {
    let lattice = Lattice::start(3).await;
    lattice.apply(&greeter("Old")).await;
    let load = lattice.load(&Plan::greet(100, Duration::from_secs(120), &[0, 1, 2]));
    lattice.apply(&greeter("New")).await;
    let trial = lattice.actor(0, "greeter").await.trial.unwrap();
    assert_eq!((trial.share, trial.replicas), (20, 2));
    // Two of three nodes have a replica of it, and calls that begin on the third go there all the same.
    for node in 0..3 {
        let report = some_calls(&lattice, &[node]).await;
        let part = part(&report, "New");
        say(&format!("measured: {part} of 100 calls from node {node}; {report}"));
        assert!((12..=28).contains(&part), "{part} of 100 from node {node}");
    }
    lattice.promote(1, "greeter").await.unwrap();
    let actor = lattice.actor(0, "greeter").await;
    assert_eq!((actor.trial, actor.condition.as_str()), (None, "Available"));
    assert_eq!(part(&some_calls(&lattice, &[0, 1, 2]).await, "New"), 100);

    lattice.apply(&greeter("Newer")).await;
    lattice.scale(0, "greeter", 11).await.unwrap();
    let placed =
        |greeting: &str| greeter(greeting).replace("= 10", "= 11\nplacement = { prefer = [\"at=moon\"] }");
    lattice.apply(&placed("Newer")).await;
    lattice.abort(2, "greeter").await.unwrap();
    let asked = lattice.dry_run(0, &placed("New")).await;
    assert!(asked.is_empty(), "what was changed besides stays: {asked:?}");
    assert_eq!(lattice.actor(0, "greeter").await.desired, 11, "what was changed besides stays");
    assert_eq!(part(&some_calls(&lattice, &[0, 1, 2]).await, "New,"), 100);
    let report = load.stop().await;
    assert_eq!(report.kinds(), [].into(), "{report}");
    let history = lattice.history(0, "greeter").await;
    let shown: Vec<_> = history.iter().map(|r| (r.origin.as_str(), r.trial)).collect();
    let all = [
        ("apply", false),
        ("apply", true),
        ("promote", false),
        ("apply", true),
        ("scale", true),
        ("apply", true),
        ("abort", false),
    ];
    assert_eq!(shown, all);
    let fault = lattice.promote(0, "greeter").await.unwrap_err();
    assert_eq!((fault.kind(), fault.message.contains("canary")), ("invalid-request", true), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_outlives_the_leader_and_scaling() {
    let mut lattice = Lattice::start(3).await;
    lattice.apply(&greeter("Old")).await;
    lattice.apply(&greeter("New")).await;
    let leader = lattice.leader(0).await.unwrap();
    let via = (leader + 1) % 3;
    lattice.nodes[leader].kill();
    let observe = async || lattice.actors(via).await.unwrap_or_default();
    let settled = |actors: &Vec<lattice_proto::admin::Actor>| {
        let whole =
            |actor: &&lattice_proto::admin::Actor| actor.ready >= 10 && actor.condition == "Available";
        let placed = |actor: &lattice_proto::admin::Actor| {
            actor.placements.iter().filter(|p| p.replicas > 0).count() == 2
        };
        actors.iter().find(whole).is_some_and(placed)
    };
    wait_until("all replicas on two nodes", LATEST, observe, settled).await;
    let part_of = async |lattice: &Lattice| part(&some_calls(lattice, &[via]).await, "New");
    let part = part_of(&lattice).await;
    assert!((12..=28).contains(&part), "{part}");
    lattice.scale(via, "greeter", 5).await.unwrap();
    let trial = lattice.actor(via, "greeter").await.trial.unwrap();
    assert_eq!((trial.share, trial.replicas), (20, 1));
    let part = part_of(&lattice).await;
    assert!((12..=28).contains(&part), "{part}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_that_is_broken_is_taken_back_by_itself() {
    let lattice = Lattice::start(3).await;
    let misfit =
        |env: &str| manifests::misfit_with(&format!("replicas = 10\nupdate = {{ canary = \"10%\" }}\n{env}"));
    lattice.apply(&misfit("")).await;
    let plan = Plan::greet(200, Duration::from_secs(120), &[0, 1, 2]);
    let load = lattice.load(&plan.on("misfit", "echo", json!({ "text": "x" })));
    load.wait_for(500).await;
    // Its trial may have begun well before the first calls find out what it is.
    let began = lattice.begin_apply(0, &misfit("env = { BROKEN = \"1\" }")).await.unwrap();
    let observe = async || lattice.history(0, "misfit").await;
    wait_until("a third revision", LATEST, observe, |history| history.len() == 3).await;
    lattice.wait_for_spread(0, "misfit", &[4, 3, 3], LATEST).await;
    load.wait_for(2_000).await;
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    assert!(report.failed().count() * 100 < report.shots.len(), "{report}");
    assert_eq!(began.revision, 2);
    assert_eq!(lattice.history(0, "misfit").await[2].origin, "rollback");
}
