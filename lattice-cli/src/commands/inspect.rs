//! `lattice inspect`: what there is of one key of a keyed actor, without waking it.

use lattice_proto::ActorId;
use lattice_proto::admin::{KeyInfo, KeyRequest};
use serde::Serialize;

use super::history::ago;
use super::state::{ReminderView, reminders};
use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The key to look at, such as cart/alice
    #[arg(value_name = "ACTOR/KEY")]
    target: ActorId,
}

/// A key as `-o json` shows it.
#[derive(Serialize)]
struct View {
    actor: String,
    shard: u32,
    owner: Option<Owner>,
    next_owner: Option<String>,
    /// None when the owner did not say.
    awake: Option<bool>,
    messages: Option<u32>,
    letters: u64,
    record: Option<Record>,
}

#[derive(Serialize)]
struct Owner {
    node: String,
    id: String,
    epoch: u64,
}

#[derive(Serialize)]
struct Record {
    size: u64,
    written_ms: u64,
    damaged: Option<String>,
    epoch: u64,
    writer: String,
    revision: u64,
    state_bytes: Option<u64>,
    outbox: u32,
    reminders: Vec<ReminderView>,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let mut client = admin::connect(global).await?;
    let info = client.inspect_key(KeyRequest { actor: args.target.to_string() }).await?.into_inner();
    global.output.print(&View::from(info), text)
}

impl From<KeyInfo> for View {
    fn from(info: KeyInfo) -> Self {
        let KeyInfo {
            actor,
            shard,
            owner,
            owner_id,
            owner_epoch,
            next_owner,
            awake,
            messages,
            letters,
            record,
        } = info;
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let owner = some(owner).map(|node| Owner { node, id: owner_id, epoch: owner_epoch });
        let record = record.map(|record| Record {
            size: record.size,
            written_ms: record.written_ms,
            damaged: some(record.damaged),
            epoch: record.epoch,
            writer: record.writer,
            revision: record.revision,
            state_bytes: record.state_bytes,
            outbox: record.outbox,
            reminders: reminders(record.reminders),
        });
        Self { actor, shard, owner, next_owner: some(next_owner), awake, messages, letters, record }
    }
}

fn text(view: &View) -> String {
    let mut lines = vec![view.actor.clone()];
    let mut add = |name: &str, value: String| lines.push(format!("{name:<11}{value}"));
    let moving =
        view.next_owner.as_ref().map(|next| format!("; it is handed over to {next}")).unwrap_or_default();
    add(
        "owner",
        match &view.owner {
            Some(Owner { node, epoch, .. }) => {
                format!("{node}, of shard {} in epoch {epoch}{moving}", view.shard)
            }
            None => format!("nobody owns shard {} at the moment", view.shard),
        },
    );
    add(
        "awake",
        match (view.awake, view.messages) {
            (Some(true), messages) => format!("yes, with {} messages", messages.unwrap_or(0)),
            (Some(false), _) => "no".to_owned(),
            (None, _) => "its owner does not say".to_owned(),
        },
    );
    add("mailbox", format!("{} letters", view.letters));
    let Some(record) = &view.record else {
        add("record", "none".to_owned());
        return lines.join("\n");
    };
    let written = ago(record.written_ms);
    if let Some(reason) = &record.damaged {
        add("record", format!("{} bytes, written {written}, which cannot be read: {reason}", record.size));
        return lines.join("\n");
    }
    add("record", format!("revision {} in epoch {}, written {written}", record.revision, record.epoch));
    let state = record.state_bytes.map_or_else(|| "none".to_owned(), |size| format!("{size} bytes"));
    add("state", format!("{state}, in a record of {} bytes", record.size));
    add("outbox", format!("{} letters", record.outbox));
    for reminder in &record.reminders {
        let ReminderView { id, due_ms, every_ms, cron, operation, .. } = reminder;
        let repeat = match (every_ms, cron) {
            (Some(ms), _) => format!(", and then every {ms} ms"),
            (_, Some(pattern)) => format!(", and then at `{pattern}`"),
            _ => String::new(),
        };
        add("reminder", format!("{id}: {operation}, due {}{repeat}", when(*due_ms)));
    }
    lines.join("\n")
}

/// A time for people.
fn when(ms: u64) -> String {
    let time = i64::try_from(ms / 1_000).ok().and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok());
    let shown = time.and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok());
    shown.unwrap_or_else(|| "never".to_owned())
}
