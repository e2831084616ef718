//! K1, K2, K4: what clients see of keys is linearizable, their records form one chain, and nothing counts twice, while nodes
//! are killed, frozen and cut off, servers of the NATS cluster are lost, and clocks are wrong; all from one seed.
//!
//! `LATTICE_CHAOS_SEED` and `LATTICE_CHAOS_SECONDS` repeat a run or make it longer.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use lattice_tests::audit::{self, Audit};
use lattice_tests::clients::Clients;
use lattice_tests::history::Outcome;
use lattice_tests::linearize::{List, assert_linearizable};
use lattice_tests::witness::{self, Seen};
use lattice_tests::{Lattice, manifests, number, say, wait_until};

const NODES: usize = 3;
const SERVERS: usize = 3;
const LATEST: Duration = Duration::from_secs(60);

/// What the clocks of the nodes differ by from the true time.
const SKEWS: [&str; NODES] = ["0", "-3600000", "86400000"];

/// A key of a lost owner is claimed anew so long after the loss at the latest, where it is called all the time.
const CLAIMED: Duration = Duration::from_secs(3);

/// A thread that is thawed has gone on by then.
const THAWED: Duration = Duration::from_millis(500);

/// What may happen. Each fault is over before the next begins, so that a majority of the servers is always there.
#[derive(Debug, Clone, Copy)]
enum Fault {
    KillNode(usize),
    FreezeNode(usize),
    CutOff(usize),
    KillServer(usize),
    FreezeServer(usize),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_linearizable_and_counts_once_through_random_faults() {
    go_on("", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_strict_mode_reads_are_too_and_no_turn_begins_after_a_successors_claim() {
    go_on("mode = \"strict\"\n", true).await;
}

/// One of them runs at a time: each has three servers and three nodes.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn go_on(mode: &str, strict: bool) {
    let _turn = TURN.lock().await;
    let seed = number("LATTICE_CHAOS_SEED").unwrap_or(1);
    let length = Duration::from_secs(number("LATTICE_CHAOS_SECONDS").unwrap_or(20));
    let mut rng = Rng::with_seed(seed);
    let mut builder = Lattice::builder(NODES).cluster(SERVERS);
    for (node, skew) in SKEWS.iter().enumerate() {
        builder = builder.env_of(node, "LATTICE_CLOCK_SKEW_MS", skew);
        // The first is spared, so that there is somebody to ask.
        builder = if node > 0 { builder.apart(node) } else { builder };
    }
    let mut lattice = builder.start().await;
    let audit = Audit::begin(&lattice).await;
    lattice
        .apply(&manifests::ledger_with(&format!(
            "{mode}grants = {{ log = true }}\nenv = {{ WITNESS = \"1\" }}"
        )))
        .await;
    let keys: Vec<String> = (0..16).map(|key| format!("key-{key}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    // Reads may be stale by a lease in the default mode, so that only what changes something is judged there: it tells
    // where it stands.
    let clients = Clients::start(&[lattice.admin(0)], &keys, strict);
    clients.wait_for(100).await;
    let (start, mut faults, mut thawed) = (Instant::now(), 0, Vec::new());
    while start.elapsed() < length {
        let fault = choose(&mut lattice, &mut rng).await;
        say(&format!("chaos: {:5.1?} {fault:?}", start.elapsed()));
        thawed.extend(inflict(&mut lattice, fault, &mut rng, strict).await);
        faults += 1;
        clients.wait_for(20).await;
    }
    if strict {
        // Whatever was drawn, an owner is frozen once for so long that others claim what it had.
        thawed.extend(inflict(&mut lattice, Fault::FreezeNode(1), &mut rng, strict).await);
        faults += 1;
    }
    lattice.wait_until_joined(LATEST).await;
    let history = clients.stop().await;
    let effort = assert_linearizable(&List::default(), &history);
    let stored = audit.stored(&lattice.nats).await;
    let checked = audit::judge(&stored);
    let mut report = witness::judge(&witness::read(&lattice), &stored);
    say(&format!(
        "measured: seed {seed}, {faults} faults: {history}; {effort}; {checked:?}; {} times awake and {} turns witnessed, \
         {} of them after a successor's claim",
        report.awake,
        report.turns,
        report.late.len()
    ));
    assert!(
        report.unclaimed.is_empty(),
        "seed {seed}: nobody had claimed these keys: {:?}",
        report.unclaimed
    );
    let is_answered = |outcome: &Outcome<_>| matches!(outcome, Outcome::Ok { .. });
    let answered = history.operations().iter().filter(|operation| is_answered(&operation.outcome)).count();
    assert!(
        report.turns >= answered,
        "seed {seed}: the witness has seen {} turns of {answered}",
        report.turns
    );
    if strict {
        // A thread that was stopped after it had looked whether its turn may begin, and before the guest looked at the clock, goes on right
        // there when it is thawed. No more than one turn for each thread, and nothing else.
        let at_once = std::thread::available_parallelism().unwrap().get();
        for thawed in &thawed {
            let is_of = |seen: &Seen| (0..THAWED.as_nanos() as i128).contains(&(seen.at - thawed));
            let late = report.late.extract_if(.., |seen| is_of(seen)).count();
            assert!(late <= at_once, "seed {seed}: {late} turns began after a successor's claim");
        }
        assert!(report.late.is_empty(), "seed {seed}: after a successor's claim: {:?}", report.late);
        assert!(report.moved > 0, "seed {seed}: no key had another owner, so nothing was shown");
    }
}

async fn choose(lattice: &mut Lattice, rng: &mut Rng) -> Fault {
    let (node, server) = (rng.usize(1..NODES), rng.usize(0..SERVERS));
    let drawn = match rng.u32(0..10) {
        0..3 => Fault::KillNode(node),
        3..6 => Fault::FreezeNode(node),
        6..8 => Fault::CutOff(node),
        8..9 => Fault::KillServer(server),
        _ => Fault::FreezeServer(server),
    };
    match drawn {
        // A server that is lost while another one catches up would take the majority along.
        Fault::KillServer(_) | Fault::FreezeServer(_) if !all_caught_up(lattice).await => {
            Fault::KillNode(node)
        }
        drawn => drawn,
    }
}

/// Whether every server of the cluster has what the others have.
async fn all_caught_up(lattice: &mut Lattice) -> bool {
    for server in 0..SERVERS {
        if lattice.server(server).health().await != "ok" {
            return false;
        }
    }
    true
}

/// Tells when a node was thawed, in nanoseconds since 1970.
async fn inflict(lattice: &mut Lattice, fault: Fault, rng: &mut Rng, strict: bool) -> Option<i128> {
    // How long a fault lasts is part of what is tried, so here time itself is meant.
    let lasting = Duration::from_millis(rng.u64(100..4_000));
    match fault {
        Fault::KillNode(node) => {
            lattice.nodes[node].kill();
            tokio::time::sleep(lasting).await;
            lattice.restart_node(node).await;
        }
        Fault::FreezeNode(node) => {
            lattice.nodes[node].pause();
            tokio::time::sleep(lasting).await;
            if strict {
                // Only then is there a successor, whose claims the frozen one must not overlook.
                let state = async || lattice.state(0, node).await;
                wait_until("it is lost", LATEST, state, |state| state == "gone" || state == "none").await;
                tokio::time::sleep(lasting.max(CLAIMED)).await;
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            lattice.nodes[node].resume();
            return i128::try_from(now.as_nanos()).ok();
        }
        Fault::CutOff(node) => {
            lattice.cut(node);
            tokio::time::sleep(lasting).await;
            lattice.mend(node).await;
        }
        Fault::KillServer(server) => {
            lattice.server(server).kill();
            tokio::time::sleep(lasting).await;
            lattice.server(server).restart().await;
        }
        Fault::FreezeServer(server) => {
            lattice.server(server).pause();
            tokio::time::sleep(lasting).await;
            lattice.server(server).resume();
        }
    }
    None
}
