//! Reads what `export` has printed, and puts it back.

use std::fs::File;
use std::io::{BufRead, BufReader};

use bytes::Bytes;
use data_encoding::BASE64;
use lattice_proto::admin::{self as api, PutStateRequest};
use lattice_proto::{ActorId, ActorName, Ran};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::JoinSet;

use super::ReminderView;
use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;
use crate::progress::Progress;

/// Keys that are written at once.
const AT_ONCE: usize = 16;

/// How often a key is tried that is on its way from one node to another.
const TIMEOUT_MS: u64 = 30_000;

/// One line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    /// Of the record that was exported; it says nothing of the one that is written.
    #[serde(default, rename = "revision")]
    _revision: u64,
    #[serde(default, deserialize_with = "raw")]
    state: Option<Box<RawValue>>,
    #[serde(default)]
    state_base64: Option<String>,
    #[serde(default)]
    reminders: Vec<ReminderView>,
}

/// What is there, be it `null`.
pub(super) fn raw<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

/// Imports all lines of a file; gives their number.
pub(super) async fn run(actor: &ActorName, file: &str, global: &Global) -> Result<u64, Failure> {
    let requests = read(actor, file)?;
    let (client, total) = (admin::connect(global).await?, requests.len() as u64);
    let mut progress = Progress::new(global.output, "keys");
    let (mut done, mut writes) = (0, JoinSet::new());
    let mut requests = requests.into_iter();
    loop {
        while writes.len() < AT_ONCE
            && let Some(request) = requests.next()
        {
            let mut client = client.clone();
            writes.spawn(async move {
                let key = request.actor.clone();
                client.put_state(request).await.map_err(|status| (key, Failure::from(status)))
            });
        }
        match writes.join_next().await {
            None => return Ok(done),
            Some(Ok(Ok(_))) => done += 1,
            Some(Ok(Err((key, failure)))) => {
                let told = format!(
                    "`{key}`: {}; {done} of {total} keys were written before, and it does no harm to import all once more",
                    failure.message
                );
                return Err(Failure::new(&failure.kind, Ran::Maybe, told));
            }
            Some(Err(panicked)) => return Err(anyhow::Error::from(panicked).into()),
        }
        progress.update(done, total, "");
    }
}

/// What is to be written. All of it is read first: a file with a mistake in it changes nothing.
fn read(actor: &ActorName, file: &str) -> Result<Vec<PutStateRequest>, Failure> {
    let open = |file| File::open(file).map(BufReader::new);
    let input: Box<dyn BufRead> = match file {
        "-" => Box::new(BufReader::new(std::io::stdin())),
        file => {
            Box::new(open(file).map_err(|error| Failure::usage(format!("{file} cannot be read: {error}")))?)
        }
    };
    let mut requests = Vec::new();
    for (line, number) in input.lines().zip(1..) {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |problem: String| Failure::usage(format!("{file}:{number}: {problem}"));
        let line: Line = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        requests.push(request(actor, line).map_err(wrong)?);
    }
    Ok(requests)
}

fn request(actor: &ActorName, line: Line) -> Result<PutStateRequest, String> {
    let Line { key, state, state_base64, reminders, .. } = line;
    let actor: ActorId = format!("{actor}/{key}").parse().map_err(|error| format!("{error}"))?;
    let state = bytes(state, state_base64)?;
    if state.is_none() && reminders.is_empty() {
        return Err("neither `state` nor `state_base64` is there, nor any reminders".to_owned());
    }
    let reminder = |view: ReminderView| {
        let ReminderView { id, due_ms, every_ms, cron, operation, payload, payload_base64, content_type } =
            view;
        Ok::<_, String>(api::Reminder {
            id,
            due_ms,
            every_ms: every_ms.unwrap_or(0),
            cron: cron.unwrap_or_default(),
            operation,
            payload: bytes(payload, payload_base64)?.unwrap_or_default(),
            content_type,
        })
    };
    let reminders = reminders.into_iter().map(reminder).collect::<Result<_, _>>()?;
    Ok(PutStateRequest {
        actor: actor.to_string(),
        state,
        if_revision: None,
        reminders: Some(api::Reminders { reminders }),
        timeout_ms: TIMEOUT_MS,
    })
}

fn bytes(json: Option<Box<RawValue>>, base64: Option<String>) -> Result<Option<Bytes>, String> {
    match (json, base64) {
        (None, None) => Ok(None),
        (Some(json), None) => Ok(Some(json.get().to_owned().into())),
        (None, Some(base64)) => {
            let decoded = BASE64.decode(base64.as_bytes());
            decoded.map(|bytes| Some(bytes.into())).map_err(|error| format!("it is no Base64: {error}"))
        }
        (Some(_), Some(_)) => Err("the same is there both as JSON and as Base64".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Result<PutStateRequest, String> {
        let line = serde_json::from_str(line).map_err(|error| error.to_string())?;
        request(&"cart".parse().unwrap(), line)
    }

    #[test]
    fn what_was_exported_comes_back_byte_for_byte() {
        let request = read_line(r#"{"key":"a/b","revision":3,"state":{"b": 1.10},"reminders":[{"id":"x","due_ms":9,"cron":"* * * * *","operation":"ring","payload_base64":"/w=="}]}"#).unwrap();
        assert_eq!(
            (request.actor.as_str(), request.state.as_deref()),
            ("cart/a/b", Some(&b"{\"b\": 1.10}"[..]))
        );
        let reminders = request.reminders.unwrap().reminders;
        assert_eq!((reminders.len(), &reminders[0].payload[..]), (1, &[0xff][..]));
        let state = |line| read_line(line).unwrap().state;
        assert_eq!(state(r#"{"key":"a","state_base64":"ewp9"}"#).as_deref(), Some(&b"{\n}"[..]));
        assert_eq!(state(r#"{"key":"a","state":null}"#).as_deref(), Some(&b"null"[..]));
        let reminded = r#"{"key":"a","reminders":[{"id":"x","due_ms":9,"operation":"ring"}]}"#;
        assert_eq!(state(reminded), None, "a key may have reminders and keep nothing");
    }

    #[test]
    fn lines_that_say_nothing_or_two_things_are_refused() {
        for line in [
            "{}",
            r#"{"key":"a"}"#,
            r#"{"key":"","state":1}"#,
            r#"{"key":"a","state":1,"state_base64":"ewp9"}"#,
            r#"{"key":"a","state_base64":"?"}"#,
            r#"{"key":"a","state":1,"more":2}"#,
        ] {
            assert!(read_line(line).is_err(), "{line}");
        }
    }
}
