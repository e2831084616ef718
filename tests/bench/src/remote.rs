//! An actor calls another on another node, against raw NATS request and reply between two processes.

use std::time::Duration;

use lattice_tests::Lattice;

use crate::bare_nats::Floor;
use crate::figure::{Bound, Figure};
use crate::local::{Payload, manifest, run};

pub async fn measure(runs: usize) -> anyhow::Result<Vec<Figure>> {
    let lattice = Lattice::builder(2).label(0, "at=here").label(1, "at=there").start().await;
    lattice.apply(&manifest("here", "there", 64)).await;
    let mut figures = Vec::new();
    for bytes in [128, 4096] {
        figures.extend(one_at_a_time(&lattice, runs, bytes).await?);
        figures.extend(many_at_once(&lattice, runs, bytes).await?);
    }
    Ok(figures)
}

async fn one_at_a_time(lattice: &Lattice, runs: usize, bytes: u32) -> anyhow::Result<[Figure; 2]> {
    const CALLS: u32 = 4_000;
    let name = format!("remote call, one at a time, {bytes} B");
    let figures = beside_json(&name, "us", Bound::AtMost(1.35));
    compare(lattice, runs, CALLS, 1, bytes, figures, |elapsed| elapsed.as_secs_f64() * 1e6).await
}

async fn many_at_once(lattice: &Lattice, runs: usize, bytes: u32) -> anyhow::Result<[Figure; 2]> {
    const CALLS: u32 = 60_000;
    const AT_ONCE: u32 = 256;
    let name = format!("remote calls, {AT_ONCE} at once, {bytes} B");
    let figures = beside_json(&name, "calls/s", Bound::AtLeast(0.5));
    compare(lattice, runs, CALLS, AT_ONCE, bytes, figures, |elapsed| 1.0 / elapsed.as_secs_f64()).await
}

/// The raw NATS floor hands bytes back and reads none, so the bound is for calls that do the same. What JSON costs on
/// top is shown, and is the guests' own work.
fn beside_json(name: &str, unit: &'static str, bound: Bound) -> [Figure; 2] {
    let floor = "raw NATS, two processes";
    [Figure::new(name, unit, floor, Some(bound)), Figure::new(format!("{name}, JSON"), unit, floor, None)]
}

async fn compare(
    lattice: &Lattice,
    runs: usize,
    calls: u32,
    at_once: u32,
    bytes: u32,
    mut figures: [Figure; 2],
    value: impl Fn(Duration) -> f64,
) -> anyhow::Result<[Figure; 2]> {
    let mut nats = Floor::start(&lattice.nats.url(), calls, at_once, bytes as usize).await?;
    // One round to warm up, uncounted.
    for counted in (0..=runs).map(|run| run > 0) {
        for (figure, payload) in figures.iter_mut().zip([Payload::Bytes, Payload::Json]) {
            let floor = nats.run().await?;
            let measured = run(lattice, 0, calls, at_once, bytes, payload).await?;
            if counted {
                figure.lattice.push(value(measured));
                figure.floor.push(value(floor));
            }
        }
    }
    Ok(figures)
}
