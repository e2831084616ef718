//! How long a key is away whose owner is killed, hangs, or is cut off from NATS: from the moment of the fault until a turn of
//! that key is committed and answered again, asked for through a node that lives on.

use std::time::{Duration, Instant};

use lattice_tests::failover::{key_of, until_answered};
use lattice_tests::{Lattice, manifests};

use crate::sample::Sample;

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each of them is the victim in its turn, the leader among them.
const NODES: usize = 3;

pub async fn measure(faults: usize) -> anyhow::Result<Vec<Sample>> {
    let mut lattice = Lattice::builder(NODES).apart(0).apart(1).apart(2).start().await;
    lattice.apply(&manifests::ledger_with("")).await;
    let mut killed = Sample::new("a key whose owner is killed answers again", "ms", Some(1_000.0));
    let mut hung = Sample::new("a key whose owner hangs answers again", "ms", Some(5_000.0));
    let mut cut = Sample::new("a key whose owner is cut off answers again", "ms", Some(5_000.0));
    for fault in 0..faults {
        let (victim, via) = (fault % NODES, (fault + 1) % NODES);
        let key = key_of(&lattice, via, victim).await;
        let began = lattice.nodes[victim].kill();
        until_answered(&lattice, via, &key).await;
        killed.values.push(millis(began));
        lattice.restart_node(victim).await;
        lattice.wait_until_joined(PATIENCE).await;
    }
    for fault in 0..faults {
        let (victim, via) = (fault % NODES, (fault + 1) % NODES);
        let key = key_of(&lattice, via, victim).await;
        let began = lattice.nodes[victim].pause();
        until_answered(&lattice, via, &key).await;
        hung.values.push(millis(began));
        lattice.nodes[victim].resume();
        lattice.wait_until_joined(PATIENCE).await;
    }
    for fault in 0..faults {
        let (victim, via) = (fault % NODES, (fault + 1) % NODES);
        let key = key_of(&lattice, via, victim).await;
        lattice.cut(victim);
        let began = Instant::now();
        until_answered(&lattice, via, &key).await;
        cut.values.push(millis(began));
        lattice.mend(victim).await;
        lattice.wait_until_joined(PATIENCE).await;
    }
    Ok(vec![killed, hung, cut])
}

fn millis(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}
