//! Calls that failed or were slow: which there were lately, and each of them step by step.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use lattice_proto::{ActorName, NodeName};
use maud::{Markup, html};

use super::number::{micros, moment};
use super::{Web, layout};
use crate::traces::{Listed, Row, Summary, rows};

/// Traces in a list, and in that of one actor.
const LISTED: usize = 100;
const ABOUT: usize = 10;

/// Spans of one trace that are shown.
const SHOWN: usize = 1_000;

/// The width that bars are drawn in; the page stretches it.
const WIDTH: u64 = 1_000;

pub(super) async fn list(State(web): State<Web>) -> Response {
    let Ok(_room) = web.room.try_acquire() else { return layout::busy(&web) };
    let contents = html! {
        h1 #traces { "Slow and failed calls" }
        p .note { "What nodes have kept lately, as of when this page was opened." }
        (table(&read(&web, None, LISTED).await, "traces"))
    };
    layout::page(&web, "traces", None, contents)
}

/// Those that an actor is in.
pub(super) async fn about(web: &Web, actor: &ActorName) -> Markup {
    let read = read(web, Some(actor), ABOUT).await;
    html! { h2 #slow { "Slow and failed calls" } (table(&read, "slow")) }
}

pub(super) async fn one(State(web): State<Web>, Path(id): Path<String>) -> Response {
    let Some(trace) = parse(&id) else {
        return layout::problem(
            &web,
            StatusCode::NOT_FOUND,
            "That is no trace: its id has 32 hexadecimal digits.",
        );
    };
    let Ok(_room) = web.room.try_acquire() else { return layout::busy(&web) };
    let whole = match web.traces.find(trace).await {
        Ok(whole) => whole,
        Err(error) => return layout::problem(&web, StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    };
    let (rows, took_ns) = rows(&whole);
    if rows.is_empty() && whole.silent.is_empty() {
        let text = "No node has kept this trace, or not any more: those of calls that failed or were slow are kept, the last 300 on \
                    each node.";
        return layout::problem(&web, StatusCode::NOT_FOUND, text);
    }
    let left_out = rows.len().saturating_sub(SHOWN);
    let contents = html! {
        h1 { "Trace " code { (id) } }
        (silence(&whole.silent))
        @if whole.cut { p .problem { "Some of its spans had no room, and are not shown." } }
        p .note { (micros(Some(nanos(took_ns)))) " in all, as far as the clocks of the nodes agree." }
        ol .waterfall { @for row in rows.iter().take(SHOWN) { li { (step(row, took_ns)) } } }
        @if left_out > 0 { p .note { (left_out) " more spans are not shown." } }
    };
    layout::page(&web, "traces", None, contents)
}

/// Reads the id of a trace, as it is written everywhere.
pub(super) fn parse(id: &str) -> Option<u128> {
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(id, 16).ok().filter(|_| is_id)
}

async fn read(web: &Web, actor: Option<&ActorName>, most: usize) -> Result<Listed, String> {
    web.traces.list(actor, most).await.map_err(|error| error.to_string())
}

fn table(read: &Result<Listed, String>, title: &str) -> Markup {
    let listed = match read {
        Ok(listed) => listed,
        Err(problem) => return html! { p .problem { (problem) } },
    };
    html! {
        (silence(&listed.silent))
        @if listed.traces.is_empty() { p .note { "None." } }
        @else {
            div .scroll tabindex="0" role="region" aria-labelledby=(title) {
                table {
                    thead { tr { th { "When" } th .text { "Call" } th { "Took" } th .text { "What went wrong" } th .text { "Nodes" } } }
                    tbody { @for trace in &listed.traces { (line(trace)) } }
                }
            }
        }
    }
}

fn line(trace: &Summary) -> Markup {
    let nodes: Vec<&str> = trace.nodes.iter().map(NodeName::as_str).collect();
    html! {
        tr {
            td { (moment(trace.began_ns / 1_000_000)) }
            td .text { a href={ "/traces/" (format!("{:032x}", trace.trace)) } { (trace.name) } }
            td { (micros(Some(nanos(trace.took_ns)))) }
            td .text.long { @match &trace.failure { Some(why) => span .bad { (why) }, None => span .faint { "slow, or a part of it failed" } } }
            td .text { (nodes.join(", ")) }
        }
    }
}

fn silence(silent: &[NodeName]) -> Markup {
    let names: Vec<&str> = silent.iter().map(NodeName::as_str).collect();
    html! { @if !names.is_empty() { p .problem { "What these nodes have kept is missing, as they do not answer: " (names.join(", ")) "." } } }
}

/// One span: its bar, and what is said of it for whoever opens it.
fn step(row: &Row, all_ns: u64) -> Markup {
    // Wide numbers, so that nothing that a node says makes them run over.
    let part = |ns: u64| {
        u64::try_from(u128::from(ns) * u128::from(WIDTH) / u128::from(all_ns.max(1))).unwrap_or(WIDTH)
    };
    let x = part(row.after_ns).min(WIDTH - 2);
    let width = part(row.took_ns).clamp(2, WIDTH - x);
    html! {
        details {
            summary {
                span .name.{ "in" (row.depth.min(12)) } { (row.name) " " span .faint { (row.kind) " " (row.node) } }
                span .took.bad[row.failure.is_some()] { (micros(Some(nanos(row.took_ns)))) }
                svg viewBox={ "0 0 " (WIDTH) " 10" } preserveAspectRatio="none" aria-hidden="true" {
                    rect .bad[row.failure.is_some()] x=(x) y="1" width=(width) height="8" {}
                }
            }
            dl {
                dt { "began" } dd { (micros(Some(nanos(row.after_ns)))) " after the first" }
                @if let Some(why) = &row.failure { dt { "failed" } dd .bad { (why) } }
                (pairs(&row.attributes))
            }
            @for (name, attributes) in &row.events { p { strong { (name) } } dl { (pairs(attributes)) } }
        }
    }
}

fn pairs(pairs: &[(String, String)]) -> Markup {
    html! { @for (key, value) in pairs { dt { (key) } dd { @if value.contains('\n') { pre { (value) } } @else { (value) } } } }
}

/// In microseconds.
#[allow(clippy::cast_precision_loss, reason = "a time for people")]
fn nanos(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        assert_eq!(parse("0000000000000000000000000000002a"), Some(42));
        assert_eq!(parse("0000000000000000000000000000002A"), Some(42));
        for wrong in ["", "2a", "+000000000000000000000000000002a", "../events"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn whatever_a_node_says_stays_within_the_page() {
        let row = |after_ns, took_ns| Row {
            depth: 1_000,
            node: "n".parse().unwrap(),
            name: "<script>".to_owned(),
            kind: "server",
            after_ns,
            took_ns,
            failure: None,
            attributes: Vec::new(),
            events: Vec::new(),
        };
        for (after, took, all) in [(0, 0, 0), (u64::MAX, u64::MAX, 1), (5, 10, u64::MAX)] {
            let drawn = step(&row(after, took), all).into_string();
            assert!(drawn.contains("&lt;script&gt;") && drawn.contains("in12"), "{drawn}");
        }
        let last = step(&row(u64::MAX, u64::MAX), 1).into_string();
        assert!(last.contains(r#"x="998" y="1" width="2""#), "{last}");
    }
}
