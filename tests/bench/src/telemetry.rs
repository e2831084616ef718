//! What traces cost calls: nodes that export, with one of a hundred traces chosen, beside nodes that record none.

use std::time::Duration;

use lattice_tests::Lattice;
use lattice_tests::otlp::Receiver;

use crate::figure::{Bound, Figure};
use crate::local::{Payload, manifest, run};

/// Interleaved pairs at least: what is looked for is smaller than what runs differ by.
const PAIRS: usize = 30;

const BYTES: u32 = 128;

pub async fn measure(runs: usize) -> anyhow::Result<Vec<Figure>> {
    let pairs = runs.max(PAIRS);
    let receiver = Receiver::start().await;
    let mut figures = vec![local(&receiver, pairs).await?];
    figures.extend(remote(&receiver, pairs).await?);
    Ok(figures)
}

/// A lattice that exports to this receiver, or one that records nothing.
async fn start(nodes: usize, receiver: Option<&Receiver>) -> Lattice {
    let mut builder = Lattice::builder(nodes);
    if nodes > 1 {
        builder = builder.label(0, "at=here").label(1, "at=there");
    }
    if let Some(receiver) = receiver {
        for (key, value) in receiver.env() {
            builder = builder.env(key, &value);
        }
        builder = builder
            .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
            .env("OTEL_TRACES_SAMPLER_ARG", "0.01")
            .env("OTEL_METRIC_EXPORT_INTERVAL", "10000");
    }
    let lattice = builder.start().await;
    let (caller, callee) = if nodes > 1 { ("here", "there") } else { ("", "") };
    lattice.apply(&manifest(caller, callee, if nodes > 1 { 64 } else { 1 })).await;
    lattice
}

fn figure(name: &str, unit: &'static str, bound: Bound) -> Figure {
    Figure::new(name, unit, "the same without traces", Some(bound))
}

async fn local(receiver: &Receiver, pairs: usize) -> anyhow::Result<Figure> {
    const CALLS: u32 = 20_000;
    let (with, without) = (start(1, Some(receiver)).await, start(1, None).await);
    let mut one = figure("local call, 1 % of traces", "us", Bound::AtMost(1.05));
    for counted in (0..=pairs).map(|pair| pair > 0) {
        let floor = run(&without, 0, CALLS, 1, BYTES, Payload::Bytes).await?;
        let measured = run(&with, 0, CALLS, 1, BYTES, Payload::Bytes).await?;
        if counted {
            one.floor.push(floor.as_secs_f64() * 1e6);
            one.lattice.push(measured.as_secs_f64() * 1e6);
        }
    }
    Ok(one)
}

async fn remote(receiver: &Receiver, pairs: usize) -> anyhow::Result<[Figure; 2]> {
    let (with, without) = (start(2, Some(receiver)).await, start(2, None).await);
    let mut one = figure("remote call, 1 % of traces", "us", Bound::AtMost(1.05));
    let mut many = figure("remote calls, 256 at once, 1 % of traces", "calls/s", Bound::AtLeast(1.0 / 1.05));
    for counted in (0..=pairs).map(|pair| pair > 0) {
        for (figure, calls, at_once) in [(&mut one, 2_000, 1), (&mut many, 30_000, 256)] {
            let floor = run(&without, 0, calls, at_once, BYTES, Payload::Bytes).await?;
            let measured = run(&with, 0, calls, at_once, BYTES, Payload::Bytes).await?;
            let value = |time: Duration| match at_once {
                1 => time.as_secs_f64() * 1e6,
                _ => 1.0 / time.as_secs_f64(),
            };
            if counted {
                figure.floor.push(value(floor));
                figure.lattice.push(value(measured));
            }
        }
    }
    Ok([one, many])
}
