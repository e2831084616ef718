//! What Lattice costs, beside what it could cost at least.
//!
//! Every figure of a call stands beside a floor that is measured in the same run and interleaved with it: the bare parts,
//! put together in the shortest way that does the same. Ratios travel between machines; absolute figures do not. What the
//! control plane takes is told by its worst cases, as nobody waits for the median of a failover.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing better to do than to say where"
)]

mod bare_http;
mod bare_jetstream;
mod bare_nats;
mod bare_wasm;
mod control;
mod figure;
mod http;
mod instructions;
mod keyed;
mod keyed_failover;
mod leases;
mod local;
mod planning;
mod remote;
mod replica;
mod sample;
mod telemetry;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use figure::Figure;
use sample::Sample;

/// Measures Lattice against its floors, prints a table, and writes JSON.
#[derive(Parser)]
struct Options {
    /// Interleaved runs of each figure and its floor; medians are shown
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Where the JSON goes
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// Only the groups of figures whose names contain this: local, remote, replica, http, keyed-turns, keyed-reads, keyed-cold,
    /// keyed-many, keyed-failover, planning, leases, control, telemetry, instructions
    #[arg(long)]
    only: Option<String>,
    /// Nodes that are killed, and as many that are stopped and cut off, to measure failover
    #[arg(long, default_value_t = 30)]
    kills: usize,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// The other process of the raw NATS floor; the benchmark starts it by itself
    #[command(hide = true)]
    Respond { url: String, subject: String },
    /// The asking process of the raw NATS floor; the benchmark starts it by itself
    #[command(hide = true)]
    Ask { url: String, subject: String, n: u32, at_once: u32, bytes: usize },
    /// The process of the bare HTTP floor; the benchmark starts it by itself
    #[command(hide = true)]
    Serve {
        component: PathBuf,
        /// Without what Wasmtime keeps for async functions
        #[arg(long)]
        plain: bool,
    },
    /// The process of the raw JetStream floor; the benchmark starts it by itself
    #[command(hide = true)]
    Write { url: String, prefix: String, n: u32, keys: u32 },
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    // As many threads as a node has by default: the floors must not win by a better runtime.
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        match options.command {
            Some(Command::Respond { url, subject }) => bare_nats::respond(&url, subject).await,
            Some(Command::Ask { url, subject, n, at_once, bytes }) => {
                bare_nats::ask(&url, subject, n, at_once, bytes).await
            }
            Some(Command::Serve { component, plain }) => bare_http::serve(&component, plain).await,
            Some(Command::Write { url, prefix, n, keys }) => {
                bare_jetstream::write(&url, &prefix, n, keys).await
            }
            None => measure(&options).await,
        }
    })
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let mut figures: Vec<Figure> = Vec::new();
    if wanted("local") {
        figures.extend(local::measure(options.runs).await?);
    }
    if wanted("remote") {
        figures.extend(remote::measure(options.runs).await?);
    }
    if wanted("replica") {
        figures.extend(replica::measure(options.runs).await?);
    }
    if wanted("http") {
        figures.extend(http::measure(options.runs).await?);
    }
    if wanted("instructions") {
        figures.extend(instructions::measure().await?);
    }
    if wanted("telemetry") {
        figures.extend(telemetry::measure(options.runs).await?);
    }
    let mut samples: Vec<Sample> = Vec::new();
    if wanted("keyed-turns") {
        figures.extend(keyed::turns(options.runs).await?);
    }
    if wanted("keyed-reads") {
        figures.push(keyed::reads(options.runs).await?);
    }
    if wanted("keyed-cold") {
        figures.push(keyed::cold(options.runs).await?);
    }
    if wanted("keyed-many") {
        samples.extend(keyed::many().await?);
    }
    if wanted("planning") {
        samples.extend(planning::measure(options.runs)?);
    }
    if wanted("leases") {
        samples.extend(leases::measure(options.runs).await?);
    }
    if wanted("control") && options.kills > 0 {
        samples.extend(control::measure(options.kills).await?);
    }
    if wanted("keyed-failover") && options.kills > 0 {
        samples.extend(keyed_failover::measure(options.kills).await?);
    }
    if !figures.is_empty() {
        println!("{}", figure::table(&figures));
    }
    if !samples.is_empty() {
        println!("{}", sample::table(&samples));
    }
    if let Some(folder) = options.json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let all = serde_json::json!({ "figures": figures, "samples": samples });
    std::fs::write(&options.json, serde_json::to_vec_pretty(&all)?)?;
    println!("written to {}", options.json.display());
    Ok(())
}
