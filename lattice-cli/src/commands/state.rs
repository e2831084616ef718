//! `lattice state`: what keys of keyed actors keep, read and written by operators.

mod import;

use clap::Subcommand;
use data_encoding::BASE64;
use lattice_proto::admin::{
    self as api, DeleteStateRequest, ExportStateRequest, KeyRequest, KeyState, PutStateRequest,
};
use lattice_proto::{ActorId, ActorName, Ran};
use serde::Serialize;
use serde_json::value::RawValue;

use super::call;
use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{self, Format};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print what a key keeps, as it is in the store
    Get {
        /// The key, such as cart/alice
        #[arg(value_name = "ACTOR/KEY")]
        target: ActorId,
    },
    /// Overwrite what a key keeps; its next turn sees it
    Put(PutArgs),
    /// Delete what a key keeps, and its reminders
    Delete {
        /// The key, such as cart/alice
        #[arg(value_name = "ACTOR/KEY")]
        target: ActorId,
        /// Only if its record is at this revision, as `lattice inspect` shows it
        #[arg(long, value_name = "REVISION")]
        if_revision: Option<u64>,
    },
    /// Print what all keys of an actor keep, and their reminders: a line of JSON for each
    Export {
        /// The actor
        actor: ActorName,
    },
    /// Overwrite what keys keep by what `export` has printed; other keys stay as they are
    Import {
        /// The actor
        actor: ActorName,
        /// Where the lines are; - is stdin
        #[arg(value_name = "FILE|-")]
        file: String,
    },
}

#[derive(Debug, clap::Args)]
pub struct PutArgs {
    /// The key, such as cart/alice
    #[arg(value_name = "ACTOR/KEY")]
    target: ActorId,
    /// What it is to keep: as JSON, in a file, or on stdin
    #[arg(value_name = "JSON|@FILE|-")]
    state: String,
    /// Only if its record is at this revision, as `lattice inspect` shows it
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    /// The state is no JSON; take its bytes as they are
    #[arg(long)]
    raw: bool,
}

/// What a key keeps, as `-o json` and `export` show it.
#[derive(Serialize)]
pub struct View {
    key: String,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Box<RawValue>>,
    /// Where it is not one line of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_base64: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reminders: Vec<ReminderView>,
}

/// A reminder as JSON.
#[derive(Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReminderView {
    pub id: String,
    pub due_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    pub operation: String,
    #[serde(default, deserialize_with = "import::raw", skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content_type: String,
}

/// What was done, as `-o json` shows it.
#[derive(Serialize)]
struct Done {
    keys: u64,
}

pub async fn run(command: Command, global: &Global) -> Result<(), Failure> {
    match command {
        Command::Get { target } => get(&target, global).await,
        Command::Put(args) => put(args, global).await,
        Command::Delete { target, if_revision } => {
            let mut client = admin::connect(global).await?;
            let request = DeleteStateRequest { actor: target.to_string(), if_revision, timeout_ms: 0 };
            client.delete_state(request).await.map_err(failed)?;
            global.output.print(&Done { keys: 1 }, |_| format!("deleted what {target} kept"))
        }
        Command::Export { actor } => export(&actor, global).await,
        Command::Import { actor, file } => {
            let keys = import::run(&actor, &file, global).await?;
            global.output.print(&Done { keys }, |done| format!("imported {} keys of {actor}", done.keys))
        }
    }
}

async fn get(target: &ActorId, global: &Global) -> Result<(), Failure> {
    let mut client = admin::connect(global).await?;
    let state = client.get_state(KeyRequest { actor: target.to_string() }).await?.into_inner();
    let state = undamaged(state)?;
    match (global.output, &state.state) {
        (Format::Json, _) => global.output.print(&View::from(state), |_| String::new()),
        (Format::Text, None) => Err(Failure::new(
            "no-state",
            Ran::No,
            format!("`{target}` keeps nothing; `lattice inspect {target}` tells what there is of it"),
        )),
        (Format::Text, Some(bytes)) => {
            output::bytes(bytes)?;
            if output::is_terminal() { output::bytes(b"\n") } else { Ok(()) }
        }
    }
}

