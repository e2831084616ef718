//! Chaos: random faults under load from one seed; afterwards everything is as declared, and no failure was untyped.
//!
//! `LATTICE_CHAOS_SEED` and `LATTICE_CHAOS_SECONDS` repeat a run or make it longer.

use std::time::{Duration, Instant};

use fastrand::Rng;
use lattice_tests::load::{Plan, Shot};
use lattice_tests::{Lattice, manifests, number, say};
use serde_json::{Value, json};

const NODES: usize = 4;
const LATEST: Duration = Duration::from_secs(60);

/// What may happen to a lattice. Each fault is over before the next begins.
#[derive(Debug, Clone, Copy)]
enum Fault {
    KillNode(usize),
    TerminateNode(usize),
    PauseNode(usize),
    KillLeader,
    KillNats,
    PauseNats,
    Scale(u32),
    Apply,
}

/// What is declared, and since when nothing earlier may answer any more.
struct Declared {
    replicas: u32,
    /// Counts the greetings that were declared.
    greeting: u32,
    /// Greetings that were reported as done, and when.
    done: Vec<(Instant, u32)>,
}

impl Declared {
    fn manifest(&self) -> String {
        manifests::greeter_with(&format!(
            "replicas = {}\nplacement = {{ require = [\"at=risk\"] }}\nenv = {{ GREETING = \"v{}\" }}",
            self.replicas, self.greeting
        ))
    }

