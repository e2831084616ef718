//! How long a plan takes: of a whole lattice from nothing, and after the loss of one node.

use std::time::Instant;

use anyhow::{Context, ensure};
use lattice_node::placement::{Demand, Intake, Offer, Planner, Wanted};
use lattice_proto::NodeName;
use lattice_proto::manifest::Settings;

use crate::sample::Sample;

/// Replicas for each node: a million on ten thousand.
const EACH: u32 = 100;

/// Replicas of one actor.
const ACTOR: u32 = 1_000;

/// Nodes that are lost, one after the other, in each lattice.
const LOSSES: usize = 20;

/// With growing numbers of nodes; the bounds are for the largest.
pub fn measure(runs: usize) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for nodes in [100, 1_000, 10_000] {
        let largest = nodes == 10_000;
        let replicas = nodes * EACH;
        let mut whole =
            Sample::new(format!("plan {nodes} nodes, {replicas} replicas, from nothing"), "ms", None);
        let mut loss = Sample::new(format!("plan {nodes} nodes anew after the loss of one"), "ms", None);
        if largest {
            (whole.bound, loss.bound) = (Some(5_000.0), Some(50.0));
        }
        for _ in 0..runs {
            let mut planner = lattice(nodes)?;
            let began = Instant::now();
            planner.settle();
            whole.values.push(millis(began));
            ensure!(planner.replicas() == u64::from(replicas), "not all replicas found a place");
            for lost in 0..LOSSES {
                let number = lost * nodes as usize / LOSSES;
                let victim: NodeName = format!("n{number}").parse()?;
                let began = Instant::now();
                planner.remove_node(&victim);
                planner.settle();
                loss.values.push(millis(began));
                ensure!(planner.replicas() == u64::from(replicas), "what was lost found no place");
                // It comes back, which is no part of the loss of the next one.
                planner.set_node(&victim, offer(number));
                planner.settle();
            }
        }
        samples.extend([whole, loss]);
    }
    Ok(samples)
}

fn millis(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

fn offer(number: usize) -> Offer {
    let labels = [("zone".to_owned(), format!("z{}", number % 3))].into();
    Offer { labels, intake: Intake::Open, memory: 64 << 30, cpus: 8 }
}

/// So many nodes in three zones, with all actors declared and nothing placed.
fn lattice(nodes: u32) -> anyhow::Result<Planner> {
    let mut planner = Planner::default();
    for number in 0..nodes {
        planner.set_node(&format!("n{number}").parse()?, offer(number as usize));
    }
    for number in 0..nodes * EACH / ACTOR {
        let demand = Demand::of(&Settings::default(), Wanted::Count(ACTOR));
        let name = format!("a{number}").parse().context("a name that is none")?;
        planner.set_actor(&name, demand, "declared");
    }
    Ok(planner)
}
