//! An actor calls another on another node, against raw NATS request and reply between two processes.

use lattice_tests::Lattice;

use crate::bare_nats::Floor;
use crate::figure::{Bound, Figure};
use crate::local::{manifest, run};

pub async fn measure(runs: usize) -> anyhow::Result<Vec<Figure>> {
    let lattice = Lattice::builder(2).label(0, "at=here").label(1, "at=there").start().await;
    lattice.apply(&manifest("here", "there", 64)).await;
    let mut figures = Vec::new();
    for bytes in [128, 4096] {
        figures.push(one_at_a_time(&lattice, runs, bytes).await?);
        figures.push(many_at_once(&lattice, runs, bytes).await?);
    }
    Ok(figures)
}

async fn one_at_a_time(lattice: &Lattice, runs: usize, bytes: u32) -> anyhow::Result<Figure> {
    const CALLS: u32 = 4_000;
    let name = format!("remote call, one at a time, {bytes} B");
    let mut figure = Figure::new(name, "us", "raw NATS, two processes", Some(Bound::AtMost(1.35)));
    let mut nats = Floor::start(&lattice.nats.url(), CALLS, 1, bytes as usize).await?;
    for counted in (0..=runs).map(|run| run > 0) {
        let floor = nats.run().await?;
        let measured = run(lattice, 0, CALLS, 1, bytes).await?;
        if counted {
            figure.lattice.push(measured.as_secs_f64() * 1e6);
            figure.floor.push(floor.as_secs_f64() * 1e6);
        }
    }
    Ok(figure)
}

async fn many_at_once(lattice: &Lattice, runs: usize, bytes: u32) -> anyhow::Result<Figure> {
    const CALLS: u32 = 60_000;
    const AT_ONCE: u32 = 256;
    let name = format!("remote calls, {AT_ONCE} at once, {bytes} B");
    let mut figure = Figure::new(name, "calls/s", "raw NATS, two processes", Some(Bound::AtLeast(0.5)));
    let mut nats = Floor::start(&lattice.nats.url(), CALLS, AT_ONCE, bytes as usize).await?;
    for counted in (0..=runs).map(|run| run > 0) {
        let floor = nats.run().await?;
        let measured = run(lattice, 0, CALLS, AT_ONCE, bytes).await?;
        if counted {
            figure.lattice.push(1.0 / measured.as_secs_f64());
            figure.floor.push(1.0 / floor.as_secs_f64());
        }
    }
    Ok(figure)
}
