//! What a node measures is on its page, under names that stay, and nobody can make it grow.

use std::collections::BTreeMap;
use std::time::Duration;

use lattice_tests::{Lattice, manifests, say, wait_for};
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(30);

/// The rows of a node's page, by name and labels.
async fn page(lattice: &Lattice, node: usize) -> BTreeMap<String, f64> {
    let url = lattice.nodes[node].ready().admin.clone();
    let text = lattice_tests::http::get(&url, "/metrics").await;
    assert!(text.status == 200, "{text:?}");
    let rows = text.body.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|row| row.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

fn sum(page: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let of = |row: &&String| row.split('{').next() == Some(name) && row.contains(label);
    page.iter().filter(|(row, _)| of(row)).map(|(_, value)| value).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_tells_of_calls_failures_and_what_runs() {
    let lattice = Lattice::start(2).await;
    lattice.apply(&manifests::misfit_with("replicas = 2\ngrants = { log = true }")).await;
    lattice.apply(&manifests::bank_with("")).await;
    for turn in 0..20 {
        lattice.call(turn % 2, "misfit", "echo", json!("x")).await.unwrap();
    }
    lattice.call(0, "misfit", "trap", Value::Null).await.unwrap_err();
    lattice.call(0, "misfit", "reject", json!("no")).await.unwrap_err();
    lattice.call(0, "account/ada", "deposit", json!(5)).await.unwrap();
    let both = async || {
        let (mut all, other) = (page(&lattice, 0).await, page(&lattice, 1).await);
        for (row, value) in other {
            *all.entry(row).or_default() += value;
        }
        all
    };
    let told = |page: &BTreeMap<String, f64>| {
        sum(page, "lattice_actor_traps_total", "misfit") == 1.0
            && sum(page, "lattice_spec_replicas", "lattice_actor=\"misfit\"") == 2.0
            && sum(page, "lattice_status_replicas", "lattice_actor=\"misfit\"") == 2.0
            && sum(page, "lattice_nats_round_trip_seconds_count", "") > 0.0
    };
    let page = wait_for("all of it is told", LATEST, both, told).await;
    let echo = "rpc_method=\"echo\"";
    assert_eq!(sum(&page, "rpc_server_call_duration_seconds_count", echo), 20.0);
    assert_eq!(sum(&page, "lattice_queue_duration_seconds_count", echo), 20.0);
    let failed = |kind: &str| sum(&page, "lattice_call_failures_total", &format!("error_type=\"{kind}\""));
    assert_eq!((failed("trapped"), failed("rejected")), (1.0, 1.0));
    assert_eq!(sum(&page, "lattice_actor_restarts_total", "misfit"), 1.0);
    assert_eq!(sum(&page, "lattice_commit_duration_seconds_count", "account"), 1.0);
    assert_eq!(sum(&page, "lattice_actor_replicas", "lattice_actor=\"misfit\""), 2.0);
    assert_eq!(sum(&page, "lattice_actor_awake", "account"), 1.0);
    assert!(sum(&page, "lattice_actor_memory_bytes", "misfit") > 1e6);
    assert!(sum(&page, "lattice_node_memory_bytes", "process") > 1e7);
    assert!(sum(&page, "lattice_start_duration_seconds_count", "misfit") >= 2.0);
    assert!(sum(&page, "lattice_node_event_loop_lag_seconds_count", "") > 0.0);
    assert!(sum(&page, "lattice_lease_margin_seconds", "") > 0.5);
    assert_eq!(sum(&page, "lattice_nodes", "ready"), 2.0, "only the leader tells it");
    let keys: Vec<_> = page.keys().filter(|row| row.contains("ada")).collect();
    assert!(keys.is_empty(), "keys are no labels: {keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_callers_make_up_are_no_labels() {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::misfit_with("")).await;
    lattice.call(0, "misfit", "echo", json!("x")).await.unwrap();
    for number in 0..300 {
        lattice.call(0, "misfit", &format!("made-up-{number}"), Value::Null).await.unwrap_err();
        lattice.call(0, &format!("nobody-{number}"), "echo", Value::Null).await.unwrap_err();
    }
    let page = page(&lattice, 0).await;
    say(&format!("measured: {} rows on the page", page.len()));
    let made_up: Vec<_> =
        page.keys().filter(|row| row.contains("made-up") || row.contains("nobody")).collect();
    assert!(made_up.is_empty(), "{made_up:?}");
    assert_eq!(sum(&page, "lattice_call_failures_total", "no-such-operation"), 300.0);
    assert!(sum(&page, "rpc_server_call_duration_seconds_count", "_other") >= 300.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_are_they_while_nobody_can_tell_what_is_deployed() {
    let mut lattice = Lattice::start(1).await;
    lattice.apply(&manifests::misfit_with("")).await;
    lattice.call(0, "misfit", "echo", json!("x")).await.unwrap();
    lattice.server(0).stop().await;
    let cut_off =
        async || lattice.call(0, "nobody", "echo", Value::Null).await.unwrap_err().kind().to_owned();
    wait_for("that the node is cut off", LATEST, cut_off, |kind| kind == "no-replica").await;
    for number in 0..100 {
        lattice.call(0, &format!("nobody-{number}"), "echo", Value::Null).await.unwrap_err();
    }
    let page = page(&lattice, 0).await;
    let made_up: Vec<_> = page.keys().filter(|row| row.contains("nobody")).collect();
    assert!(made_up.is_empty(), "{made_up:?}");
}
