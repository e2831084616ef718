//! What a replica costs: to start from the cache, and in memory while it waits.

use std::time::{Duration, Instant};

use lattice_tests::{Lattice, artifacts, manifests};

use crate::bare_wasm::Bare;
use crate::figure::Figure;

/// Replicas in one run, which share what scaling costs by itself.
const REPLICAS: u32 = 500;

pub async fn measure(runs: usize) -> anyhow::Result<Vec<Figure>> {
    let bare = Bare::new(&artifacts::bytes("greeter.wasm")).map_err(anyhow::Error::msg)?;
    let mut start = Figure::new(
        format!("replica start from cache, of {REPLICAS} at once, control included"),
        "us",
        "bare instantiation, on demand",
        None,
    );
    let mut memory = Figure::new("resident memory per idle replica", "KiB", "bare instance in a store", None);
    for counted in (0..=runs).map(|run| run > 0) {
        let before = resident_kib(std::process::id())?;
        let (floor, kept) = bare.start_many(REPLICAS).await.map_err(anyhow::Error::msg)?;
        let grown = resident_kib(std::process::id())?.saturating_sub(before);
        drop(kept);
        let (measured, size) = scale_up().await?;
        if counted {
            start.lattice.push(measured.as_secs_f64() * 1e6);
            start.floor.push(floor.as_secs_f64() * 1e6);
            memory.lattice.push(size);
        } else {
            // The allocator keeps the pages of instances that are gone, so only the first run tells their size.
            memory.floor.push(f64::from(u32::try_from(grown)?) / f64::from(REPLICAS));
        }
    }
    Ok(vec![start, memory])
}

/// The time of one replica, and its memory in KiB.
async fn scale_up() -> anyhow::Result<(Duration, f64)> {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifests::greeter(1)).await;
    let pid = lattice.nodes[0].pid();
    let before = resident_kib(pid)?;
    let started = Instant::now();
    lattice.scale(0, "greeter", 1 + REPLICAS).await.map_err(|fault| anyhow::anyhow!("{fault}"))?;
    let elapsed = started.elapsed();
    let grown = resident_kib(pid)?.saturating_sub(before);
    Ok((elapsed / REPLICAS, f64::from(u32::try_from(grown)?) / f64::from(REPLICAS)))
}

fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.and_then(|line| line.trim().strip_suffix(" kB")).unwrap_or("0").trim().parse()?)
}
