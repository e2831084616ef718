//! What happened, the latest first.

use std::collections::VecDeque;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::number::moment;
use super::{Web, layout};
use crate::events::{Selection, Told};

/// How far back is looked, how many are shown, and how long they are waited for.
const SINCE: Duration = Duration::from_secs(24 * 3_600);
const SHOWN: usize = 200;
const ABOUT: usize = 10;
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn page(State(web): State<Web>) -> Response {
    let Ok(_room) = web.room.try_acquire() else { return layout::busy(&web) };
    let told = read(&web, None, SHOWN).await;
    let contents = html! {
        h1 #events { "Events" }
        p .note { "Of the last 24 hours, as of when this page was opened; " code { "lattice events --follow" } " goes on." }
        (table(&told, "events"))
    };
    layout::page(&web, "events", None, contents)
}

/// What happened to one thing.
pub(super) async fn about(web: &Web, subject: &str) -> Markup {
    let told = read(web, Some(subject), ABOUT).await;
    html! { h2 #happened { "What happened to it" } (table(&told, "happened")) }
}

/// The latest events, the latest first.
async fn read(web: &Web, subject: Option<&str>, most: usize) -> (VecDeque<Told>, Option<String>) {
    let since_ms = u64::try_from(SINCE.as_millis()).ok();
    let selection = Selection { since_ms, subject: subject.map(str::to_owned), ..Selection::default() };
    let mut latest = VecDeque::new();
    let read = async {
        let mut reading = web.archive.read(selection).await.map_err(|error| error.to_string())?;
        while let Some(told) = reading.next().await.map_err(|error| error.to_string())? {
            latest.push_front(told);
            latest.truncate(most);
        }
        Ok::<_, String>(())
    };
    let problem = match tokio::time::timeout(PATIENCE, read).await {
        Ok(read) => read.err(),
        Err(_) => Some("what happened could not be read to its end in time".to_owned()),
    };
    (latest, problem)
}

fn table((told, problem): &(VecDeque<Told>, Option<String>), title: &str) -> Markup {
    html! {
        @if let Some(problem) = problem { p .problem { (problem) } }
        @if told.is_empty() { @if problem.is_none() { p .note { "Nothing." } } }
        @else {
            div .scroll tabindex="0" role="region" aria-labelledby=(title) {
                table {
                    thead { tr { th { "When" } th .text { "What" } th .text { "Of" } th .text { "Text" } } }
                    tbody {
                        @for Told { event, .. } in told {
                            tr {
                                td { (moment(event.at_ms)) }
                                td .text { (event.kind) @if event.count > 1 { " ×" (event.count) } }
                                td .text { (event.subject) @if let Some(revision) = event.revision { " (" (revision) ")" } }
                                td .text.long { (event.text) }
                            }
                        }
                    }
                }
            }
        }
    }
}
