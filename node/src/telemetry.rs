//! Spans, counters and logs: their names, and where they go.
//!
//! Every hop of a message has a span of its own: `call …` where it is sent, `handle …` where it is handled, so that one
//! call tree is one trace over all processes. Spans are exported by OTLP when the standard `OTEL_EXPORTER_OTLP_*`
//! variables say so; otherwise a [`Span`] holds nothing, costs nothing, and still passes its caller's context on.

mod counter;

use std::sync::OnceLock;

use lattice_proto::Fault;
use lattice_proto::envelope::{TraceContext, TraceParent};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

pub use counter::Counters;

/// Names of span attributes.
pub mod attribute {
    /// The actor that a span calls or handles.
    pub const ACTOR: &str = "lattice.actor";
    /// The operation.
    pub const OPERATION: &str = "lattice.operation";
    /// The message, the same over all attempts.
    pub const MESSAGE: &str = "lattice.message.id";
    /// 1 on the first try.
    pub const ATTEMPT: &str = "lattice.attempt";
    /// The node that the span was made on.
    pub const NODE: &str = "lattice.node";
    /// The kind of fault that ended it.
    pub const FAULT: &str = "lattice.fault";
    /// Where the message went: `local` or a node's incarnation.
    pub const TARGET: &str = "lattice.target";
}

static TRACER: OnceLock<(SdkTracer, String)> = OnceLock::new();

/// Keeps the exporter alive; shutting it down sends what is left.
pub struct Exporter(Option<SdkTracerProvider>);

/// Sets up logs and, if the environment asks for it, the export of spans. Called once, before anything else.
pub fn start(log: &str, node: &str, lattice: &str, incarnation: &str) -> Exporter {
    let filter = tracing_subscriber::EnvFilter::try_new(log).unwrap_or_else(|_| "info".into());
    let to_stderr = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .finish();
    // A second node in one process, as in tests, logs through the first one's subscriber.
    let _ = tracing::subscriber::set_global_default(to_stderr);

    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let asked = set("OTEL_EXPORTER_OTLP_ENDPOINT") || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let off = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"))
        || std::env::var("OTEL_TRACES_EXPORTER").is_ok_and(|value| value == "none");
    if !asked || off {
        return Exporter(None);
    }
    let exporter = match opentelemetry_otlp::SpanExporter::builder().with_tonic().build() {
        Ok(exporter) => exporter,
        Err(error) => {
            tracing::warn!(%error, "spans are not exported: the OTLP settings cannot be used");
            return Exporter(None);
        }
    };
    let mut resource = opentelemetry_sdk::Resource::builder();
    if !set("OTEL_SERVICE_NAME") {
        resource = resource.with_service_name("lattice");
    }
    let resource = resource
        .with_attribute(KeyValue::new("service.instance.id", incarnation.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("lattice.id", lattice.to_owned()))
        .with_attribute(KeyValue::new(attribute::NODE, node.to_owned()))
        .build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let _ = TRACER.set((provider.tracer("lattice"), node.to_owned()));
    Exporter(Some(provider))
}

impl Exporter {
    /// Sends what is left. Blocks for as long as the collector takes, at most seconds.
    pub fn shutdown(self) {
        if let Some(provider) = self.0 {
            let _ = provider.shutdown();
        }
    }
}

/// What a span is about.
pub struct Subject<'a> {
    /// The actor.
    pub actor: &'a lattice_proto::ActorId,
    /// The operation.
    pub operation: &'a str,
    /// The message.
    pub message: &'a str,
    /// 1 on the first try.
    pub attempt: u32,
}

/// One hop of a message, ended when it is dropped. Holds nothing when spans are not exported.
pub struct Span {
    /// Boxed, since a message carries its span through every queue.
    live: Option<Box<opentelemetry_sdk::trace::Span>>,
    /// What is passed on when there is no span.
    parent: Option<TraceContext>,
}

impl Span {
    /// A request from outside of the lattice.
    pub fn request(parent: Option<TraceContext>, subject: &Subject<'_>) -> Self {
        Self::start("request", SpanKind::Server, parent, subject)
    }

    /// The sending side: one for a call, over all its attempts.
    pub fn call(parent: Option<TraceContext>, subject: &Subject<'_>) -> Self {
        Self::start("call", SpanKind::Client, parent, subject)
    }

    /// The handling side: from admission to the answer.
    pub fn handle(parent: Option<TraceContext>, subject: &Subject<'_>) -> Self {
        Self::start("handle", SpanKind::Server, parent, subject)
    }

    fn start(verb: &str, kind: SpanKind, parent: Option<TraceContext>, subject: &Subject<'_>) -> Self {
        let Some((tracer, node)) = TRACER.get() else { return Self { live: None, parent } };
        let builder = tracer
            .span_builder(format!("{verb} {}.{}", subject.actor, subject.operation))
            .with_kind(kind)
            .with_attributes([
                KeyValue::new(attribute::ACTOR, subject.actor.to_string()),
                KeyValue::new(attribute::OPERATION, subject.operation.to_owned()),
                KeyValue::new(attribute::MESSAGE, subject.message.to_owned()),
                KeyValue::new(attribute::ATTEMPT, i64::from(subject.attempt)),
                KeyValue::new(attribute::NODE, node.clone()),
            ]);
        let context = match &parent {
            Some(parent) => Context::new().with_remote_span_context(remote(parent)),
            None => Context::new(),
        };
        Self { live: Some(Box::new(tracer.build_with_context(builder, &context))), parent }
    }

    /// What the next hop hangs under.
    pub fn context(&self) -> Option<TraceContext> {
        let Some(span) = &self.live else { return self.parent.clone() };
        let context = span.span_context();
        Some(TraceContext {
            parent: TraceParent {
                trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
                span_id: u64::from_be_bytes(context.span_id().to_bytes()),
                flags: context.trace_flags().to_u8(),
            },
            state: self.parent.as_ref().and_then(|parent| parent.state.clone()),
        })
    }

    /// Adds where the message went.
    pub fn target(&mut self, target: &str) {
        if let Some(span) = &mut self.live {
            span.set_attribute(KeyValue::new(attribute::TARGET, target.to_owned()));
        }
    }

    /// Marks it as failed.
    pub fn fail(&mut self, fault: &Fault) {
        if let Some(span) = &mut self.live {
            span.set_attribute(KeyValue::new(attribute::FAULT, fault.kind()));
            span.set_status(Status::error(fault.to_string()));
        }
    }
}

fn remote(context: &TraceContext) -> SpanContext {
    let TraceParent { trace_id, span_id, flags } = context.parent;
    SpanContext::new(
        TraceId::from_bytes(trace_id.to_be_bytes()),
        SpanId::from_bytes(span_id.to_be_bytes()),
        TraceFlags::new(flags),
        true,
        TraceState::default(),
    )
}
