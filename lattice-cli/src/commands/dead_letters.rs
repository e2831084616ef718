//! `lattice dead-letters`: messages that were sent and that nobody could handle.

use clap::Subcommand;
use comfy_table::Cell;
use lattice_proto::ActorName;
use lattice_proto::admin::{DeadLetter, DeadLetterRequest, ListDeadLettersRequest};
use serde::Serialize;

use super::history::ago;
use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;
use crate::output;
use crate::table::{self, Tone, cell, number};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do with them; to list them all, unless it is said
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them: whom they are for, and why they were given up
    List {
        /// Only those for this actor
        actor: Option<ActorName>,
    },
    /// Show one of them, with its payload
    Show {
        /// Its id, as `list` shows it
        id: String,
    },
    /// Send some of them anew, each under an id of its own
    Retry(Which),
    /// Forget some of them
    Drop(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Their ids, as `list` shows them
    #[arg(required_unless_present = "all_of", value_name = "ID")]
    ids: Vec<String>,
    /// All that are for this actor
    #[arg(long, value_name = "ACTOR", conflicts_with = "ids")]
    all_of: Option<ActorName>,
}

/// A dead letter as `-o json` shows it.
#[derive(Serialize)]
struct View {
    id: String,
    target: String,
    operation: String,
    sender: Option<String>,
    sent_ms: u64,
    reason: String,
    tries: u32,
    at_ms: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    topic: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<serde_json::Value>,
}

/// What became of one, as `-o json` shows it.
#[derive(Serialize)]
struct Done {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_as: Option<String>,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let mut client = admin::connect(global).await?;
    match args.command.unwrap_or(Command::List { actor: None }) {
        Command::List { actor } => {
            let views: Vec<View> =
                list(&mut client, actor.as_ref()).await?.into_iter().map(View::from).collect();
            global.output.print(&views, |views| {
                table::render(
                    &["ID", "FOR", "OPERATION", "FROM", "GIVEN UP", "TRIES", "WHY"],
                    views.iter().map(columns),
                )
            })
        }
        Command::Show { id } => {
            let letter = client.get_dead_letter(DeadLetterRequest { id }).await?.into_inner();
            let payload = payload(&letter);
            let view = View { payload: Some(payload), ..View::from(letter) };
            global.output.print(&view, text)
        }
        Command::Retry(which) => {
            let mut done = Vec::new();
            for id in which.ids(&mut client).await? {
                let reply = client.retry_dead_letter(DeadLetterRequest { id: id.clone() }).await?;
                let sent_as = Some(reply.into_inner().id);
                global.output.note(&format!("{id} was sent as {}", sent_as.as_deref().unwrap_or_default()));
                done.push(Done { id, sent_as });
            }
            finish(&done, global)
        }
        Command::Drop(which) => {
            let mut done = Vec::new();
            for id in which.ids(&mut client).await? {
                client.drop_dead_letter(DeadLetterRequest { id: id.clone() }).await?;
                global.output.note(&format!("{id} was dropped"));
                done.push(Done { id, sent_as: None });
            }
            finish(&done, global)
        }
    }
}

/// People were told on the way.
fn finish(done: &[Done], global: &Global) -> Result<(), Failure> {
    match global.output {
        output::Format::Json => global.output.print(&done, |_| String::new()),
        output::Format::Text => Ok(()),
    }
}

impl Which {
    async fn ids(self, client: &mut admin::Client) -> Result<Vec<String>, Failure> {
        match self.all_of {
            Some(actor) => {
                Ok(list(client, Some(&actor)).await?.into_iter().map(|letter| letter.id).collect())
            }
            None => Ok(self.ids),
        }
    }
}

async fn list(client: &mut admin::Client, actor: Option<&ActorName>) -> Result<Vec<DeadLetter>, Failure> {
    let (mut letters, mut page_token) = (Vec::new(), String::new());
    loop {
        let actor = actor.map(ToString::to_string).unwrap_or_default();
        let request = ListDeadLettersRequest { actor, page_size: 0, page_token };
        let page = client.list_dead_letters(request).await?.into_inner();
        letters.extend(page.letters);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(letters);
        }
    }
}

impl From<DeadLetter> for View {
    fn from(letter: DeadLetter) -> Self {
        Self {
            id: letter.id,
            target: letter.target,
            operation: letter.operation,
            sender: Some(letter.sender).filter(|sender| !sender.is_empty()),
            sent_ms: letter.sent_ms,
            reason: letter.reason,
            tries: letter.tries,
            at_ms: letter.at_ms,
            topic: letter.topic,
            payload: None,
        }
    }
}

/// The payload as JSON, where it is some; else as text.
fn payload(letter: &DeadLetter) -> serde_json::Value {
    let text = || serde_json::Value::from(String::from_utf8_lossy(&letter.payload).into_owned());
    serde_json::from_slice(&letter.payload).unwrap_or_else(|_| text())
}

fn columns(view: &View) -> Vec<Cell> {
    vec![
        cell(&view.id, Tone::Plain),
        cell(&view.target, Tone::Plain),
        cell(&view.operation, Tone::Plain),
        cell(view.sender.as_deref().unwrap_or("-"), Tone::Plain),
        cell(ago(view.at_ms), Tone::Plain),
        number(view.tries),
        cell(&view.reason, Tone::Bad),
    ]
}

fn text(view: &View) -> String {
    let payload = view.payload.as_ref().map(ToString::to_string).unwrap_or_default();
    let topic = if view.topic.is_empty() { String::new() } else { format!("topic      {}\n", view.topic) };
    format!(
        "{}\nfor        {}\noperation  {}\n{topic}from       {}\nsent       {}\ngiven up   {}, after {} tries\nwhy        {}\npayload    {payload}\n",
        view.id,
        view.target,
        view.operation,
        view.sender.as_deref().unwrap_or("the admin API"),
        ago(view.sent_ms),
        ago(view.at_ms),
        view.tries,
        view.reason,
    )
}
