//! How many lease renewals one nats-server takes in a second, with a leader that watches them all. It bounds the number of
//! nodes: each renews its lease twice a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::jetstream::{self, kv};
use futures::StreamExt;
use lattice_tests::NatsServer;

use crate::sample::Sample;

/// Nodes that renew.
const NODES: usize = 2_000;

/// Renewals on their way at once, as those of nodes are that do not know of each other.
const AT_ONCE: usize = 256;

/// How long they go on in one run.
const WINDOW: Duration = Duration::from_secs(3);

/// As large as a lease record is.
const BYTES: usize = 160;

pub async fn measure(runs: usize) -> anyhow::Result<Vec<Sample>> {
    let server = NatsServer::start().await;
    let client = async_nats::connect(server.url()).await?;
    let config = kv::Config {
        bucket: "leases".to_owned(),
        max_age: Duration::from_secs(2),
        limit_markers: Some(Duration::from_secs(1)),
        storage: jetstream::stream::StorageType::Memory,
        ..kv::Config::default()
    };
    let bucket = jetstream::new(client).create_key_value(config).await.context("the bucket")?;
    let leader = async_nats::connect(server.url()).await?;
    let watched = jetstream::new(leader).get_key_value("leases").await?;
    let seen = Arc::<AtomicU64>::default();
    let watching = tokio::spawn({
        let (mut changes, seen) = (watched.watch_all().await?, seen.clone());
        async move {
            while changes.next().await.is_some_and(|change| change.is_ok()) {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut taken = Sample::new("lease renewals that one server takes", "a second", None);
    let mut heard = Sample::new("of them heard by the leader", "a second", None);
    for _ in 0..runs {
        let (began, before) = (Instant::now(), seen.load(Ordering::Relaxed));
        let renewing = (0..AT_ONCE).map(|one| renew(&bucket, one, began));
        let renewals: Vec<anyhow::Result<u64>> = futures::future::join_all(renewing).await;
        let renewals = renewals.into_iter().sum::<anyhow::Result<u64>>()?;
        let per_second = |count: u64| count as f64 / began.elapsed().as_secs_f64();
        taken.values.push(per_second(renewals));
        heard.values.push(per_second(seen.load(Ordering::Relaxed) - before));
    }
    watching.abort();
    Ok(vec![taken, heard])
}

/// Renews every lease of its part, one after the other, by compare-and-set.
async fn renew(bucket: &kv::Store, part: usize, began: Instant) -> anyhow::Result<u64> {
    let mut revisions = [0; NODES / AT_ONCE];
    let mut renewals = 0;
    while began.elapsed() < WINDOW {
        for (node, revision) in revisions.iter_mut().enumerate() {
            let key = format!("node.n{}", node * AT_ONCE + part);
            let lease = vec![b'x'; BYTES].into();
            *revision = match *revision {
                // What an earlier run left has ended by then, or is written over.
                0 => bucket.put(&key, lease).await?,
                known => bucket.update(&key, lease, known).await?,
            };
            renewals += 1;
        }
    }
    Ok(renewals)
}
