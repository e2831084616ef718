//! Nodes of this version and of the one before work in one lattice, also while it goes over from one to the other.
//!
//! `cargo xtask soak --earlier REV` builds the one before. Without, both are this one, and what is left is a restart of all
//! nodes, one after the other.

use std::time::Duration;

use lattice_tests::lattice::{earlier_program, node_program};
use lattice_tests::load::Plan;
use lattice_tests::{Lattice, manifests, say, wait_until};
use serde_json::json;

const LATEST: Duration = Duration::from_secs(30);

/// The greeter, on all nodes but those that only call it, with a greeting by which a version of it is known.
fn greeter(replicas: u32, greeting: &str) -> String {
    manifests::greeter_with(&format!(
        "replicas = {replicas}\nplacement = {{ require = [\"tier=work\"] }}\nenv = {{ GREETING = \"{greeting}\" }}"
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lattice_goes_over_to_this_version_node_by_node_under_load() {
    let mut builder = Lattice::builder(3);
    for node in 0..3 {
        builder = builder.program(node, earlier_program()).label(node, "tier=work");
    }
    let mut lattice = builder.start().await;
    lattice.apply(&greeter(6, "Version 0")).await;
    lattice.wait_for_spread(0, "greeter", &[2, 2, 2], LATEST).await;

    // The first node of this version only calls, so that each call goes to another node.
    let caller = lattice.add_node("caller", &[]).await;
    lattice.nodes[caller].restart_as(node_program()).await;
    lattice.wait_until_joined(LATEST).await;
    let load = lattice.load(&Plan::greet(100, Duration::from_secs(300), &[caller]));
    load.wait_for(100).await;
    for node in 0..3 {
        let status = lattice.nodes[node].terminate().await;
        assert_eq!(status.code(), Some(0), "{}", lattice.nodes[node].output());
        lattice.nodes[node].restart_as(node_program()).await;
        lattice.wait_until_joined(LATEST).await;
        // Nodes of both versions agree on what is declared, whichever of them was told.
        let greeting = format!("Version {}", node + 1);
        let via = if node % 2 == 0 { 2 } else { caller };
        lattice.try_apply(via, &greeter(6, &greeting)).await.unwrap();
        for asked in 0..lattice.nodes.len() {
            let reply = lattice.call(asked, "greeter", "hello", json!("Ada")).await.unwrap();
            assert_eq!(reply, json!(format!("{greeting}, Ada!")));
            assert_eq!(lattice.history(asked, "greeter").await.len(), node + 2);
        }
        load.wait_for(100).await;
    }
    lattice.wait_for_spread(0, "greeter", &[2, 2, 2], LATEST).await;
    let report = load.stop().await;
    say(&format!("measured: {report}"));
    assert_eq!(report.kinds(), [].into(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_version_leads_the_other() {
    let mut builder = Lattice::builder(4);
    for node in 0..4 {
        let program = if node < 2 { earlier_program() } else { node_program() };
        builder = builder.program(node, program);
    }
    let mut lattice = builder.start().await;
    lattice.apply(&manifests::greeter(8)).await;
    lattice.wait_for_spread(0, "greeter", &[2, 2, 2, 2], LATEST).await;
    // Leaders are killed until nodes of both versions have led, and each goes on with what the one before began.
    let mut led = [false; 2];
    for round in 0.. {
        let observe = async || {
            let via = (0..4).find(|node| lattice.nodes[*node].is_running()).unwrap();
            lattice.leader(via).await.filter(|leader| lattice.nodes[*leader].is_running())
        };
        wait_until("somebody leads", LATEST, observe, Option::is_some).await;
        let leader = observe().await.unwrap();
        led[usize::from(leader < 2)] = true;
        let replicas = if round % 2 == 0 { 4 } else { 8 };
        let other = (leader + 2) % 4;
        lattice.scale(other, "greeter", replicas).await.unwrap();
        let each = replicas / 4;
        lattice.wait_for_spread(leader, "greeter", &[each; 4], LATEST).await;
        for node in 0..4 {
            let explained = lattice.explain(node, "greeter").await;
            assert_eq!(explained.len(), 4, "{explained:?}");
        }
        if led == [true; 2] {
            break;
        }
        assert!(round < 12, "a version never led: {led:?}");
        lattice.nodes[leader].kill();
        lattice.restart_node(leader).await;
        lattice.wait_until_joined(LATEST).await;
    }
}
