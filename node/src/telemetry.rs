//! What a node tells of itself: spans, measures and lines, their names, and where they go.
//!
//! Every hop of a message has spans of its own, so that one call tree is one trace over all processes:
//!
//! ```text
//! storefront/quote  server      the request, where it came in
//!   storefront/quote  client    the call, over all attempts
//!     attempt                   one of them: where it went and why
//!       storefront/quote  server    from admission to the answer
//!         queue                     the wait in the mailbox; `start` within it where something had to be made first
//!         turn                      the guest, and under it what the guest calls; an HTTP request is `GET` and the like
//!         commit                    the wait for the store, of a key that changed something
//! ```
//!
//! A letter is sent by a `send …` span and handled by a `process …` span, which is linked to it; what is published to a topic, by a
//! `publish` span and a `process …` span of each actor that subscribes.
//!
//! They are exported by OTLP when the standard `OTEL_…` variables say so, and what failed or was slow is kept in memory as well
//! ([`recent`]). Where telemetry is switched off a [`Span`] holds nothing, costs nothing, and still passes its caller's context
//! on; measures are taken in any case, for the node's own page.

pub mod asking;
mod attempt;
pub mod attribute;
mod counter;
mod facts;
mod fragment;
mod handling;
pub mod metrics;
mod otlp;
mod own;
pub mod recent;
mod recorder;
mod span;

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanProcessor};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::logs;

pub use counter::Counters;
pub use handling::{Cold, Handling, Turned};
pub use own::Own;
pub(crate) use span::remote;
pub use span::{Scope, Span};

use recorder::Recorder;

/// How lines are written to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What there is to tell, and who tells it.
pub struct Options<'a> {
    /// What standard error gets, in the syntax of `RUST_LOG`.
    pub log: &'a str,
    /// How.
    pub format: Format,
    /// From when on a call is slow enough to be kept; none where nothing is kept, failed or slow.
    pub slow: Option<Duration>,
    /// The node's name.
    pub node: &'a str,
    /// The lattice.
    pub lattice: &'a str,
    /// The node's incarnation.
    pub incarnation: &'a str,
}

/// Keeps the exporters alive; shutting it down sends what is left.
pub struct Exporter {
    spans: bool,
    metrics: SdkMeterProvider,
    lines: Option<SdkLoggerProvider>,
    /// What was measured, for the node's own page.
    pub page: metrics::Page,
    /// The lines of this node.
    pub store: logs::Store,
}

/// Sets up everything. Called once, before anything else.
pub fn start(options: &Options<'_>) -> Exporter {
    let resource = resource(options);
    // Told when there is somebody to tell it to.
    let mut problems = Vec::new();
    let mut told = |signal: &str, problem: String| {
        problems.push(format!("{signal} are not exported: {problem}"));
    };

    let lines = otlp::lines().unwrap_or_else(|problem| {
        told("log lines", problem);
        None
    });
    let lines = lines.map(|exporter| {
        SdkLoggerProvider::builder().with_resource(resource.clone()).with_batch_exporter(exporter).build()
    });
    let store = logs::Store::default();
    subscribe(options, logs::Layer::new(store.clone(), lines.as_ref().map(logs::Otlp::new)));

    let recorder = match otlp::spans() {
        Ok(Some(exporter)) => {
            let (sampler, problem) = otlp::sampler();
            if let Some(problem) = problem {
                told("some spans", problem);
            }
            let mut processor = BatchSpanProcessor::builder(exporter).build();
            processor.set_resource(&resource);
            Some(Recorder::exporting(processor, sampler, options.slow))
        }
        Ok(None) => None,
        Err(problem) => {
            told("spans", problem);
            None
        }
    };
    // What failed or was slow is kept for whoever looks, also where nothing is exported.
    let keeps = options.slow.is_some() && !otlp::is_off();
    let recorder = recorder.or_else(|| keeps.then(|| Recorder::keeping(options.slow)));
    let spans = recorder.is_some_and(Recorder::install);

    let exporter = otlp::metrics().unwrap_or_else(|problem| {
        told("metrics", problem);
        None
    });
    let (metrics, page) = metrics::provider(resource, exporter);
    opentelemetry::global::set_meter_provider(metrics.clone());
    for problem in problems {
        tracing::warn!("{problem}");
    }
    Exporter { spans, metrics, lines, page, store }
}

/// Writes lines to standard error, and keeps them.
fn subscribe(options: &Options<'_>, keep: logs::Layer) {
    let filter = || EnvFilter::try_new(options.log).unwrap_or_else(|_| "info".into());
    let write = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let write = match options.format {
        Format::Text => write.with_ansi(std::io::stderr().is_terminal()).with_filter(filter()).boxed(),
        Format::Json => write.json().flatten_event(true).with_filter(filter()).boxed(),
    };
    let all = tracing_subscriber::registry().with(write).with(keep.with_filter(logs::filter()));
    // A second node in one process, as in tests, logs through the first one's subscriber.
    let _ = tracing::subscriber::set_global_default(all);
}

fn resource(options: &Options<'_>) -> Resource {
    let mut resource = Resource::builder();
    if !otlp::is_set("OTEL_SERVICE_NAME") {
        resource = resource.with_service_name("lattice");
    }
    resource
        .with_attribute(KeyValue::new("service.instance.id", options.incarnation.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new(attribute::LATTICE, options.lattice.to_owned()))
        .with_attribute(KeyValue::new(attribute::NODE, options.node.to_owned()))
        .build()
}

impl Exporter {
    /// Sends what is left. Blocks for as long as collectors take, at most seconds.
    pub fn shutdown(self) {
        if self.spans
            && let Some(recorder) = Recorder::get()
        {
            recorder.shutdown();
        }
        let _ = self.metrics.shutdown();
        if let Some(lines) = self.lines {
            let _ = lines.shutdown();
        }
    }
}
