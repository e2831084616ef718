//! What is looked up whenever somebody reads: what runs here, how it does, and for a leader what runs in the lattice.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lattice_proto::Incarnation;
use lattice_proto::subject::{Inbox, Subjects};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::{INSTRUMENTS, edges, lattice, topics};
use crate::bus::Connection;
use crate::keyed::Keyed;
use crate::membership::Fence;
use crate::replica::Local;
use crate::telemetry::{Counters, attribute};

/// How often the lag of the event loop is measured.
const LAG: Duration = Duration::from_millis(100);

/// How often a message is sent to this node itself.
const ROUND_TRIP: Duration = Duration::from_secs(5);

/// How long what was looked up serves other measures of the same reading: looking takes the locks of all that is awake.
const FRESH: Duration = Duration::from_millis(100);

/// Whose state is looked up.
pub struct Observed {
    /// What runs here.
    pub local: Local,
    /// Which keys are awake.
    pub keyed: Keyed,
    /// How long the lease still runs.
    pub fence: Fence,
    /// What is counted.
    pub counters: Counters,
}

/// Has it looked up whenever somebody reads.
pub fn observe(observed: Observed) {
    let source = opentelemetry::global::meter("lattice");
    let observed = Arc::new(Sources { observed, looked: Mutex::default() });
    actors(&source, &observed);
    node(&source, &observed);
    counters(&source, &observed);
    INSTRUMENTS.moves.add(0, &[]);
    INSTRUMENTS.leaders.add(0, &[]);
    edges::observe(&source);
    lattice::observe(&source);
    topics::observe(&source);
}

/// What is told of one actor.
#[derive(Debug, Default, Clone, Copy)]
struct Load {
    replicas: u64,
    in_flight: u64,
    waiting: u64,
    awake: u64,
    memory: u64,
    cpu: f64,
}

/// What is looked up, and what was seen there last.
struct Sources {
    observed: Observed,
    /// Held while it is looked, so that it is done once.
    looked: Mutex<Option<Looked>>,
}

#[derive(Clone)]
struct Looked {
    at: Instant,
    loads: Arc<Vec<(String, Load)>>,
    counters: Arc<BTreeMap<String, u64>>,
}

impl Sources {
    fn look(&self) -> Looked {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        match &*looked {
            Some(looked) if looked.at.elapsed() < FRESH => looked.clone(),
            _ => looked
                .insert(Looked {
                    at: Instant::now(),
                    loads: Arc::new(loads(&self.observed)),
                    counters: Arc::new(self.observed.counters.all()),
                })
                .clone(),
        }
    }
}

fn loads(observed: &Observed) -> Vec<(String, Load)> {
    let mut loads = BTreeMap::<String, Load>::new();
    for (actor, local) in observed.local.all() {
        let load = loads.entry(actor.to_string()).or_default();
        let busy = local.busy();
        let keys = local.keys().map(|keys| keys.busy()).unwrap_or_default();
        load.replicas += u64::from(busy.replicas);
        load.in_flight += busy.in_flight + keys.in_flight;
        load.waiting += busy.waiting + keys.waiting;
        load.awake += keys.awake;
        // Of all versions together.
        load.memory = local.home.meter.used.memory.load(Ordering::Relaxed);
        load.cpu = local.home.meter.used.cpu().as_secs_f64();
    }
    loads.into_iter().collect()
}

