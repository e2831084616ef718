//! `lattice topics`: who subscribes to which topics, and what waits for them.

use comfy_table::Cell;
use lattice_proto::admin::{ListSubscriptionsRequest, Subscription};
use lattice_proto::{ActorName, Topic, TopicPattern};
use serde::Serialize;

use super::history::ago;
use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;
use crate::table::{self, Tone, cell, number};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only what this actor subscribes to
    actor: Option<ActorName>,
}

/// A subscription as `-o json` shows it.
#[derive(Serialize)]
pub(super) struct Row {
    app: String,
    actor: String,
    topics: String,
    operation: String,
    begun: bool,
    pending: u64,
    in_hand: u64,
    oldest_ms: Option<u64>,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let actor = args.actor.map(|actor| actor.to_string()).unwrap_or_default();
    let rows = rows(&actor, global).await?;
    global.output.print(&rows, |rows| text(rows))
}

/// What an actor subscribes to; or every one, where none is named.
pub(super) async fn rows(actor: &str, global: &Global) -> Result<Vec<Row>, Failure> {
    let mut client = admin::connect(global).await?;
    let (mut rows, mut page_token) = (Vec::<Row>::new(), String::new());
    loop {
        let request = ListSubscriptionsRequest { actor: actor.to_owned(), page_token, page_size: 0 };
        let page = client.list_subscriptions(request).await?.into_inner();
        rows.extend(page.subscriptions.into_iter().map(Row::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(rows);
        }
    }
}

impl Row {
    /// Whether what is published to that topic comes to it.
    pub(super) fn stands_for(&self, topic: &Topic) -> bool {
        self.topics.parse().is_ok_and(|pattern: TopicPattern| pattern.matches(topic))
    }
}

impl From<Subscription> for Row {
    fn from(subscription: Subscription) -> Self {
        let Subscription { app, actor, topics, operation, begun, pending, in_hand, oldest_ms } = subscription;
        Self { app, actor, topics, operation, begun, pending, in_hand, oldest_ms }
    }
}

fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "nobody subscribes to any topic; an actor does so by `subscribe` in its manifest".to_owned();
    }
    let heads = ["TOPICS", "ACTOR", "OPERATION", "PENDING", "IN HAND", "OLDEST"];
    table::render(&heads, rows.iter().map(columns))
}

fn columns(row: &Row) -> Vec<Cell> {
    let tone = if row.begun { Tone::Plain } else { Tone::Waiting };
    vec![
        cell(&row.topics, tone),
        cell(&row.actor, Tone::Plain),
        cell(&row.operation, Tone::Plain),
        number(row.pending),
        number(row.in_hand),
        cell(row.oldest_ms.map(ago).unwrap_or_default(), Tone::Plain),
    ]
}
