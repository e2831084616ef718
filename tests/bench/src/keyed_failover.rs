//! How long a key is away whose owner is killed, hangs, or is cut off from NATS: from the moment of the fault until a turn of
//! that key is committed and answered again, asked for through a node that lives on.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lattice_proto::admin::KeyRequest;
use lattice_tests::{Lattice, manifests};
use serde_json::Value;

use crate::sample::Sample;

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a client asks that has no answer yet: it is part of what is measured.
const ASK: Duration = Duration::from_millis(20);

/// Keys to choose from.
const KEYS: u32 = 48;

/// The node through which all is asked.
const VIA: usize = 0;

pub async fn measure(faults: usize) -> anyhow::Result<Vec<Sample>> {
    let mut lattice = Lattice::builder(3).apart(1).apart(2).start().await;
    lattice.apply(&manifests::ledger_with("")).await;
    let mut killed = Sample::new("a key whose owner is killed answers again", "ms", Some(1_000.0));
    let mut hung = Sample::new("a key whose owner hangs answers again", "ms", Some(5_000.0));
    let mut cut = Sample::new("a key whose owner is cut off answers again", "ms", Some(5_000.0));
    for fault in 0..faults {
        let victim = 1 + fault % 2;
        let key = key_of(&lattice, victim).await;
        let began = lattice.nodes[victim].kill();
        until_answered(&lattice, &key).await?;
        killed.values.push(millis(began));
        lattice.restart_node(victim).await;
        lattice.wait_until_joined(PATIENCE).await;
    }
    for fault in 0..faults {
        let victim = 1 + fault % 2;
        let key = key_of(&lattice, victim).await;
        let began = lattice.nodes[victim].pause();
        until_answered(&lattice, &key).await?;
        hung.values.push(millis(began));
        lattice.nodes[victim].resume();
        lattice.wait_until_joined(PATIENCE).await;
    }
    for fault in 0..faults {
        let victim = 1 + fault % 2;
        let key = key_of(&lattice, victim).await;
        lattice.cut(victim);
        let began = Instant::now();
        until_answered(&lattice, &key).await?;
        cut.values.push(millis(began));
        lattice.mend(victim).await;
        lattice.wait_until_joined(PATIENCE).await;
    }
    Ok(vec![killed, hung, cut])
}

/// A key that this node owns, awake, and that is not on its way elsewhere.
async fn key_of(lattice: &Lattice, node: usize) -> String {
    let (name, began) = (lattice.nodes[node].name(), Instant::now());
    let mut admin = lattice.admin(VIA);
    loop {
        for number in 0..KEYS {
            let key = format!("ledger/k{number}");
            let info = admin.inspect_key(KeyRequest { actor: key.clone() }).await.unwrap().into_inner();
            let stays = info.owner == name && info.next_owner.is_empty();
            if stays && lattice.call_within(VIA, &key, "touch", Value::Null, PATIENCE).await.is_ok() {
                return key;
            }
        }
        assert!(began.elapsed() < PATIENCE, "{name} owns nothing");
        tokio::time::sleep(ASK).await;
    }
}

/// Asks a key again and again until one of the answers is there.
async fn until_answered(lattice: &Lattice, key: &str) -> anyhow::Result<()> {
    let (mut asked, began) = (FuturesUnordered::new(), Instant::now());
    let mut tick = tokio::time::interval(ASK);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                anyhow::ensure!(began.elapsed() < PATIENCE, "{key} does not answer");
                asked.push(lattice.call_within(VIA, key, "touch", Value::Null, Duration::from_secs(1)));
            }
            Some(answer) = asked.next() => if answer.is_ok() {
                return Ok(());
            },
        }
    }
}

fn millis(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}
