//! What the control plane takes: failover after a kill and after a hang, more replicas at once, the first call of what
//! sleeps. Three nodes, of which any may lead and any may be lost.

use std::time::{Duration, Instant};

use lattice_tests::{Lattice, manifests};
use serde_json::json;

use crate::sample::Sample;

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the status is looked at: it is part of what is measured.
const LOOK: Duration = Duration::from_millis(5);

const NODES: usize = 3;

/// How often more replicas are asked for.
const SCALES: usize = 10;

/// How often an actor is let fall asleep.
const SLEEPS: usize = 30;

pub async fn measure(kills: usize) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::from(failover(kills).await?);
    samples.push(scale().await?);
    samples.extend(from_zero().await?);
    Ok(samples)
}

/// From the signal until the status says again what is declared, seen by a node that lives on.
async fn failover(kills: usize) -> anyhow::Result<[Sample; 2]> {
    let mut lattice = Lattice::start(NODES).await;
    lattice.apply(&manifests::greeter(6)).await;
    let mut killed = Sample::new("failover: from SIGKILL until all is as declared", "ms", Some(2_000.0));
    let mut hung = Sample::new("failover: from SIGSTOP until all is as declared", "ms", Some(5_000.0));
    for kill in 0..kills {
        let victim = kill % NODES;
        let began = lattice.nodes[victim].kill();
        until_replaced(&lattice, victim).await;
        killed.values.push(millis(began));
        lattice.restart_node(victim).await;
        at_rest(&lattice).await;
    }
    for pause in 0..kills {
        let victim = pause % NODES;
        let began = lattice.nodes[victim].pause();
        until_replaced(&lattice, victim).await;
        hung.values.push(millis(began));
        lattice.nodes[victim].resume();
        at_rest(&lattice).await;
    }
    Ok([killed, hung])
}

async fn at_rest(lattice: &Lattice) {
    lattice.wait_until_joined(PATIENCE).await;
    lattice.wait_for_spread(0, "greeter", &[2, 2, 2], PATIENCE).await;
}

/// Waits until the rest of the nodes have all replicas.
async fn until_replaced(lattice: &Lattice, victim: usize) {
    let via = (victim + 1) % NODES;
    let lost = lattice.nodes[victim].name();
    let began = Instant::now();
    loop {
        let places = lattice.placements(via, "greeter").await;
        let ready: u32 = places.iter().map(|(_, replicas)| replicas).sum();
        if ready == 6 && places.iter().all(|(node, replicas)| node != lost || *replicas == 0) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "not replaced: {places:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// From one replica to a hundred, with the artifact on every node.
async fn scale() -> anyhow::Result<Sample> {
    let lattice = Lattice::start(NODES).await;
    lattice.apply(&manifests::greeter(3)).await;
    let mut sample = Sample::new("scale from 1 to 100 replicas on 3 nodes", "ms", Some(2_000.0));
    for _ in 0..SCALES {
        lattice.scale(0, "greeter", 1).await?;
        let began = Instant::now();
        lattice.scale(0, "greeter", 100).await?;
        sample.values.push(millis(began));
    }
    Ok(sample)
}

/// The first call of an actor without a replica, beside a call of one that runs.
async fn from_zero() -> anyhow::Result<[Sample; 2]> {
    let lattice = Lattice::start(NODES).await;
    let on_demand = "replicas = { min = 0, max = 4, target_inflight = 8, down_after = \"500ms\" }";
    lattice.apply(&manifests::greeter_with(on_demand)).await;
    let mut first = Sample::new("from zero: the first call, artifact on the node", "ms", Some(50.0));
    let mut second = Sample::new("from zero: the call after it", "ms", None);
    // Until each node has had it once, they fetch and compile, which is not counted.
    for round in 0..SLEEPS + 2 * NODES {
        lattice.wait_for_spread(0, "greeter", &[], PATIENCE).await;
        let via = round % NODES;
        for sample in [&mut first, &mut second] {
            let began = Instant::now();
            lattice.call(via, "greeter", "hello", json!("Ada")).await?;
            if round >= 2 * NODES {
                sample.values.push(millis(began));
            }
        }
    }
    Ok([first, second])
}

fn millis(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}
