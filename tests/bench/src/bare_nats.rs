//! Raw NATS request and reply between two processes, with the same client library and payload.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures::StreamExt;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// Answers every request with its own payload, until it is killed.
pub async fn respond(url: &str, subject: String) -> anyhow::Result<()> {
    let client = async_nats::connect(url).await?;
    let mut requests = client.subscribe(subject).await?;
    client.flush().await?;
    println!("ready");
    // In a task, as everything in a node: the main thread would have to be woken for each request.
    let responding = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            if let Some(reply) = request.reply {
                client.publish(reply, request.payload).await?;
            }
        }
        anyhow::Ok(())
    });
    responding.await?
}

/// Asks as often as each line of standard input says so, and prints how long it took in nanoseconds.
pub async fn ask(url: &str, subject: String, n: u32, at_once: u32, bytes: usize) -> anyhow::Result<()> {
    let client = async_nats::connect(url).await?;
    let payload = Bytes::from(vec![b'x'; bytes]);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    println!("ready");
    while lines.next_line().await?.is_some() {
        let started = Instant::now();
        let lanes = (0..at_once).map(|lane| {
            let (client, subject, payload) = (client.clone(), subject.clone(), payload.clone());
            let share = n / at_once + u32::from(lane < n % at_once);
            tokio::spawn(async move {
                for _ in 0..share {
                    client.request(subject.clone(), payload.clone()).await?;
                }
                anyhow::Ok(())
            })
        });
        for lane in futures::future::join_all(lanes).await {
            lane??;
        }
        println!("{}", started.elapsed().as_nanos());
    }
    Ok(())
}

/// The two processes of the floor.
pub struct Floor {
    _responder: Child,
    asker: Child,
    replies: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    n: u32,
}

impl Floor {
    /// Starts both, which end when this is dropped.
    pub async fn start(url: &str, n: u32, at_once: u32, bytes: usize) -> anyhow::Result<Self> {
        let subject = format!("bench.{n}.{at_once}.{bytes}");
        let responder = start(&["respond", url, &subject]).await?.0;
        let numbers = [n.to_string(), at_once.to_string(), bytes.to_string()];
        let (asker, replies) = start(&["ask", url, &subject, &numbers[0], &numbers[1], &numbers[2]]).await?;
        Ok(Self { _responder: responder, asker, replies, n })
    }

    /// One run: the time of one request.
    pub async fn run(&mut self) -> anyhow::Result<Duration> {
        let stdin = self.asker.stdin.as_mut().context("no way to ask")?;
        stdin.write_all(b"go\n").await?;
        let line = self.replies.next_line().await?.context("the asking process ended")?;
        Ok(Duration::from_nanos(line.parse()?) / self.n)
    }
}

type Started = (Child, tokio::io::Lines<BufReader<tokio::process::ChildStdout>>);

async fn start(arguments: &[&str]) -> anyhow::Result<Started> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    lines.next_line().await?.context("the other process did not start")?;
    Ok((child, lines))
}