    /// The oldest greeting that a call may be answered with that began at a time.
    fn oldest(&self, at: Instant) -> u32 {
        let done = self.done.iter().filter(|(since, _)| *since <= at);
        done.map(|(_, greeting)| *greeting).max().unwrap_or(0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_random_faults_the_status_equals_the_spec() {
    let seed = number("LATTICE_CHAOS_SEED").unwrap_or(1);
    let length = Duration::from_secs(number("LATTICE_CHAOS_SECONDS").unwrap_or(30));
    let mut rng = Rng::with_seed(seed);
    // Node 0 is spared, so that there is somebody to ask; and it runs nothing itself, so that every call has to cross
    // to a node that is not.
    let mut builder = Lattice::builder(NODES);
    for node in 1..NODES {
        builder = builder.label(node, "at=risk");
    }
    let mut lattice = builder.start().await;
    let mut declared = Declared { replicas: 8, greeting: 0, done: Vec::new() };
    lattice.apply(&declared.manifest()).await;
    say(&format!("chaos: seed {seed} for {length:?}"));

    let load = lattice.load(&Plan::greet(100, length + LATEST * 2, &[0]).within(Duration::from_secs(2)));
    let start = Instant::now();
    while start.elapsed() < length {
        let fault = choose(&mut rng);
        say(&format!("chaos: {:5.1?} {fault:?}", start.elapsed()));
        inflict(&mut lattice, fault, &mut declared, &mut rng).await;
    }

    lattice.wait_until_joined(LATEST).await;
    // A declaration that met a fault may or may not have been taken; this one has to be.
    declared.greeting += 1;
    lattice.apply(&declared.manifest()).await;
    declared.done.push((Instant::now(), declared.greeting));
    let replicas = declared.replicas;
    let nodes = NODES as u32 - 1;
    let spread: Vec<u32> = (0..nodes).map(|node| (replicas + nodes - 1 - node) / nodes).collect();
    let spread: Vec<u32> = spread.into_iter().filter(|count| *count > 0).collect();
    lattice.wait_for_spread(0, "greeter", &spread, LATEST).await;
    for call in 0..NODES * 50 {
        let reply = lattice.call(call % NODES, "greeter", "hello", json!("Ada")).await.unwrap();
        assert_eq!(greeting(&reply), declared.greeting, "seed {seed}: answered by what should be gone");
    }

    let report = load.stop().await;
    say(&format!("chaos: seed {seed}: {report}"));
    assert!(report.untyped().is_empty(), "seed {seed}: {:?}", report.untyped());
    let expected = ["unknown", "deadline", "no-replica", "overloaded"];
    let strange: Vec<_> = report.failed().filter(|(_, fault)| !expected.contains(&fault.kind())).collect();
    assert!(strange.is_empty(), "seed {seed}: {strange:?}");
    let gone = |shot: &&Shot| {
        shot.outcome.as_ref().is_ok_and(|reply| greeting(reply) < declared.oldest(shot.started))
    };
    let stale: Vec<_> = report.shots.iter().filter(gone).collect();
    assert!(stale.is_empty(), "seed {seed}: answered by what should be gone: {stale:?}");
    // A run in which every first try succeeded would have shown nothing.
    let retries = lattice.counters(0).await["retries"];
    say(&format!("chaos: seed {seed}: {retries} retries"));
    assert!(retries > 0 || report.failed().count() > 0, "seed {seed}: the faults hit nothing: {report}");
    assert!(
        report.answered() * 10 > report.shots.len() * 5,
        "seed {seed}: most calls must be answered: {report}"
    );
    for node in &lattice.nodes {
        assert!(
            !node.output().contains("panicked"),
            "seed {seed}: {} panicked:\n{}",
            node.name(),
            node.output()
        );
    }
}

fn choose(rng: &mut Rng) -> Fault {
    let node = rng.usize(1..NODES);
    match rng.u32(0..12) {
        0..3 => Fault::KillNode(node),
        3..4 => Fault::TerminateNode(node),
        4..6 => Fault::PauseNode(node),
        6..7 => Fault::KillLeader,
        7..8 => Fault::KillNats,
        8..9 => Fault::PauseNats,
        9..10 => Fault::Scale(rng.u32(1..=12)),
        _ => Fault::Apply,
    }
}

/// The number in a greeting of [`Declared`].
fn greeting(reply: &Value) -> u32 {
    let number = reply.as_str().and_then(|text| text.strip_prefix('v')?.split(',').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no greeting: {reply}"))
}

async fn inflict(lattice: &mut Lattice, fault: Fault, declared: &mut Declared, rng: &mut Rng) {
    // How long a fault lasts is part of what is tried, so here time itself is meant.
    let lasting = Duration::from_millis(rng.u64(100..4_000));
    match fault {
        Fault::KillNode(node) => {
            lattice.nodes[node].kill();
            tokio::time::sleep(lasting).await;
            lattice.restart_node(node).await;
        }
        Fault::TerminateNode(node) => {
            lattice.nodes[node].terminate().await;
            tokio::time::sleep(lasting).await;
            lattice.restart_node(node).await;
        }
        Fault::PauseNode(node) => {
            lattice.nodes[node].pause();
            tokio::time::sleep(lasting).await;
            lattice.nodes[node].resume();
        }
        Fault::KillLeader => {
            // The one that is asked is spared; when it leads itself, nobody is killed this time.
            if let Some(leader) = lattice.leader(0).await.filter(|leader| *leader != 0) {
                lattice.nodes[leader].kill();
                tokio::time::sleep(lasting).await;
                lattice.restart_node(leader).await;
            }
        }
        Fault::KillNats => {
            lattice.nats.kill();
            tokio::time::sleep(lasting).await;
            lattice.nats.restart().await;
        }
        Fault::PauseNats => {
            lattice.nats.pause();
            tokio::time::sleep(lasting).await;
            lattice.nats.resume();
        }
        Fault::Apply => {
            declared.greeting += 1;
            match lattice.try_apply(0, &declared.manifest()).await {
                Ok(_) => declared.done.push((Instant::now(), declared.greeting)),
                Err(fault) => assert!(fault.kind.is_some(), "{fault}"),
            }
        }
        Fault::Scale(replicas) => {
            declared.replicas = replicas;
            let began = lattice.scale(0, "greeter", replicas).await;
            if let Err(fault) = began {
                assert!(fault.kind.is_some(), "{fault}");
            }
        }
    }
}
