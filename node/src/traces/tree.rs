//! The spans of one trace in the order in which they are read: each before what hangs under it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use lattice_proto::NodeName;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};

use super::Whole;

/// How deep spans hang under each other as far as it is shown.
const DEEPEST: usize = 32;

/// One span.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// How many are above it.
    pub depth: usize,
    /// Whose it is.
    pub node: NodeName,
    /// What it is called.
    pub name: String,
    /// Which end of a call or a letter it is; empty for steps within.
    pub kind: &'static str,
    /// When it began: nanoseconds after the earliest of them.
    pub after_ns: u64,
    /// How long it took.
    pub took_ns: u64,
    /// Why it failed; none where it did not.
    pub failure: Option<String>,
    /// What is said of it.
    pub attributes: Vec<(String, String)>,
    /// What happened in it, each with what is said of that.
    pub events: Vec<(String, Vec<(String, String)>)>,
}

/// The rows of a trace, and how long all of it took, in nanoseconds. What hangs under nothing that is there stands by itself, in
/// the order of time.
pub fn rows(whole: &Whole) -> (Vec<Row>, u64) {
    let began = |(_, span): &(NodeName, Span)| span.start_time_unix_nano;
    let ended = |(_, span): &(NodeName, Span)| span.end_time_unix_nano;
    let first = whole.spans.iter().map(began).min().unwrap_or(0);
    let last = whole.spans.iter().map(ended).max().unwrap_or(0).max(first);
    let there: BTreeSet<&[u8]> = whole.spans.iter().map(|(_, span)| &span.span_id[..]).collect();
    let mut under = BTreeMap::<&[u8], Vec<&(NodeName, Span)>>::new();
    for one in &whole.spans {
        let parent = &one.1.parent_span_id[..];
        under.entry(if there.contains(parent) { parent } else { &[] }).or_default().push(one);
    }
    for children in under.values_mut() {
        children.sort_by_key(|one| std::cmp::Reverse((began(one), ended(one))));
    }
    // Whatever is in a ring is under nothing that stands by itself, and is never come to.
    let mut rows = Vec::new();
    let mut next: Vec<(usize, &(NodeName, Span))> = Vec::new();
    let put = |next: &mut Vec<_>, depth, children: Option<Vec<_>>| {
        next.extend(children.unwrap_or_default().into_iter().map(|child| (depth, child)));
    };
    put(&mut next, 0, under.remove(&[][..]));
    while let Some((depth, (node, span))) = next.pop() {
        rows.push(row(depth.min(DEEPEST), node, span, first));
        put(&mut next, depth + 1, under.remove(&span.span_id[..]));
    }
    (rows, last - first)
}

fn row(depth: usize, node: &NodeName, span: &Span, first: u64) -> Row {
    let pairs = |attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]| {
        let text = |value: &Option<AnyValue>| value.as_ref().map(text).unwrap_or_default();
        attributes.iter().map(|pair| (pair.key.clone(), text(&pair.value))).collect::<Vec<_>>()
    };
    Row {
        depth,
        node: node.clone(),
        name: span.name.clone(),
        kind: match span.kind() {
            SpanKind::Server => "server",
            SpanKind::Client => "client",
            SpanKind::Producer => "producer",
            SpanKind::Consumer => "consumer",
            SpanKind::Internal | SpanKind::Unspecified => "",
        },
        after_ns: span.start_time_unix_nano.saturating_sub(first),
        took_ns: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
        failure: failure(span),
        attributes: pairs(&span.attributes),
        events: span.events.iter().map(|event| (event.name.clone(), pairs(&event.attributes))).collect(),
    }
}

/// Why a span failed; none where it did not.
pub(super) fn failure(span: &Span) -> Option<String> {
    let status = span.status.as_ref().filter(|status| status.code == StatusCode::Error as i32)?;
    Some(status.message.clone())
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        // Nothing here makes others.
        _ => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: u64, parent: u64, began: u64, took: u64) -> (NodeName, Span) {
        let span = Span {
            span_id: id.to_be_bytes().to_vec(),
            parent_span_id: if parent == 0 { Vec::new() } else { parent.to_be_bytes().to_vec() },
            name: id.to_string(),
            start_time_unix_nano: began,
            end_time_unix_nano: began + took,
            ..Span::default()
        };
        ("n".parse().unwrap(), span)
    }

    #[test]
    fn each_stands_before_what_hangs_under_it() {
        // 4 hangs under one that nobody told of; 8 and 9 hang under each other; 2 is there twice.
        let spans = vec![
            span(3, 1, 130, 1),
            span(2, 1, 110, 10),
            span(1, 0, 100, 50),
            span(4, 7, 90, 1),
            span(5, 2, 111, 1),
            span(8, 9, 0, 1),
            span(9, 8, 0, 1),
            span(2, 1, 110, 10),
        ];
        let (rows, took) = rows(&Whole { spans, ..Whole::default() });
        let shown: Vec<_> = rows.iter().map(|row| (row.depth, row.name.as_str())).collect();
        assert_eq!(shown, [(0, "4"), (0, "1"), (1, "2"), (2, "5"), (1, "2"), (1, "3")]);
        assert_eq!((rows[1].after_ns, rows[1].took_ns, took), (100, 50, 150));
        assert_eq!(super::rows(&Whole::default()).0.len(), 0);
    }

    #[test]
    fn what_hangs_deep_is_shown_without_end_of_depth() {
        let spans = (1..=500).map(|id| span(id, id - 1, id, 1)).collect();
        let (rows, _) = rows(&Whole { spans, ..Whole::default() });
        assert_eq!((rows.len(), rows[499].depth), (500, DEEPEST));
    }
}
