//! One actor: how it does over time, where it runs, who calls it, and what it says.

use std::time::Duration;

use lattice_proto::ActorName;
use lattice_proto::admin::{CallPicture, Picture};
use lattice_proto::log::Level;
use maud::{Markup, html};

use super::number::{bytes, micros, moment, rate};
use super::overview::ready;
use super::{Web, chart};
use crate::logs::{Read, Selection};
use crate::survey::Sample;

/// Lines of the log that are shown, and how long they are waited for.
const LINES: u32 = 50;
const PATIENCE: Duration = Duration::from_secs(3);

/// What is sent anew.
pub(super) fn contents(picture: &Picture, name: &str, past: &[Sample]) -> Markup {
    let Some(actor) = picture.actors.iter().find(|actor| actor.actor == name) else {
        let why =
            if picture.problem.is_empty() { "It is not deployed in this lattice." } else { &picture.problem };
        return html! { h1 { (name) } p .problem { (why) } };
    };
    let values = |part: fn(&Sample) -> Option<f64>| past.iter().map(part).collect::<Vec<_>>();
    let calls = |suits: &dyn Fn(&&CallPicture) -> bool| {
        let mut calls: Vec<&CallPicture> = picture.calls.iter().filter(suits).collect();
        calls.sort_by(|a, b| b.calls_per_second.total_cmp(&a.calls_per_second));
        calls
    };
    let (callers, called) = (calls(&|call| call.actor == name), calls(&|call| call.caller == name));
    html! {
        h1 { (actor.actor) " " span .faint { (actor.kind) " actor of " (actor.app) ", revision " (actor.revision) } }
        @for problem in &actor.problems { p .problem { (problem) } }
        dl .tiles {
            div { dt { "Ready" } dd .wait[!actor.problems.is_empty()] { (ready(actor)) } }
            div { dt { "In flight" } dd { (actor.in_flight) } }
            div { dt { "Waiting" } dd { (actor.waiting) } }
            div { dt { "p50" } dd { (micros(actor.p50_us)) } }
            div { dt { "Memory" } dd { (bytes(actor.memory_bytes)) } }
            div { dt { "Processors" } dd { (actor.cpus.map_or("–".to_owned(), |cpus| format!("{cpus:.2}"))) } }
            div { dt { "Traps" } dd .bad[actor.traps > 0] { (actor.traps) } }
        }
        h2 { "The last half an hour " span .faint { "now at the right" } }
        div .charts {
            (chart::draw("Calls in a second", "calls", &values(|sample| sample.calls), |value| rate(Some(value))))
            (chart::draw("Failures in a second", "failures", &values(|sample| sample.failures), |value| rate(Some(value))))
            (chart::draw("p99", "latency", &values(|sample| sample.p99_us), |value| micros(Some(value))))
        }
        @if !actor.faults_per_second.is_empty() {
            @let faults: std::collections::BTreeMap<_, _> = actor.faults_per_second.iter().collect();
            ul .chips { @for (kind, per_second) in faults { li { span .bad { (kind) " " (rate(Some(*per_second))) "/s" } } } }
        }
        h2 #where { "Where it runs" }
        div .scroll tabindex="0" role="region" aria-labelledby="where" {
            table {
                thead { tr { th { "Node" } th { "Replicas" } th { "In flight" } th { "Memory" } th { "Calls/s" } } }
                tbody {
                    @for on in &actor.nodes {
                        tr {
                            td { (on.node) } td { (on.replicas) } td { (on.in_flight) } td { (bytes(on.memory_bytes)) }
                            td { (rate(on.calls_per_second)) }
                        }
                    }
                }
            }
        }
        @for (title, calls, end) in [("Who calls it", callers, true), ("Whom it calls", called, false)] {
            @if !calls.is_empty() {
                h2 { (title) }
                ul .chips {
                    @for call in calls {
                        @let other = if end { call.caller.as_str() } else { call.actor.as_str() };
                        li {
                            @let text = html! { (rate(Some(call.calls_per_second))) "/s"
                                @if call.failures_per_second > 0.0 { ", " (rate(Some(call.failures_per_second))) " fail" } };
                            @if other.is_empty() { span { "outside " (text) } }
                            @else { a href={ "/actors/" (other) } { (other) " " (text) } }
                        }
                    }
                }
            }
        }
    }
}

/// The last lines of its log, as they are when the page is opened.
pub(super) async fn log(web: &Web, actor: &ActorName) -> Markup {
    let selection = Selection {
        actor: Some(actor.clone()),
        last: Some(LINES),
        level: Level::Trace,
        ..Selection::default()
    };
    let mut lines = Vec::new();
    let read = async {
        let mut reading = web.lines.read(selection).await.map_err(|error| error.to_string())?;
        while let Some(read) = reading.next().await {
            lines.push(read);
        }
        Ok::<_, String>(())
    };
    let problem = match tokio::time::timeout(PATIENCE, read).await {
        Ok(read) => read.err(),
        Err(_) => Some("not all nodes told in time".to_owned()),
    };
    html! {
        h2 #log { "Log " span .faint { "as of when this page was opened; " code { "lattice logs " (actor) " --follow" } } }
        @if let Some(problem) = &problem { p .problem { (problem) } }
        @if !lines.is_empty() { pre tabindex="0" role="region" aria-labelledby="log" { @for line in &lines { (one(line)) } } }
        @else if problem.is_none() { p .note { "Nothing was written yet." } }
    }
}

fn one(Read { node, line }: &Read) -> Markup {
    let tone = match line.level {
        Level::Error => "bad",
        Level::Warn => "wait",
        _ => "",
    };
    html! {
        span .(tone) {
            (moment(line.at_ms)) " " (node) " " @if let Some(key) = &line.key { "/" (key) " " } (line.text) "\n"
        }
    }
}
