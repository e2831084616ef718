//! What keyed actors cost: turns that are committed, against raw compare-and-set writes of the same size; turns that read,
//! against those of a replicated actor; waking a key, and keeping many of them.

use std::time::{Duration, Instant};

use lattice_tests::{Lattice, wait_until};
use serde_json::{Value, json};

use crate::bare_jetstream::Floor;
use crate::figure::{Bound, Figure};
use crate::local::{PATIENCE, Payload, run, storm};
use crate::sample::Sample;

/// Keys that are written to side by side.
const KEYS: u32 = 64;

/// Committed turns in one run over all of them, and of one caller at one key.
const TURNS: u32 = 40_000;
const ONE_BY_ONE: u32 = 2_000;

/// Callers of one key that do not wait for each other.
const HOT: u32 = 512;

/// Calls of a run that reads.
const READS: u32 = 20_000;

/// Keys that are woken in one run.
const COLD: u32 = 1_000;

/// Keys of the actor whose node holds no more than so many of them.
const MANY: u32 = 100_000;
const AWAKE: u32 = 10_000;

const MANIFEST: &str = "[app]\nname = \"bench\"\n\n\
    [actors.caller]\nartifact = \"misfit.wasm\"\ngrants = { call = [\"callee\", \"ledger\"] }\n\
    limits = { turn = \"10m\" }\n\n\
    [actors.callee]\nartifact = \"misfit.wasm\"\n\n\
    [actors.ledger]\nkind = \"keyed\"\nartifact = \"ledger.wasm\"\nidle = \"1h\"\n";

/// So many turns of keys from `first` on, asked for by an actor of the same node: the time of one.
async fn turns_of(
    lattice: &Lattice,
    operation: &str,
    (first, keys): (u32, u32),
    n: u32,
    at_once: u32,
) -> anyhow::Result<Duration> {
    let arguments = json!({
        "to": "ledger", "operation": operation, "first": first, "keys": keys, "n": n, "at_once": at_once,
    });
    let started = Instant::now();
    let replies = lattice.call_within(0, "caller", "storm_keys", arguments, PATIENCE * 10).await;
    let elapsed = started.elapsed();
    anyhow::ensure!(replies? == json!(n), "calls were lost");
    Ok(elapsed / n)
}

fn per_second(each: Duration) -> f64 {
    1.0 / each.as_secs_f64()
}

/// Committed turns, of many keys and of one.
pub async fn turns(runs: usize) -> anyhow::Result<Vec<Figure>> {
    let lattice = Lattice::start(1).await;
    lattice.apply(MANIFEST).await;
    let mut raw = Floor::start(&lattice.nats.url(), TURNS, KEYS).await?;
    let mut raw_one = Floor::start(&lattice.nats.url(), ONE_BY_ONE, 1).await?;
    let raw_is = "raw compare-and-set writes, one on its way for each key";
    let at_least = |bound| Some(Bound::AtLeast(bound));
    let mut spread = Figure::new("committed turns, 64 keys, 1 caller each", "/s", raw_is, at_least(0.4));
    let mut shared = Figure::new("committed turns, 64 keys, 8 callers each", "/s", raw_is, None);
    let mut one = Figure::new("a committed turn of one key, one at a time", "us", raw_is, None);
    let each = "one caller, whose turns have a commit each";
    let mut hot = Figure::new("committed turns of one hot key, 512 callers", "/s", each, at_least(10.0));
    let raw_each = "raw compare-and-set writes, one at a time";
    let mut hot_raw = Figure::new("committed turns of one hot key, 512 callers", "/s", raw_each, None);
    for counted in (0..=runs).map(|run| run > 0) {
        let note = |figure: &mut Figure, lattice: f64, floor: f64| {
            if counted {
                figure.lattice.push(lattice);
                figure.floor.push(floor);
            }
        };
        let keys = (0, KEYS);
        let floor = per_second(raw.run().await?);
        note(&mut spread, per_second(turns_of(&lattice, "touch", keys, TURNS, KEYS).await?), floor);
        let floor = per_second(raw.run().await?);
        note(&mut shared, per_second(turns_of(&lattice, "touch", keys, TURNS, 8 * KEYS).await?), floor);
        let floor = raw_one.run().await?;
        let alone = turns_of(&lattice, "touch", (0, 1), ONE_BY_ONE, 1).await?;
        note(&mut one, alone.as_secs_f64() * 1e6, floor.as_secs_f64() * 1e6);
        let many = turns_of(&lattice, "touch", (0, 1), TURNS, HOT).await?;
        note(&mut hot, per_second(many), per_second(alone));
        note(&mut hot_raw, per_second(many), per_second(floor));
    }
    Ok(vec![spread, shared, one, hot, hot_raw])
}

