//! `lattice ps`: the actors, what is wanted of them and what runs where.

use comfy_table::Cell;
use lattice_proto::admin::{Actor, ListActorsRequest};
use serde::Serialize;

use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;
use crate::table::{self, Tone, cell, number};

/// An actor as `-o json` shows it.
#[derive(Serialize)]
pub(super) struct Row {
    pub actor: String,
    app: String,
    kind: String,
    desired: u32,
    ready: u32,
    revision: u64,
    placements: Vec<Place>,
    /// Sentences for people, so they are no part of the stable shape.
    #[serde(skip)]
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Place {
    node: String,
    replicas: u32,
}

pub async fn run(global: &Global) -> Result<(), Failure> {
    let mut rows = rows(global).await?;
    rows.sort_by(|a, b| (&a.app, &a.actor).cmp(&(&b.app, &b.actor)));
    global.output.print(&rows, |rows| text(rows))
}

/// All actors, in no order.
pub(super) async fn rows(global: &Global) -> Result<Vec<Row>, Failure> {
    let mut client = admin::connect(global).await?;
    let (mut rows, mut page_token) = (Vec::<Row>::new(), String::new());
    loop {
        let request = ListActorsRequest { page_token, ..ListActorsRequest::default() };
        let page = client.list_actors(request).await?.into_inner();
        rows.extend(page.actors.into_iter().map(Row::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(rows);
        }
    }
}

impl From<Actor> for Row {
    fn from(actor: Actor) -> Self {
        let place = |p: lattice_proto::admin::Placement| Place { node: p.node, replicas: p.replicas };
        let mut placements: Vec<Place> = actor.placements.into_iter().map(place).collect();
        placements.sort_by(|a, b| a.node.cmp(&b.node));
        Self {
            actor: actor.actor,
            app: actor.app,
            kind: actor.kind,
            desired: actor.desired,
            ready: actor.ready,
            revision: actor.revision,
            placements,
            problems: actor.problems,
        }
    }
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no actors are deployed; `lattice apply MANIFEST` deploys an app".to_owned();
    }
    let mut text =
        table::render(&["APP", "ACTOR", "KIND", "READY", "REVISION", "WHERE"], rows.iter().map(columns));
    for row in rows {
        for problem in &row.problems {
            text.push_str(&format!("\n{}: {problem}", row.actor));
        }
    }
    text
}

fn columns(row: &Row) -> Vec<Cell> {
    let tone = match (row.ready, row.desired) {
        (ready, desired) if ready == desired => Tone::Good,
        (0, _) => Tone::Bad,
        _ => Tone::Waiting,
    };
    let places: Vec<_> = row.placements.iter().map(|p| format!("{}:{}", p.node, p.replicas)).collect();
    vec![
        cell(&row.app, Tone::Plain),
        cell(&row.actor, Tone::Plain),
        cell(&row.kind, Tone::Plain),
        cell(format!("{}/{}", row.ready, row.desired), tone),
        number(row.revision),
        cell(places.join(" "), Tone::Plain),
    ]
}
