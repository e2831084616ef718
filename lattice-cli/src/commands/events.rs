//! `lattice events`: what happened in the lattice, and what happens. It goes on by itself after the node that it asks
//! was away, with nothing left out.

use std::ops::ControlFlow;
use std::time::Duration;

use lattice_proto::admin::{Event, WatchEventsRequest};
use lattice_proto::event::Kind;
use serde::Serialize;

use crate::admin;
use crate::cli::Global;
use crate::duration;
use crate::failure::Failure;
use crate::moment::utc;
use crate::output::{self, Format};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only what is about the actor, app or node of this name
    name: Option<String>,
    /// Go on with what happens from now on; with `-o json` each event is a line of its own
    #[arg(short, long)]
    follow: bool,
    /// Only what happened within this time, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, conflicts_with = "after")]
    since: Option<Duration>,
    /// Only what comes after the event with this cursor
    #[arg(long, value_name = "CURSOR")]
    after: Option<u64>,
    /// Only events of this kind, such as node-lost; may be given several times
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<Kind>,
}

/// An event as `-o json` shows it.
#[derive(Serialize)]
struct Row {
    cursor: u64,
    at_ms: u64,
    at: String,
    node: String,
    kind: String,
    subject: String,
    revision: Option<u64>,
    count: u64,
    text: String,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let since_ms = args.since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let mut request = WatchEventsRequest {
        after: args.after,
        since_ms,
        follow: args.follow,
        limit: 0,
        kinds: args.kinds.iter().map(Kind::to_string).collect(),
        subject: args.name.unwrap_or_default(),
    };
    if args.follow {
        return follow(request, global).await;
    }
    let is_narrow = request.since_ms > 0 || request.after.is_some() || !request.kinds.is_empty();
    let mut rows = Vec::new();
    let keep = |row| {
        rows.push(row);
        Ok(ControlFlow::Continue(()))
    };
    // It ends by itself; nobody breaks it off.
    let _ = read(&mut request, global, keep).await?;
    if rows.is_empty() && !request.subject.is_empty() {
        let (name, said) = (&request.subject, if is_narrow { "such is kept" } else { "is kept" });
        global.output.note(&format!(
            "nothing {said} of `{name}`; `lattice events` without a name tells of everything"
        ));
    }
    global.output.print(&rows, |rows| rows.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// Prints each event as it comes, for as long as somebody reads.
async fn follow(mut request: WatchEventsRequest, global: &Global) -> Result<(), Failure> {
    let mut away = false;
    loop {
        let before = request.after;
        let show = |row: Row| match global.output {
            Format::Text => output::next_line(&line(&row)),
            Format::Json => output::next_line(&serde_json::to_string(&row).map_err(anyhow::Error::from)?),
        };
        let failure = match read(&mut request, global, show).await {
            Ok(ControlFlow::Break(())) => return Ok(()),
            Ok(ControlFlow::Continue(())) => Failure::stream_ended(),
            Err(failure) => failure,
        };
        // A node that cannot be reached at first is a mistake in the address rather than a restart.
        if !failure.passes() || (failure.kind == "unreachable" && !away) {
            return Err(failure);
        }
        if !away || request.after != before {
            global.output.note(&format!("{failure}; it is tried again until it is back"));
        }
        away = true;
        tokio::time::sleep(admin::RETRY).await;
    }
}

/// Reads one stream to its end, or until `take` has had enough. The request is left as it has to be to go on behind the last event.
async fn read(
    request: &mut WatchEventsRequest,
    global: &Global,
    mut take: impl FnMut(Row) -> Result<ControlFlow<()>, Failure>,
) -> Result<ControlFlow<()>, Failure> {
    let mut client = admin::connect(global).await?;
    let mut events = client.watch_events(request.clone()).await?.into_inner();
    while let Some(event) = events.message().await? {
        (request.after, request.since_ms) = (Some(event.cursor), 0);
        if take(Row::from(event))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

impl From<Event> for Row {
    fn from(event: Event) -> Self {
        Self {
            cursor: event.cursor,
            at_ms: event.at_ms,
            at: utc(event.at_ms),
            node: event.node,
            kind: event.kind,
            subject: event.subject,
            revision: Some(event.revision).filter(|revision| *revision > 0),
            count: event.count,
            text: event.text,
        }
    }
}

/// One event on a line, in columns: what is followed cannot wait for the widest entry.
fn line(row: &Row) -> String {
    let Row { cursor, at, kind, subject, text, .. } = row;
    let revision = row.revision.map(|revision| format!(" ({revision})")).unwrap_or_default();
    format!("{at}  {cursor:>6}  {kind:<15}  {:<20}  {text}", format!("{subject}{revision}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned() {
        let event = |kind: &str, subject: &str, revision| Event {
            kind: kind.into(),
            subject: subject.into(),
            revision,
            text: "text".into(),
            ..Event::default()
        };
        let lines =
            [event("app-met", "shop", 12), event("node-uncordoned", "node-1", 0)].map(|e| line(&e.into()));
        assert_eq!(lines[0].find("text"), lines[1].find("text"), "{lines:?}");
        assert!(lines[0].contains("shop (12)"), "{lines:?}");
    }
}