async fn put(args: PutArgs, global: &Global) -> Result<(), Failure> {
    let PutArgs { target, state, if_revision, raw } = args;
    let state = call::read(Some(&state))?;
    if !raw {
        call::check(&state)?;
    }
    let mut client = admin::connect(global).await?;
    let request = PutStateRequest {
        actor: target.to_string(),
        state: Some(state.into()),
        if_revision,
        reminders: None,
        timeout_ms: 0,
    };
    client.put_state(request).await.map_err(failed)?;
    global.output.print(&Done { keys: 1 }, |_| format!("{target} keeps this from now on"))
}

async fn export(actor: &ActorName, global: &Global) -> Result<(), Failure> {
    let mut client = admin::connect(global).await?;
    let mut states = client.export_state(ExportStateRequest { actor: actor.to_string() }).await?.into_inner();
    let mut damaged = Vec::new();
    while let Some(state) = states.message().await? {
        if !state.damaged.is_empty() {
            damaged.push(state.actor);
            continue;
        }
        // Whoever was deleted is not there any more.
        if state.state.is_none() && state.reminders.is_empty() {
            continue;
        }
        let line = serde_json::to_string(&View::from(state)).map_err(anyhow::Error::from)?;
        if output::next_line(&line)?.is_break() {
            return Ok(());
        }
    }
    match damaged.as_slice() {
        [] => Ok(()),
        [first, others @ ..] => Err(Failure::new(
            "damaged",
            Ran::Yes,
            format!(
                "the record of `{first}`{} cannot be read, so that it is left out; `lattice inspect {first}` tells why",
                if others.is_empty() { String::new() } else { format!(", and of {} others,", others.len()) }
            ),
        )),
    }
}

fn undamaged(state: KeyState) -> Result<KeyState, Failure> {
    match state.damaged.as_str() {
        "" => Ok(state),
        reason => Err(Failure::new(
            "damaged",
            Ran::No,
            format!(
                "the record of `{}` cannot be read: {reason}; `lattice state put` or `delete` replaces it",
                state.actor
            ),
        )),
    }
}

fn failed(status: tonic::Status) -> Failure {
    Failure::from(status).of_message()
}

impl From<KeyState> for View {
    fn from(state: KeyState) -> Self {
        let KeyState { actor, revision, state, reminders: reminded, .. } = state;
        let key = actor.split_once('/').map_or(actor.as_str(), |(_, key)| key).to_owned();
        let (state, state_base64) = state.map_or((None, None), |state| shown(&state));
        Self { key, revision, state, state_base64, reminders: reminders(reminded) }
    }
}

/// Reminders as JSON shows them.
pub fn reminders(reminders: Vec<api::Reminder>) -> Vec<ReminderView> {
    let view = |reminder: api::Reminder| {
        let api::Reminder { id, due_ms, every_ms, cron, operation, payload, content_type } = reminder;
        let (payload, payload_base64) = match payload.is_empty() {
            true => (None, None),
            false => shown(&payload),
        };
        ReminderView {
            id,
            due_ms,
            every_ms: Some(every_ms).filter(|ms| *ms > 0),
            cron: Some(cron).filter(|pattern| !pattern.is_empty()),
            operation,
            payload,
            payload_base64,
            content_type: if content_type == "application/json" { String::new() } else { content_type },
        }
    };
    reminders.into_iter().map(view).collect()
}

/// Bytes as JSON, byte for byte, where they are that on one line; else as Base64.
fn shown(bytes: &[u8]) -> (Option<Box<RawValue>>, Option<String>) {
    let text =
        std::str::from_utf8(bytes).ok().filter(|text| !text.contains(['\n', '\r']) && text.trim() == *text);
    match text.and_then(|text| RawValue::from_string(text.to_owned()).ok()) {
        Some(json) => (Some(json), None),
        None => (None, Some(BASE64.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(state: &'static [u8]) -> String {
        let state = KeyState {
            actor: "cart/alice/2".into(),
            revision: 3,
            state: Some(state.into()),
            ..KeyState::default()
        };
        serde_json::to_string(&View::from(state)).unwrap()
    }

    #[test]
    fn json_is_shown_byte_for_byte_and_the_rest_as_base64() {
        assert_eq!(
            line(b"{\"b\": 1.10, \"a\":18446744073709551616}"),
            r#"{"key":"alice/2","revision":3,"state":{"b": 1.10, "a":18446744073709551616}}"#
        );
        assert_eq!(line(b"{\n}"), r#"{"key":"alice/2","revision":3,"state_base64":"ewp9"}"#);
        assert_eq!(line(b"\xff"), r#"{"key":"alice/2","revision":3,"state_base64":"/w=="}"#);
    }
}
