//! The OpenTelemetry receiver takes what a real exporter sends.

use lattice_tests::otlp::{Receiver, Tree};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

fn pair(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..Default::default() }
}

fn span(id: u8, parent: Option<u8>) -> Span {
    Span {
        trace_id: vec![7; 16],
        span_id: vec![id; 8],
        parent_span_id: parent.map(|id| vec![id; 8]).unwrap_or_default(),
        name: format!("span {id}"),
        attributes: vec![pair("colour", "red")],
        ..Default::default()
    }
}

fn export(node: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let attributes = vec![pair("service.name", "lattice"), pair("service.instance.id", node)];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes, ..Default::default() }),
            scope_spans: vec![ScopeSpans { spans, ..Default::default() }],
            ..Default::default()
        }],
    }
}

#[tokio::test]
async fn spans_of_two_processes_become_one_tree() {
    let receiver = Receiver::start().await;
    let mut client = TraceServiceClient::connect(format!("http://{}", receiver.address())).await.unwrap();
    client.export(export("a", vec![span(1, None), span(3, Some(2))])).await.unwrap();
    let trace = "07".repeat(16);
    assert!(Tree::of(&receiver.trace(&trace)).is_err());
    client.export(export("b", vec![span(2, Some(1))])).await.unwrap();

    let tree = Tree::of(&receiver.trace(&trace)).unwrap();
    assert_eq!(tree.root.span.name, "span 1");
    assert_eq!(tree.processes("service.instance.id").len(), 2);
    assert_eq!(tree.root.span.attributes["colour"], "red");
    assert_eq!(tree.root.span.service, "lattice");
}
