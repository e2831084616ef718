//! An actor whose manifest leaves it to the lattice has as many replicas as its load needs, and none when nobody calls it.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use lattice_tests::load::Plan;
use lattice_tests::{Lattice, manifests, say, wait_until};
use serde_json::json;

const LATEST: Duration = Duration::from_secs(30);

/// Three times what a first call may take when its artifact is there already.
const FIRST_CALL: Duration = Duration::from_millis(150);

async fn wait_for_replicas(lattice: &Lattice, actor: &str, wanted: RangeInclusive<u32>) {
    let observe = async || {
        let actors = lattice.actors(0).await.unwrap_or_default();
        actors.into_iter().find(|one| one.actor == actor).map(|one| (one.desired, one.ready))
    };
    let what = format!("{actor} has {wanted:?} replicas");
    let fits = |(desired, ready): &(u32, u32)| wanted.contains(desired) && desired == ready;
    wait_until(&what, LATEST, observe, |seen| seen.as_ref().is_some_and(fits)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_call_of_an_actor_that_sleeps_is_held_and_answered() {
    let lattice = Lattice::start(3).await;
    let on_demand = "replicas = { min = 0, max = 4, target_inflight = 8, down_after = \"500ms\" }";
    lattice.apply(&manifests::greeter_with(on_demand)).await;
    assert_eq!(lattice.actor(0, "greeter").await.desired, 0);
    let mut taken = Vec::new();
    // Each node asks once for nothing, so that all have the artifact, and then again.
    for round in 0..8 {
        wait_for_replicas(&lattice, "greeter", 0..=0).await;
        let start = Instant::now();
        let reply = lattice.call(round % 3, "greeter", "hello", json!("Ada")).await;
        taken.push(start.elapsed());
        assert_eq!(reply.unwrap(), json!("Hello, Ada!"));
    }
    say(&format!("measured: first calls {taken:.1?}"));
    let mut cached = taken.split_off(4);
    cached.sort_unstable();
    assert!(cached[1] <= FIRST_CALL, "{cached:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_follow_the_messages_in_flight_and_nothing_is_lost_on_the_way() {
    let lattice = Lattice::start(3).await;
    let range =
        "replicas = { min = 0, max = 6, target_inflight = 4, down_after = \"500ms\" }\nconcurrency = 4";
    lattice.apply(&manifests::misfit_with(range)).await;
    // Forty calls a second of half a second each are twenty in flight.
    let plan = Plan::greet(40, Duration::from_secs(60), &[0, 1, 2]);
    let load = lattice.load(&plan.on("misfit", "sleep", json!({ "ms": 500 })));
    wait_for_replicas(&lattice, "misfit", 5..=6).await;
    let why = lattice.explain(1, "misfit").await;
    assert!(why.values().any(|reason| reason.contains("in flight")), "{why:?}");
    load.wait_for(40).await;
    let report = load.stop().await;
    wait_for_replicas(&lattice, "misfit", 0..=0).await;
    say(&format!("measured: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_to_sleep_and_waking_up_again_and_again_loses_no_call() {
    let lattice = Lattice::start(2).await;
    let nervous = "replicas = { min = 0, max = 3, target_inflight = 2, down_after = \"0s\" }";
    lattice.apply(&manifests::greeter_with(nervous)).await;
    // At this pace it falls asleep and is woken up with nearly every call, and some calls meet it just as it goes.
    let load = lattice.load(&Plan::greet(1, Duration::from_secs(60), &[0, 1]));
    for _ in 0..3 {
        wait_for_replicas(&lattice, "greeter", 0..=0).await;
        load.wait_for(4).await;
    }
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_held_outlives_the_leader() {
    let mut lattice = Lattice::start(3).await;
    let on_demand = "replicas = { min = 0, max = 4, target_inflight = 8 }";
    lattice.apply(&manifests::greeter_with(on_demand)).await;
    let leader = lattice.leader(0).await.unwrap();
    let caller = (leader + 1) % 3;
    lattice.nodes[leader].kill();
    let start = Instant::now();
    let reply = lattice.call_within(caller, "greeter", "hello", json!("Ada"), LATEST).await;
    say(&format!("measured: a first call without a leader took {:?}", start.elapsed()));
    assert_eq!(reply.unwrap(), json!("Hello, Ada!"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_run_anywhere_says_so_to_whoever_calls_it() {
    let lattice = Lattice::start(1).await;
    let nowhere =
        "replicas = { min = 0, max = 4, target_inflight = 8 }\nplacement = { require = [\"at=moon\"] }";
    lattice.apply(&manifests::greeter_with(nowhere)).await;
    let fault = lattice.call_within(0, "greeter", "hello", json!("Ada"), LATEST).await.unwrap_err();
    assert_eq!(fault.kind(), "no-replica", "{fault}");
    assert!(fault.message.contains("at=moon"), "{fault}");
    assert!(fault.elapsed < LATEST / 2, "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_takes_nothing_away_from_what_is_busy() {
    let mut lattice = Lattice::start(3).await;
    let range = "replicas = { min = 1, max = 6, target_inflight = 4, down_after = \"2s\" }\nconcurrency = 4\n\
                 placement = { require = [\"at=work\"] }";
    for node in ["work-0", "work-1"] {
        lattice.add_node(node, &["at=work"]).await;
    }
    lattice.apply(&manifests::misfit_with(range)).await;
    let plan = Plan::greet(40, Duration::from_secs(60), &[3, 4]);
    let load = lattice.load(&plan.on("misfit", "sleep", json!({ "ms": 500 })));
    wait_for_replicas(&lattice, "misfit", 5..=6).await;
    let leader = lattice.leader(3).await.unwrap();
    let via = if leader == 3 { 4 } else { 3 };
    assert!(leader < 3, "the first three were there before the others, and none of them runs anything");
    lattice.nodes[leader].kill();
    let other = async || lattice.leader(via).await;
    wait_until("another leader", LATEST, other, |now| now.is_some_and(|now| now != leader)).await;
    // For several of the windows after which a leader that hears of no load scales down.
    load.wait_for(240).await;
    // Whatever was decided meanwhile was told.
    let events = lattice.events(via).await;
    let elected = events.iter().rposition(|event| event.kind == "leader-elected").unwrap();
    let told: Vec<&String> =
        events[elected..].iter().filter(|event| event.kind == "scaled").map(|event| &event.text).collect();
    let numbers = told.iter().map(|text| {
        let to = text.split(" -> ").nth(1).and_then(|text| text.split(' ').next());
        to.and_then(|to| to.parse::<u32>().ok()).unwrap()
    });
    let after: Vec<u32> = numbers.collect();
    assert!((5..=6).contains(&lattice.actor(via, "misfit").await.desired));
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
    assert!(after.iter().all(|to| *to >= 5), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_calls_are_answered_by_what_has_a_place_though_more_is_wanted() {
    let lattice = Lattice::start(2).await;
    // Forty calls want forty replicas, and only two may be.
    let range =
        "replicas = { min = 0, max = 40, target_inflight = 1 }\nplacement = { apart = [\"greeter\"] }";
    lattice.apply(&manifests::greeter_with(range)).await;
    let calls = (0..40).map(|call| lattice.call_within(call % 2, "greeter", "hello", json!("Ada"), LATEST));
    for reply in futures::future::join_all(calls).await {
        assert_eq!(reply.unwrap(), json!("Hello, Ada!"));
    }
}
