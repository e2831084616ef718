//! `lattice history` and `lattice rollback`: the revisions of an app, and going back to one.

use comfy_table::Cell;
use lattice_proto::AppName;
use lattice_proto::admin::{GetHistoryRequest, Revision, RollbackRequest};
use serde::Serialize;

use super::operation;
use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;
use crate::table::{self, Tone, cell, number};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The app, as `lattice ps` names it
    app: AppName,
}

#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// The app, as `lattice ps` names it
    app: AppName,
    /// The revision to go back to; without it, the last one that ran as declared before this
    #[arg(long, value_name = "REVISION")]
    to: Option<u64>,
    /// Show what would change, but change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not wait until it runs
    #[arg(long)]
    detach: bool,
}

/// A revision as `-o json` shows it.
#[derive(Serialize)]
struct Row {
    revision: u64,
    origin: String,
    note: Option<String>,
    declared_ms: u64,
    current: bool,
    good: bool,
    actors: Vec<Actor>,
}

#[derive(Serialize)]
struct Actor {
    actor: String,
    replicas: String,
    artifact: String,
    /// What a registry had then, where it is from one.
    from: Option<String>,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let mut client = admin::connect(global).await?;
    let (mut rows, mut page_token) = (Vec::<Row>::new(), String::new());
    loop {
        let request =
            GetHistoryRequest { app: args.app.to_string(), page_token, ..GetHistoryRequest::default() };
        let page = client.get_history(request).await?.into_inner();
        rows.extend(page.revisions.into_iter().map(Row::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    global.output.print(&rows, |rows| {
        let header = ["REVISION", "HOW", "WHEN", "ACTORS", ""];
        table::render(&header, rows.iter().map(columns))
    })
}

pub async fn roll_back(args: RollbackArgs, global: &Global) -> Result<(), Failure> {
    let mut client = admin::connect(global).await?;
    let request = RollbackRequest {
        app: args.app.to_string(),
        to_revision: args.to,
        request_id: operation::request_id(),
        if_revision: None,
        dry_run: args.dry_run,
    };
    let started = client.rollback(request).await?.into_inner();
    operation::go_on(client, started, global, args.dry_run, args.detach).await
}

impl From<Revision> for Row {
    fn from(revision: Revision) -> Self {
        let actors = revision.actors.into_iter().map(|actor| Actor {
            actor: actor.actor,
            replicas: actor.replicas,
            artifact: actor.artifact,
            from: Some(actor.from).filter(|from| !from.is_empty()),
        });
        Self {
            revision: revision.revision,
            origin: revision.origin,
            note: Some(revision.note).filter(|note| !note.is_empty()),
            declared_ms: revision.declared_ms,
            current: revision.current,
            good: revision.good,
            actors: actors.collect(),
        }
    }
}

fn columns(row: &Row) -> Vec<Cell> {
    let actors: Vec<_> = row
        .actors
        .iter()
        .map(|actor| {
            let digest: String = actor.artifact.trim_start_matches("sha256:").chars().take(12).collect();
            // The tag says more than the digests behind it.
            let from = actor.from.as_ref().and_then(|from| from.split('@').next());
            let from = from.map(|from| format!(" ({from})")).unwrap_or_default();
            format!("{}:{} {digest}{from}", actor.actor, actor.replicas)
        })
        .collect();
    let mut marks = Vec::new();
    if row.current {
        marks.push("current".to_owned());
    }
    if row.good {
        marks.push("ran as declared".to_owned());
    }
    marks.extend(row.note.clone());
    vec![
        number(row.revision),
        cell(&row.origin, Tone::Plain),
        cell(ago(row.declared_ms), Tone::Plain),
        cell(actors.join(", "), Tone::Plain),
        cell(marks.join("; "), if row.current { Tone::Good } else { Tone::Plain }),
    ]
}

/// How long ago a moment was, for people.
pub(super) fn ago(then_ms: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_revision_is_told_in_the_unit_that_fits() {
        assert!(ago(0).ends_with("days ago"));
        assert_eq!(ago(u64::MAX), "0 s ago");
    }
}