fn actors(source: &Meter, sources: &Arc<Sources>) {
    type Part = fn(&Load) -> u64;
    let parts: [(&'static str, &'static str, &'static str, Part); 5] = [
        ("lattice.actor.replicas", "{replica}", "Replicas that take messages here", |load| load.replicas),
        ("lattice.actor.in_flight", "{message}", "Messages that wait or are handled here", |load| {
            load.in_flight
        }),
        ("lattice.actor.mailbox", "{message}", "Messages that wait here", |load| load.waiting),
        ("lattice.actor.awake", "{key}", "Keys that are awake here", |load| load.awake),
        ("lattice.actor.memory", "By", "Linear memory of guests here", |load| load.memory),
    ];
    for (name, unit, what, part) in parts {
        let sources = sources.clone();
        let gauge = source.u64_observable_gauge(name).with_unit(unit).with_description(what);
        gauge
            .with_callback(move |to| {
                for (actor, load) in &*sources.look().loads {
                    to.observe(part(load), &[KeyValue::new(attribute::ACTOR, actor.clone())]);
                }
            })
            .build();
    }
    let sources = sources.clone();
    source
        .f64_observable_counter("lattice.actor.cpu.time")
        .with_unit("s")
        .with_description("Time that guests computed, estimated from samples")
        .with_callback(move |to| {
            for (actor, load) in &*sources.look().loads {
                to.observe(load.cpu, &[KeyValue::new(attribute::ACTOR, actor.clone())]);
            }
        })
        .build();
}

fn node(source: &Meter, sources: &Arc<Sources>) {
    let here = sources.clone();
    source
        .u64_observable_gauge("lattice.node.instances")
        .with_unit("{instance}")
        .with_description("Guests that are kept ready or awake on this node")
        .with_callback(move |to| {
            let replicas: u64 = here.look().loads.iter().map(|(_, load)| load.replicas).sum();
            to.observe(replicas, &[KeyValue::new(attribute::KIND, "replica")]);
            to.observe(here.observed.keyed.awake() as u64, &[KeyValue::new(attribute::KIND, "key")]);
        })
        .build();
    let here = sources.clone();
    source
        .u64_observable_gauge("lattice.node.memory")
        .with_unit("By")
        .with_description("Memory of this node: of the whole process, and of its guests")
        .with_callback(move |to| {
            let guests: u64 = here.look().loads.iter().map(|(_, load)| load.memory).sum();
            to.observe(guests, &[KeyValue::new(attribute::POOL, "guests")]);
            if let Some(bytes) = resident() {
                to.observe(bytes, &[KeyValue::new(attribute::POOL, "process")]);
            }
        })
        .build();
    let here = sources.clone();
    source
        .f64_observable_gauge("lattice.lease.margin")
        .with_unit("s")
        .with_description("How long this node's lease still runs; 0 when it has run out")
        .with_callback(move |to| {
            let left = here
                .observed
                .fence
                .until()
                .map_or(Duration::ZERO, |until| until.saturating_sub(crate::clock::boottime()));
            to.observe(left.as_secs_f64(), &[]);
        })
        .build();
}

/// What a node counts since it started, under `lattice.node.…`.
fn counters(source: &Meter, sources: &Arc<Sources>) {
    for name in sources.observed.counters.all().into_keys() {
        let sources = sources.clone();
        source
            .u64_observable_counter(format!("lattice.node.{name}"))
            .with_description("See the node's counters")
            .with_callback(move |to| {
                if let Some(count) = sources.look().counters.get(&name) {
                    to.observe(*count, &[]);
                }
            })
            .build();
    }
}

/// Memory of this process that is in use, in bytes, where the system says so.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Measures how late tasks run and how long the way to the server and back takes, for as long as the node runs.
pub async fn lag(bus: Connection, subjects: Subjects, me: Incarnation) {
    let round_trips = async {
        let ping = subjects.inbox(&me, &Inbox::Ping);
        loop {
            tokio::time::sleep(ROUND_TRIP).await;
            let sent = Instant::now();
            if bus.request(ping.clone(), bytes::Bytes::new(), ROUND_TRIP).await.is_ok() {
                INSTRUMENTS.round_trip.record(sent.elapsed().as_secs_f64(), &[]);
            }
        }
    };
    let lags = async {
        loop {
            let due = tokio::time::Instant::now() + LAG;
            tokio::time::sleep_until(due).await;
            INSTRUMENTS.lag.record(due.elapsed().as_secs_f64(), &[]);
        }
    };
    tokio::join!(round_trips, lags);
}
