//! An OpenTelemetry receiver that keeps what it is sent, and the call trees in it.
//!
//! Nodes export spans to it by OTLP over gRPC, as to any collector; the demo and the tests read them here.

mod tree;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

pub use tree::{Branch, Tree};

/// A span as it was received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// In hexadecimal digits.
    pub trace_id: String,
    /// In hexadecimal digits.
    pub span_id: String,
    /// Empty at the root.
    pub parent_span_id: String,
    /// What was done.
    pub name: String,
    /// `internal`, `server`, `client`, `producer` or `consumer`.
    pub kind: String,
    /// What went wrong; none where nothing did.
    pub error: Option<String>,
    /// What happened in it.
    pub events: Vec<Event>,
    /// Spans that it is linked to, by their ids.
    pub links: Vec<String>,
    /// `service.name` of the process.
    pub service: String,
    /// Nanoseconds since 1970.
    pub start_ns: u64,
    /// Nanoseconds since 1970.
    pub end_ns: u64,
    /// The span's own attributes.
    pub attributes: BTreeMap<String, Value>,
    /// What the process says of itself.
    pub resource: BTreeMap<String, Value>,
}

/// What happened in a span.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    pub name: String,
    /// More of it.
    pub attributes: BTreeMap<String, Value>,
}

/// A line of a log as it was received.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The line.
    pub body: String,
    /// `INFO` and the like.
    pub severity: String,
    /// In hexadecimal digits; empty outside of any trace.
    pub trace_id: String,
    /// The record's own attributes.
    pub attributes: BTreeMap<String, Value>,
}

/// Called with each span as it arrives.
pub type Sink = Box<dyn Fn(&Span) + Send + Sync>;

/// A receiver that runs until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    store: Arc<Store>,
    server: JoinHandle<()>,
}

struct Store {
    // Held for the time of a push or a copy, never across an await.
    spans: Mutex<Vec<Span>>,
    records: Mutex<Vec<Record>>,
    /// Metrics by name, with the kind of each.
    metrics: Mutex<BTreeMap<String, &'static str>>,
    sink: Option<Sink>,
}

impl Receiver {
    /// Listens on a free port.
    pub async fn start() -> Self {
        Self::listen("127.0.0.1:0", None).await.unwrap()
    }

    /// Listens at an address and also hands every span to `sink`.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn listen(address: &str, sink: Option<Sink>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let store = Arc::new(Store {
            spans: Mutex::default(),
            records: Mutex::default(),
            metrics: Mutex::default(),
            sink,
        });
        let collector = || Collector(Arc::clone(&store));
        let gzip = CompressionEncoding::Gzip;
        let serving = Server::builder()
            .add_service(TraceServiceServer::new(collector()).accept_compressed(gzip))
            .add_service(LogsServiceServer::new(collector()).accept_compressed(gzip))
            .add_service(MetricsServiceServer::new(collector()).accept_compressed(gzip))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move {
            // It ends when it is dropped, and has nobody to tell of anything else.
            let _ = serving.await;
        });
        Ok(Self { address, store, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The variables that make a process export to it, quickly.
    pub fn env(&self) -> [(&'static str, String); 6] {
        environment(&self.address.to_string())
    }

    /// Everything so far.
    pub fn spans(&self) -> Vec<Span> {
        self.store.spans.lock().unwrap().clone()
    }

    /// All lines so far.
    pub fn records(&self) -> Vec<Record> {
        self.store.records.lock().unwrap().clone()
    }

    /// The names of all metrics so far, each with its kind.
    pub fn metrics(&self) -> BTreeMap<String, &'static str> {
        self.store.metrics.lock().unwrap().clone()
    }

    /// The spans of one trace.
    pub fn trace(&self, trace_id: &str) -> Vec<Span> {
        self.store.spans.lock().unwrap().iter().filter(|span| span.trace_id == trace_id).cloned().collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The variables that make a process export to a collector at this address, quickly.
pub fn environment(address: &str) -> [(&'static str, String); 6] {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
        ("OTEL_BLRP_SCHEDULE_DELAY", "100".to_owned()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500".to_owned()),
        ("OTEL_TRACES_SAMPLER", "always_on".to_owned()),
    ]
}

struct Collector(Arc<Store>);

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let processes = request.into_inner().resource_logs.into_iter();
        let records = processes.flat_map(|process| process.scope_logs).flat_map(|scope| scope.log_records);
        let records = records.map(|record| Record {
            body: value(record.body).as_str().unwrap_or_default().to_owned(),
            severity: record.severity_text,
            trace_id: hex(&record.trace_id),
            attributes: attributes(record.attributes),
        });
        self.0.records.lock().unwrap().extend(records);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let processes = request.into_inner().resource_metrics.into_iter();
        let metrics = processes.flat_map(|process| process.scope_metrics).flat_map(|scope| scope.metrics);
        let metrics = metrics.map(|metric| {
            let kind = match metric.data {
                Some(Data::Gauge(_)) => "gauge",
                Some(Data::Sum(_)) => "sum",
                Some(Data::Histogram(_)) => "histogram",
                Some(Data::ExponentialHistogram(_)) => "exponential histogram",
                Some(Data::Summary(_)) => "summary",
                None => "nothing",
            };
            (metric.name, kind)
        });
        self.0.metrics.lock().unwrap().extend(metrics);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = flatten(request.into_inner());
        if let Some(sink) = &self.0.sink {
            spans.iter().for_each(sink);
        }
        self.0.spans.lock().unwrap().extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn flatten(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for process in request.resource_spans {
        let resource = attributes(process.resource.map(|resource| resource.attributes).unwrap_or_default());
        let service = resource.get("service.name").and_then(Value::as_str).unwrap_or_default().to_owned();
        for span in process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                trace_id: hex(&span.trace_id),
                span_id: hex(&span.span_id),
                parent_span_id: hex(&span.parent_span_id),
                name: span.name,
                kind: match span.kind {
                    2 => "server",
                    3 => "client",
                    4 => "producer",
                    5 => "consumer",
                    _ => "internal",
                }
                .to_owned(),
                error: span.status.filter(|status| status.code == 2).map(|status| status.message),
                events: span
                    .events
                    .into_iter()
                    .map(|event| Event { name: event.name, attributes: attributes(event.attributes) })
                    .collect(),
                links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
                service: service.clone(),
                start_ns: span.start_time_unix_nano,
                end_ns: span.end_time_unix_nano,
                attributes: attributes(span.attributes),
                resource: resource.clone(),
            });
        }
    }
    spans
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, Value> {
    list.into_iter().map(|pair| (pair.key, value(pair.value))).collect()
}

fn value(any: Option<AnyValue>) -> Value {
    match any.and_then(|any| any.value) {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(yes)) => json!(yes),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::BytesValue(bytes)) => json!(hex(&bytes)),
        Some(Any::ArrayValue(list)) => list.values.into_iter().map(|one| value(Some(one))).collect(),
        Some(Any::KvlistValue(map)) => json!(attributes(map.values)),
        _ => Value::Null,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
