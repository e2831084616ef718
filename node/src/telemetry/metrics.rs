//! What is measured, under which names. The instruments are OpenTelemetry's; they are pushed by OTLP where the environment
//! asks for it, and shown on the node's own page ([`page`]) in any case.
//!
//! Rules:
//! 1. What is measured for each call is measured through instruments that are bound to their attributes beforehand.
//! 2. An attribute has few values. Keys are none; operations are those that an actor answered, [`OPERATIONS`] of each, and
//!    what comes after them is `_other`.

mod actor;
mod edges;
mod lattice;
mod node;
mod page;
mod pool;
mod survey;
mod topics;
mod used;

use std::sync::LazyLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter as Source};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{
    Aggregation, Instrument, InstrumentKind, PeriodicReader, SdkMeterProvider, Stream, Temporality,
};

use super::attribute;

pub use actor::{Meter, Moments, known, meter};
pub use edges::{Edges, edges};
pub use lattice::{Lattice, Leading, lattice};
pub use node::{Observed, lag, observe};
use page::Readers;
pub use page::{CONTENT_TYPE, Page};
pub use pool::Pooled;
pub use survey::survey;
pub use topics::{Backlog, Subscriptions, backlogs, heard, published, subscriptions};
pub use used::Used;

/// Operations of one actor that are told apart.
const OPERATIONS: usize = 64;

/// Rows of one metric; more are added up in one that says `otel.metric.overflow`.
const ROWS: usize = 10_000;

/// Buckets of a histogram: from microseconds to minutes, each bound 2 to 9 % above the one before.
const BUCKETS: u32 = 160;

/// The finest resolution that is begun with; it coarsens by itself when the values lie far apart.
const SCALE: i8 = 5;

/// All instruments. Made at first use, which must come after [`provider`] was installed.
pub(super) static INSTRUMENTS: LazyLock<Instruments> =
    LazyLock::new(|| Instruments::new(&opentelemetry::global::meter("lattice")));

/// See each description.
pub(super) struct Instruments {
    pub called: Histogram<f64>,
    pub handled: Histogram<f64>,
    pub queued: Histogram<f64>,
    pub committed: Histogram<f64>,
    pub started: Histogram<f64>,
    pub failures: Counter<u64>,
    pub asked: Histogram<f64>,
    pub refused: Counter<u64>,
    pub store_refused: Counter<u64>,
    pub published: Counter<u64>,
    pub heard: Counter<u64>,
    pub traps: Counter<u64>,
    pub restarts: Counter<u64>,
    pub lag: Histogram<f64>,
    pub round_trip: Histogram<f64>,
    pub reconnects: Counter<u64>,
    pub moves: Counter<u64>,
    pub leaders: Counter<u64>,
    pub log_lines: Counter<u64>,
    pub log_lines_dropped: Counter<u64>,
}

impl Instruments {
    fn new(source: &Source) -> Self {
        let seconds = |name: &'static str, what: &'static str| {
            source.f64_histogram(name).with_unit("s").with_description(what).build()
        };
        let count = |name: &'static str, unit: &'static str, what: &'static str| {
            source.u64_counter(name).with_unit(unit).with_description(what).build()
        };
        Self {
            called: seconds("rpc.client.call.duration", "Attempts at another node that it answered"),
            handled: seconds(
                "rpc.server.call.duration",
                "Messages handled here, from the mailbox to the answer",
            ),
            queued: seconds("lattice.queue.duration", "How long messages waited in mailboxes"),
            committed: seconds("lattice.commit.duration", "How long answers of keys waited for their commit"),
            started: seconds("lattice.start.duration", "How long it took to make a replica or to wake a key"),
            failures: count(
                "lattice.call.failures",
                "{call}",
                "Calls that ended in a fault, where they were asked for",
            ),
            asked: seconds(
                "http.client.request.duration",
                "HTTP requests that guests made, to the head of the answer",
            ),
            refused: count(
                "lattice.http.refused",
                "{request}",
                "HTTP requests of guests that their manifest does not grant",
            ),
            store_refused: count(
                "lattice.store.refused",
                "{attempt}",
                "Stores and containers that guests asked for and their manifest does not grant",
            ),
            published: count(
                "lattice.topic.published",
                "{message}",
                "Messages that were published to topics, by the actor that did",
            ),
            heard: count(
                "lattice.topic.handled",
                "{message}",
                "Messages of topics that were taken for an actor, by what became of them",
            ),
            traps: count("lattice.actor.traps", "{trap}", "Instances that trapped or were given up"),
            restarts: count(
                "lattice.actor.restarts",
                "{restart}",
                "Instances that were made in the place of another",
            ),
            lag: seconds("lattice.node.event_loop.lag", "How late tasks of this node run"),
            round_trip: seconds(
                "lattice.nats.round_trip",
                "A message to this node itself by way of the NATS server",
            ),
            reconnects: count(
                "lattice.nats.reconnects",
                "{reconnect}",
                "How often a connection to NATS came back",
            ),
            moves: count(
                "lattice.shard.moves",
                "{move}",
                "Shards that were given to another owner by this leader",
            ),
            leaders: count("lattice.leader.changes", "{change}", "How often this node began to lead"),
            log_lines: count("lattice.log.lines", "{line}", "Lines that guests wrote"),
            log_lines_dropped: count(
                "lattice.log.lines.dropped",
                "{line}",
                "Lines of guests that were too many",
            ),
        }
    }
}

