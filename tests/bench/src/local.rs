//! An actor calls another on the same node, against the bare parts and against a raw NATS round trip.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lattice_tests::{Lattice, artifacts};
use serde_json::{Value, json};

use crate::bare_nats::Floor;
use crate::bare_wasm::{Bare, Pair};
use crate::figure::{Bound, Figure};

/// Calls in one run. Enough that asking for the run costs nothing beside them.
const CALLS: u32 = 20_000;

/// The payload of each, in bytes.
const BYTES: u32 = 128;

/// How long a run may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How the payload of a call is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// As bytes in a Protobuf message, which guests copy and do not read.
    Bytes,
    /// As JSON, which guests write and read on both sides and both ways.
    Json,
}

pub fn storm(to: &str, n: u32, at_once: u32, bytes: u32, payload: Payload) -> Value {
    json!({ "to": to, "n": n, "at_once": at_once, "bytes": bytes, "json": payload == Payload::Json })
}

/// Two actors that may call each other, placed by these labels.
pub fn manifest(caller: &str, callee: &str, concurrency: u32) -> String {
    let place = |label: &str| match label {
        "" => String::new(),
        label => format!("placement = {{ require = [\"at={label}\"] }}\n"),
    };
    format!(
        "[app]\nname = \"bench\"\n\n\
         [actors.caller]\nartifact = \"misfit.wasm\"\ngrants = {{ call = [\"callee\"] }}\n{}limits = {{ turn = \"60s\" }}\n\n\
         [actors.callee]\nartifact = \"misfit.wasm\"\nconcurrency = {concurrency}\n{}",
        place(caller),
        place(callee)
    )
}

/// One run: the time of one call, less what asking for the run costs.
pub async fn run(
    lattice: &Lattice,
    node: usize,
    n: u32,
    at_once: u32,
    bytes: u32,
    payload: Payload,
) -> anyhow::Result<Duration> {
    let arguments = storm("callee", n, at_once, bytes, payload);
    let started = Instant::now();
    let replies = lattice.call_within(node, "caller", "storm", arguments, PATIENCE).await;
    let elapsed = started.elapsed();
    // A call that is lost or fails ends the benchmark: a figure over fewer calls is no figure.
    anyhow::ensure!(replies.map_err(|fault| anyhow::anyhow!("{fault}"))? == json!(n), "calls were lost");
    Ok(elapsed / n)
}

pub async fn measure(runs: usize) -> anyhow::Result<Vec<Figure>> {
    let lattice = Lattice::start(1).await;
    lattice.apply(&manifest("", "", 1)).await;
    let bare = Arc::new(Bare::new(&artifacts::bytes("misfit.wasm")).map_err(anyhow::Error::msg)?);
    let pair = Pair::start(&bare).await.map_err(anyhow::Error::msg)?;
    let mut nats = Floor::start(&lattice.nats.url(), 2_000, 1, BYTES as usize).await?;

    let two_guests = "two bare guests, two mailboxes";
    let bound = Some(Bound::AtMost(2.0));
    let mut one = Figure::new("local call, one at a time, 128 B", "us", two_guests, bound);
    let mut json = Figure::new("local call, one at a time, 128 B, JSON", "us", two_guests, bound);
    let mut many = Figure::new("local call, 64 at once, 128 B", "us", two_guests, None);
    let mut against_nats = Figure::new(
        "local call against the broker, 128 B",
        "us",
        "raw NATS request and reply",
        Some(Bound::AtMost(0.125)),
    );
    // One round to warm up, uncounted.
    for counted in (0..=runs).map(|run| run > 0) {
        let note = |figure: &mut Figure, lattice: Duration, floor: Duration| {
            if counted {
                figure.lattice.push(lattice.as_secs_f64() * 1e6);
                figure.floor.push(floor.as_secs_f64() * 1e6);
            }
        };
        let floor = async |at_once, payload| {
            let arguments = storm("callee", CALLS, at_once, BYTES, payload);
            pair.storm(&arguments).await.map(|elapsed| elapsed / CALLS)
        };
        let lattice = async |at_once, payload| run(&lattice, 0, CALLS, at_once, BYTES, payload).await;
        let bare = floor(1, Payload::Bytes).await?;
        let measured = lattice(1, Payload::Bytes).await?;
        note(&mut one, measured, bare);
        note(&mut against_nats, measured, nats.run().await?);
        let bare = floor(1, Payload::Json).await?;
        note(&mut json, lattice(1, Payload::Json).await?, bare);
        let bare = floor(64, Payload::Bytes).await?;
        note(&mut many, lattice(64, Payload::Bytes).await?, bare);
    }
    Ok(vec![one, json, many, against_nats])
}
