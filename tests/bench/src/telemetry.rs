//! What traces cost calls, beside nodes on which telemetry is switched off: on nodes that export one of a hundred traces, and on
//! nodes as they are by default, which keep what failed or was slow.

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
    let mut figures = Vec::from(local(&receiver, pairs).await?);
    figures.extend(remote(&receiver, pairs).await?);
    Ok(figures)
}

/// What nodes record.
enum Records<'a> {
    Nothing,
    /// As by default.
    WhatFails,
    /// They export to this receiver.
    OneOfAHundred(&'a Receiver),
}

async fn start(nodes: usize, records: Records<'_>) -> Lattice {
    let mut builder = Lattice::builder(nodes);
    if nodes > 1 {
        builder = builder.label(0, "at=here").label(1, "at=there");
    }
    match records {
        Records::Nothing => builder = builder.env("OTEL_SDK_DISABLED", "true"),
        Records::WhatFails => {}
        Records::OneOfAHundred(receiver) => {
            for (key, value) in receiver.env() {
                builder = builder.env(key, &value);
            }
            // What is chosen in a turn is sent in that turn, or the others would pay for it.
            builder = builder
                .env("OTEL_BSP_SCHEDULE_DELAY", "10")
                .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
                .env("OTEL_TRACES_SAMPLER_ARG", "0.01")
                .env("OTEL_METRIC_EXPORT_INTERVAL", "10000");
        }
    }
    let lattice = builder.start().await;
    let (caller, callee) = if nodes > 1 { ("here", "there") } else { ("", "") };
    lattice.apply(&manifest(caller, callee, if nodes > 1 { 64 } else { 1 })).await;
    lattice
}

/// Calls in one trace: a request that makes many, and all of whose spans have room among what is recorded of a trace.
const EACH: u32 = 60;

/// The times of one call on each of these, over so many turns, each in another order. What a machine has besides comes and goes
/// within a second, and is then no more in one of them than in another.
async fn in_turns<const N: usize>(
    turns: u32,
    on: [&Lattice; N],
    measure: impl AsyncFn(&Lattice) -> anyhow::Result<Duration>,
) -> anyhow::Result<[Duration; N]> {
    let mut sums = [Duration::ZERO; N];
    for turn in 0..turns {
        for place in 0..N {
            let at = (turn as usize + place) % N;
            sums[at] += measure(on[at]).await?;
        }
    }
    Ok(sums.map(|sum| sum / turns))
}

/// The time of one call, over so many requests; what asking for each costs is in it, and in the floor as well.
async fn requests(lattice: &Lattice, count: u32) -> anyhow::Result<Duration> {
    let mut sum = Duration::ZERO;
    for _ in 0..count {
        sum += run(lattice, 0, EACH, 1, BYTES, Payload::Bytes).await?;
    }
    Ok(sum / count)
}

fn figure(name: &str, unit: &'static str, bound: Bound) -> Figure {
    Figure::new(name, unit, "the same, telemetry switched off", Some(bound))
}

async fn local(receiver: &Receiver, pairs: usize) -> anyhow::Result<[Figure; 2]> {
    const REQUESTS: u32 = 30;
    let nothing = start(1, Records::Nothing).await;
    let (fails, hundredth) =
        (start(1, Records::WhatFails).await, start(1, Records::OneOfAHundred(receiver)).await);
    let one = |name| figure(name, "us", Bound::AtMost(1.05));
    let mut figures = [one("local call, 1 % of traces"), one("local call, what fails is kept")];
    for counted in (0..=pairs).map(|pair| pair > 0) {
        let on = [&nothing, &hundredth, &fails];
        let [floor, times @ ..] = in_turns(9, on, async |lattice| requests(lattice, REQUESTS).await).await?;
        for (figure, time) in figures.iter_mut().zip(times).filter(|_| counted) {
            figure.floor.push(floor.as_secs_f64() * 1e6);
            figure.lattice.push(time.as_secs_f64() * 1e6);
        }
    }
    Ok(figures)
}

async fn remote(receiver: &Receiver, pairs: usize) -> anyhow::Result<[Figure; 2]> {
    const ALONE: u32 = 3;
    const TOGETHER: u32 = 15_000;
    let (with, without) =
        (start(2, Records::OneOfAHundred(receiver)).await, start(2, Records::Nothing).await);
    let mut one = figure("remote call, 1 % of traces", "us", Bound::AtMost(1.05));
    let mut many = figure("remote calls, 256 at once, 1 % of traces", "calls/s", Bound::AtLeast(1.0 / 1.05));
    for counted in (0..=pairs).map(|pair| pair > 0) {
        let on = [&without, &with];
        let alone = in_turns(10, on, async |lattice| requests(lattice, ALONE).await).await?;
        // A request that makes so many calls is one trace at the caller, of which most has no room, and as many at the callee.
        let together = async |lattice: &Lattice| run(lattice, 0, TOGETHER, 256, BYTES, Payload::Bytes).await;
        let together = in_turns(2, on, together).await?;
        if counted {
            one.floor.push(alone[0].as_secs_f64() * 1e6);
            one.lattice.push(alone[1].as_secs_f64() * 1e6);
            many.floor.push(1.0 / together[0].as_secs_f64());
            many.lattice.push(1.0 / together[1].as_secs_f64());
        }
    }
    Ok([one, many])
}