/// A replica is ready, or a key awake, so long after that was begun.
pub fn started(actor: &str, what: &'static str, took: std::time::Duration) {
    let attributes =
        [KeyValue::new(attribute::ACTOR, actor.to_owned()), KeyValue::new(attribute::START, what)];
    INSTRUMENTS.started.record(took.as_secs_f64(), &attributes);
}

/// A guest made an HTTP request; the status of the answer, or why there was none.
pub fn asked(
    actor: &str,
    method: &'static str,
    took: std::time::Duration,
    outcome: Result<u16, &'static str>,
) {
    let outcome = match outcome {
        // Servers make up others, and of those there is no end.
        Ok(status @ (100..=451 | 500..=511)) => KeyValue::new(attribute::HTTP_STATUS, i64::from(status)),
        Ok(_) => KeyValue::new(attribute::HTTP_STATUS, 0),
        Err(kind) => KeyValue::new(attribute::ERROR_TYPE, kind),
    };
    let actor = KeyValue::new(attribute::ACTOR, actor.to_owned());
    let method = KeyValue::new(attribute::HTTP_METHOD, method);
    INSTRUMENTS.asked.record(took.as_secs_f64(), &[actor, method, outcome]);
}

/// A guest made one that its manifest does not grant.
pub fn refused(actor: &str) {
    INSTRUMENTS.refused.add(1, &[KeyValue::new(attribute::ACTOR, actor.to_owned())]);
}

/// A guest asked for a store or a container that its manifest does not grant.
pub fn store_refused(actor: &str) {
    INSTRUMENTS.store_refused.add(1, &[KeyValue::new(attribute::ACTOR, actor.to_owned())]);
}

/// An instance trapped, or was given up.
pub fn trapped(actor: &str) {
    INSTRUMENTS.traps.add(1, &[KeyValue::new(attribute::ACTOR, actor.to_owned())]);
}

/// An instance is made in the place of another.
pub fn restarted(actor: &str) {
    INSTRUMENTS.restarts.add(1, &[KeyValue::new(attribute::ACTOR, actor.to_owned())]);
}

/// So many shards were given to another owner.
pub fn shards_moved(count: u64) {
    INSTRUMENTS.moves.add(count, &[]);
}

/// This node leads from now on, for as long as what is given lives.
pub fn leads() -> Leading {
    INSTRUMENTS.leaders.add(1, &[]);
    Leading
}

/// A connection is up: for the first time, or again.
pub fn connected(connection: &'static str, again: bool) {
    INSTRUMENTS.reconnects.add(u64::from(again), &[KeyValue::new("lattice.nats.connection", connection)]);
}

/// What keeps the measures, with its page; and whoever else wants to read them.
pub(super) fn provider(
    resource: Resource,
    exporter: Option<opentelemetry_otlp::MetricExporter>,
) -> (SdkMeterProvider, Page) {
    let page = Page::default();
    let pushes_changes =
        exporter.as_ref().is_some_and(|exporter| exporter.temporality() != Temporality::Cumulative);
    let mut pushed = exporter.map(|exporter| PeriodicReader::builder(exporter).build());
    // Whoever wants changes only must be the only one who takes them.
    let apart = pushed.take_if(|_| pushes_changes);
    let mut provider = SdkMeterProvider::builder()
        .with_resource(resource)
        .with_reader(Readers { page: page.clone(), pushed })
        .with_view(|instrument: &Instrument| {
            let stream = Stream::builder().with_cardinality_limit(ROWS);
            let stream = match instrument.kind() {
                InstrumentKind::Histogram => {
                    stream.with_aggregation(Aggregation::Base2ExponentialHistogram {
                        max_size: BUCKETS,
                        max_scale: SCALE,
                        record_min_max: false,
                    })
                }
                _ => stream,
            };
            stream.build().ok()
        });
    if let Some(apart) = apart {
        provider = provider.with_reader(apart);
    }
    (provider.build(), page)
}
