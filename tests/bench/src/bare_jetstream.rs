//! Raw compare-and-set publishes into JetStream, from a process of its own: what keeps a key's state at least.
//!
//! Each key is a subject of its own, over as many streams as a lattice has for state, and has one write on its way at a
//! time, since the next one needs the sequence of the last.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::HeaderMap;
use async_nats::jetstream::stream::Config;
use bytes::Bytes;
use lattice_proto::shard::PARTITIONS;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// About what the record of a small state takes, in bytes.
pub const RECORD: usize = 256;

/// Writes as often as each line of standard input says so, and prints how long it took in nanoseconds.
pub async fn write(url: &str, prefix: &str, n: u32, keys: u32) -> anyhow::Result<()> {
    let client = async_nats::connect(url).await?;
    let jetstream = async_nats::jetstream::new(client.clone());
    for partition in 0..PARTITIONS {
        let config = Config {
            name: format!("{prefix}_{partition}"),
            subjects: vec![format!("{prefix}.{partition}.>")],
            max_messages_per_subject: 1,
            allow_direct: true,
            ..Config::default()
        };
        jetstream.create_stream(config).await?;
    }
    let payload = Bytes::from(vec![b'x'; RECORD]);
    let mut last: Vec<u64> = vec![0; keys as usize];
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    println!("ready");
    while lines.next_line().await?.is_some() {
        let started = Instant::now();
        let lanes = (0..keys).zip(&last).map(|(key, last)| {
            let (client, payload, mut sequence) = (client.clone(), payload.clone(), *last);
            let subject = format!("{prefix}.{}.{key}", key % u32::from(PARTITIONS));
            let share = n / keys + u32::from(key < n % keys);
            tokio::spawn(async move {
                for _ in 0..share {
                    let mut headers = HeaderMap::new();
                    headers.insert("Nats-Expected-Last-Subject-Sequence", sequence.to_string().as_str());
                    let written =
                        client.request_with_headers(subject.clone(), headers, payload.clone()).await?;
                    sequence = acknowledged(&written.payload)?;
                }
                anyhow::Ok(sequence)
            })
        });
        let mut written = Vec::with_capacity(last.len());
        for lane in futures::future::join_all(lanes).await {
            written.push(lane??);
        }
        last = written;
        println!("{}", started.elapsed().as_nanos());
    }
    Ok(())
}

fn acknowledged(payload: &[u8]) -> anyhow::Result<u64> {
    let ack: serde_json::Value = serde_json::from_slice(payload)?;
    ack["seq"].as_u64().with_context(|| format!("it is not stored: {ack}"))
}

/// The process of the floor.
pub struct Floor {
    writer: Child,
    replies: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    n: u32,
}

impl Floor {
    /// Starts it; it ends when this is dropped.
    pub async fn start(url: &str, n: u32, keys: u32) -> anyhow::Result<Self> {
        let prefix = format!("bench{keys}x{n}");
        let mut writer = Command::new(std::env::current_exe()?)
            .args(["write", url, &prefix, &n.to_string(), &keys.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut replies = BufReader::new(writer.stdout.take().context("no output")?).lines();
        replies.next_line().await?.context("the writing process did not start")?;
        Ok(Self { writer, replies, n })
    }

    /// One run: the time of one write.
    pub async fn run(&mut self) -> anyhow::Result<Duration> {
        let stdin = self.writer.stdin.as_mut().context("no way to ask")?;
        stdin.write_all(b"go\n").await?;
        let line = self.replies.next_line().await?.context("the writing process ended")?;
        Ok(Duration::from_nanos(line.parse()?) / self.n)
    }
}