/// Turns that read.
pub async fn reads(runs: usize) -> anyhow::Result<Figure> {
    let lattice = Lattice::start(1).await;
    lattice.apply(MANIFEST).await;
    let replicated = "the same call of a replicated actor";
    let bound = Some(Bound::AtMost(1.2));
    let mut figure =
        Figure::new("read of an active key, one at a time, 128 B, JSON", "us", replicated, bound);
    for run_number in 0..=runs {
        let floor = run(&lattice, 0, READS, 1, 128, Payload::Json).await?;
        let arguments: Value = storm("ledger/k0", READS, 1, 128, Payload::Json);
        let started = Instant::now();
        let replies = lattice.call_within(0, "caller", "storm", arguments, PATIENCE).await;
        let each = started.elapsed() / READS;
        anyhow::ensure!(replies? == json!(READS), "calls were lost");
        if run_number > 0 {
            figure.lattice.push(each.as_secs_f64() * 1e6);
            figure.floor.push(floor.as_secs_f64() * 1e6);
        }
    }
    Ok(figure)
}

/// Waking a key.
pub async fn cold(runs: usize) -> anyhow::Result<Figure> {
    let lattice = Lattice::builder(1).arg("--config").arg(&config(4 * COLD, 2 * COLD)).start().await;
    // Longer than a run, so that no key goes to sleep while others are woken.
    lattice.apply(&MANIFEST.replace("1h", "3s")).await;
    let mut raw = Floor::start(&lattice.nats.url(), ONE_BY_ONE, 1).await?;
    let floor_is = "one raw compare-and-set write";
    let name = "the first call of a key that sleeps, one at a time";
    let mut figure = Figure::new(name, "us", floor_is, Some(Bound::AtMost(3.0)));
    // They have all been awake, and have a state to wake with.
    turns_of(&lattice, "touch", (0, COLD), COLD, 64).await?;
    for round in 0..=runs {
        let awake = async || lattice.list_nodes(0).await.map_or(u32::MAX, |nodes| nodes[0].activations);
        // How many are awake is told once a second, so what is told at first may be of before the last round.
        wait_until("all keys were awake", PATIENCE, &awake, |awake| *awake == COLD).await;
        wait_until("all keys sleep", PATIENCE, awake, |awake| *awake == 0).await;
        let floor = raw.run().await?;
        let each = turns_of(&lattice, "touched", (0, COLD), COLD, 1).await?;
        if round > 0 {
            figure.lattice.push(each.as_secs_f64() * 1e6);
            figure.floor.push(floor.as_secs_f64() * 1e6);
        }
    }
    Ok(figure)
}

/// What a node takes that may hold some keys, as all of many more are touched.
pub async fn many() -> anyhow::Result<Vec<Sample>> {
    let lattice = Lattice::builder(1).arg("--config").arg(&config(AWAKE + 100, AWAKE)).start().await;
    lattice.apply(MANIFEST).await;
    let memory = || lattice.nodes[0].resident_bytes() as f64 / f64::from(1 << 20);
    let mib = |name: &str| Sample::new(name, "MiB", None);
    let mut all = mib("memory of a node with 100,000 keys touched, 10,000 awake at most");
    let mut each = Sample::new("memory of a key that is awake and idle", "KiB", None);
    let before = memory();
    let mut most = 0;
    for first in (0..MANY).step_by(AWAKE as usize) {
        turns_of(&lattice, "touch", (first, AWAKE), AWAKE, 64).await?;
        let now = memory();
        if first == 0 {
            each.values.push((now - before) * 1024.0 / f64::from(AWAKE));
        }
        all.values.push(now);
        most = most.max(lattice.list_nodes(0).await?[0].activations);
    }
    anyhow::ensure!(most <= AWAKE, "{most} keys were awake at once");
    Ok(vec![each, all])
}

/// A configuration file with room for so many guests, and for so many keys among them.
fn config(pool: u32, activations: u32) -> String {
    let path = std::env::temp_dir().join(format!("lattice-bench-{}-{pool}.toml", std::process::id()));
    std::fs::write(&path, format!("pool = {pool}\nactivations = {activations}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}
