//! The dashboard and the alert rules in `deploy/` speak of metrics that really are there: a real Prometheus reads two nodes.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use lattice_tests::load::Plan;
use lattice_tests::prometheus::{self, Prometheus};
use lattice_tests::{Lattice, manifests, say, wait_until};
use serde_json::{Value, json};

const LATEST: Duration = Duration::from_secs(60);

fn deployed(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rules with shorter times, so that a test need not wait for minutes; what they ask for is the same.
fn quick_rules() -> String {
    let rules = deployed("prometheus/alerts.yml");
    let rules: Vec<String> = rules
        .lines()
        .map(|line| {
            if line.trim_start().starts_with("for:") { "        for: 1s".to_owned() } else { line.to_owned() }
        })
        .collect();
    rules.join("\n").replace("[5m]", "[20s]").replace("[15m]", "[20s]")
}

/// The queries of the dashboard's panels, by the panels' titles.
fn panels() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&deployed("grafana/lattice.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let query =
                query.replace("$__rate_interval", "20s").replace("$actor", ".*").replace("$node", ".*");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    assert!(queries.len() > 20, "{queries:?}");
    queries
}

/// The names of metrics in a query.
fn metrics_in(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_metric = |word: &&str| {
        (word.starts_with("lattice_") || word.starts_with("rpc_"))
            && ![
                "lattice_actor",
                "lattice_node",
                "lattice_id",
                "lattice_kind",
                "lattice_pool",
                "lattice_start",
                "lattice_node_state",
                "rpc_method",
            ]
            .contains(word)
    };
    words.filter(is_metric).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_has_data_and_every_alert_its_metrics() {
    let Some(program) = prometheus::program("dashboards and alerts").await else { return };
    let mut lattice = Lattice::start(2).await;
    let admins: Vec<String> = lattice.nodes.iter().map(|node| node.ready().admin.clone()).collect();
    let prometheus = Prometheus::start(&program, &admins, &quick_rules()).await;
    lattice.apply(&manifests::greeter(2)).await;
    lattice.apply(&manifests::bank_with("")).await;
    lattice.apply(&manifests::misfit_with("grants = { log = true }\nreplicas = 2")).await;
    let load = lattice.load(&Plan::greet(20, Duration::from_secs(300), &[0, 1]));

    let mut turn = 0_u32;
    for (title, query) in panels() {
        let has_data = async || {
            // Something of everything goes on, so that rates have something to show.
            turn += 1;
            let (node, other) = (turn as usize % 2, (turn as usize + 1) % 2);
            let _ = lattice.call(node, "account/ada", "deposit", json!(1)).await;
            let _ = lattice.call(other, &format!("account/k{turn}"), "deposit", json!(1)).await;
            let _ = lattice.call(node, "misfit", "log", json!("a line")).await;
            let _ = lattice.call(node, "misfit", "reject", json!("no")).await;
            prometheus.query(&query).await.len()
        };
        wait_until(&format!("data for `{title}`: {query}"), LATEST, has_data, |rows| *rows > 0).await;
    }

    let rules = prometheus.rules().await;
    assert!(rules.len() >= 10, "{rules:?}");
    for (name, query) in &rules {
        for metric in metrics_in(query).into_iter() {
            let seen = async || prometheus.query(metric).await.len();
            wait_until(&format!("{metric} of the alert {name}"), LATEST, seen, |rows| *rows > 0).await;
        }
    }
    // A busy machine may run late; nothing else is wrong yet.
    let late = ["LatticeEventLoopLate", "LatticeLeaseLow", "LatticeMailboxesFill"];
    let alerts = prometheus.alerts().await;
    assert!(alerts.iter().all(|alert| late.contains(&alert.as_str())), "{alerts:?}");

    for _ in 0..10 {
        lattice.call(0, "misfit", "trap", Value::Null).await.unwrap_err();
    }
    let fires = |name: &'static str| move |alerts: &Vec<String>| alerts.iter().any(|alert| alert == name);
    let alerts = async || prometheus.alerts().await;
    let took = wait_until("the alert of crashes", LATEST, alerts, fires("LatticeActorCrashes")).await;
    say(&format!("measured: the alert of crashes fired after {took:?}"));
    load.stop().await;
    lattice.nodes[1].kill();
    let alerts = async || prometheus.alerts().await;
    wait_until("the alert of a node that is down", LATEST, alerts, fires("LatticeNodeDown")).await;
}
