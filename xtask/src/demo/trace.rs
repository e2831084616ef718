//! Spans to a call tree in text. Pure: it is given spans, and never asks for any.
//!
//! ```text
//!     0.0  12.3 ms  edge-1   call storefront/quote
//!     1.1   9.8 ms  cloud-1  └─ handle storefront/quote
//! ```

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use serde_json::Value;

/// The traces that are there.
pub fn trace_ids(spans: &[Value]) -> HashSet<String> {
    spans.iter().filter_map(|span| span["trace_id"].as_str()).map(str::to_owned).collect()
}

/// The spans of the trace that crossed most nodes, of those that are not in `known`; of several the one with most spans,
/// as calls meant for people make more than housekeeping does.
pub fn widest_new(spans: &[Value], known: &HashSet<String>) -> Option<Vec<Value>> {
    let mut traces: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for span in spans {
        if let Some(trace) = span["trace_id"].as_str().filter(|trace| !known.contains(*trace)) {
            traces.entry(trace).or_default().push(span);
        }
    }
    let nodes =
        |trace: &Vec<&Value>| trace.iter().map(|span| span["service"].as_str()).collect::<HashSet<_>>().len();
    let widest = traces.into_values().max_by_key(|trace| (nodes(trace), trace.len()))?;
    Some(widest.into_iter().cloned().collect())
}

/// Draws one trace: start and duration in milliseconds, node, and the span's name at its depth.
pub fn render(spans: &[Value]) -> String {
    let tree = Tree::new(spans);
    let mut rows = Vec::new();
    for root in &tree.roots {
        tree.walk(root, "", "", &mut rows);
    }
    let width =
        |column: fn(&Row) -> &str| rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0);
    let node = width(|row| &row.node).max("node".len());
    let mut text = format!("{:>8}  {:>8}  {:node$}  what\n", "start ms", "took ms", "node");
    for row in &rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:>8}  {:>8}  {:node$}  {}", row.start, row.took, row.node, row.what);
    }
    let nodes: HashSet<_> = rows.iter().map(|row| &row.node).collect();
    let _ = write!(
        text,
        "{}, {}, {}",
        count(rows.len(), "span"),
        count(nodes.len(), "node"),
        count(tree.roots.len(), "root")
    );
    text
}

struct Row {
    start: String,
    took: String,
    node: String,
    what: String,
}

struct Tree<'a> {
    /// Spans without a parent, and those whose parent did not arrive.
    roots: Vec<&'a Value>,
    children: BTreeMap<&'a str, Vec<&'a Value>>,
    begin: u64,
}

impl<'a> Tree<'a> {
    fn new(spans: &'a [Value]) -> Self {
        let ids: HashSet<_> = spans.iter().filter_map(|span| span["span_id"].as_str()).collect();
        let mut sorted: Vec<_> = spans.iter().collect();
        sorted.sort_by_key(|span| number(span, "start_ns"));
        let mut tree = Tree {
            roots: Vec::new(),
            children: BTreeMap::new(),
            begin: sorted.first().map_or(0, |first| number(first, "start_ns")),
        };
        for span in sorted {
            match span["parent_span_id"].as_str().filter(|parent| ids.contains(parent)) {
                Some(parent) => tree.children.entry(parent).or_default().push(span),
                None => tree.roots.push(span),
            }
        }
        tree
    }

    fn walk(&self, span: &'a Value, first: &str, rest: &str, rows: &mut Vec<Row>) {
        let start = number(span, "start_ns");
        rows.push(Row {
            start: milliseconds(start.saturating_sub(self.begin)),
            took: milliseconds(number(span, "end_ns").saturating_sub(start)),
            node: span["service"].as_str().unwrap_or("?").to_owned(),
            what: format!("{first}{}", span["name"].as_str().unwrap_or("?")),
        });
        let children = span["span_id"].as_str().and_then(|id| self.children.get(id));
        let children = children.map(Vec::as_slice).unwrap_or_default();
        for (index, child) in children.iter().enumerate() {
            let (branch, below) =
                if index + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.walk(child, &format!("{rest}{branch}"), &format!("{rest}{below}"), rows);
        }
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Nanoseconds since 1970 do not fit a JSON number of every writer, so text is taken as well.
fn number(span: &Value, field: &str) -> u64 {
    let value = &span[field];
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}

fn milliseconds(nanoseconds: u64) -> String {
    format!("{}.{:02}", nanoseconds / 1_000_000, nanoseconds / 10_000 % 100)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn span(trace: &str, id: &str, parent: &str, service: &str, name: &str, start: u64, end: u64) -> Value {
        json!({ "trace_id": trace, "span_id": id, "parent_span_id": parent, "service": service, "name": name,
                "start_ns": start * 1_000_000, "end_ns": end * 1_000_000 })
    }

    #[test]
    fn a_call_over_three_nodes_is_drawn_as_one_tree_whatever_the_order_of_arrival() {
        let spans = [
            span("t", "4", "2", "cloud-1", "call pricing", 5, 8),
            span("t", "2", "1", "cloud-2", "turn storefront", 2, 9),
            span("t", "3", "2", "edge-1", "call inventory", 3, 7),
            span("t", "5", "3", "edge-1", "turn inventory", 4, 6),
            span("t", "1", "", "edge-1", "call storefront", 1, 10),
        ];
        let text = render(&spans);
        let expected = "\
start ms   took ms  node     what
    0.00      9.00  edge-1   call storefront
    1.00      7.00  cloud-2  └─ turn storefront
    2.00      4.00  edge-1      ├─ call inventory
    3.00      2.00  edge-1      │  └─ turn inventory
    4.00      3.00  cloud-1     └─ call pricing
5 spans, 3 nodes, 1 root";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_span_whose_parent_is_missing_is_a_root_of_its_own() {
        let spans = [span("t", "1", "", "a", "x", 1, 2), span("t", "9", "8", "a", "lost", 1, 2)];
        assert!(render(&spans).ends_with("2 spans, 1 node, 2 roots"));
    }

    #[test]
    fn the_trace_over_most_nodes_is_taken_of_those_that_are_new() {
        let spans = [
            span("old", "1", "", "a", "x", 1, 2),
            span("old", "2", "1", "b", "x", 1, 2),
            span("old", "3", "1", "c", "x", 1, 2),
            span("long", "4", "", "a", "x", 1, 2),
            span("long", "5", "4", "a", "x", 1, 2),
            span("long", "6", "4", "a", "x", 1, 2),
            span("wide", "7", "", "a", "x", 1, 2),
            span("wide", "8", "7", "b", "x", 1, 2),
        ];
        let known = HashSet::from(["old".to_owned()]);
        let found = widest_new(&spans, &known).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|span| span["trace_id"] == "wide"));
        assert_eq!(widest_new(&spans, &trace_ids(&spans)), None);
    }
}
