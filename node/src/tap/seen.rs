//! One message that somebody watches, from when it came until it is text.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lattice_proto::envelope::ContentType;
use lattice_proto::log::{cut, plain};
use lattice_proto::tap::{Body, Message};
use lattice_proto::{ActorId, Fault, MessageId, Operation};
use serde_json::Value;

use super::hide::{Fields, HIDDEN};
use super::watch::{Tap, Taps};

/// The largest arguments and answers that are looked into, in bytes.
const READ: usize = 64 << 10;

/// The longest text that is shown of one, in bytes.
const SHOWN: usize = 4 << 10;

/// A message that is being handled, for those who watch. Dropped without an answer, it was never there.
pub struct Tapped {
    taps: Taps,
    by: Vec<Arc<Tap>>,
    came: Instant,
    seen: Box<Seen>,
}

/// What is known of it.
pub(super) struct Seen {
    pub at_ms: u64,
    pub actor: ActorId,
    pub operation: Operation,
    pub caller: Option<Arc<str>>,
    pub cause: &'static str,
    pub id: MessageId,
    pub trace: Option<u128>,
    pub attempt: u32,
    pub version: u64,
    pub took_us: u64,
    pub content_type: ContentType,
    pub payload: Held,
    pub outcome: Result<Held, &'static str>,
}

/// Arguments or an answer.
#[derive(Default)]
pub(super) struct Held {
    bytes: u64,
    /// None where it is too large to be looked into: it is not held for that.
    all: Option<Bytes>,
}

impl Held {
    pub fn new(payload: &Bytes) -> Self {
        Self { bytes: payload.len() as u64, all: (payload.len() <= READ).then(|| payload.clone()) }
    }
}

impl Tapped {
    pub(super) fn new(taps: Taps, by: Vec<Arc<Tap>>, seen: Seen) -> Self {
        Self { taps, by, came: Instant::now(), seen: Box::new(seen) }
    }

    /// What came of it. Takes no longer than to hand it on. What another node took over is seen there.
    pub fn answered(mut self, answer: &Result<Bytes, Fault>) {
        if matches!(answer, Err(Fault::NotHere { .. })) {
            return;
        }
        self.seen.took_us = u64::try_from(self.came.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.seen.outcome = match answer {
            Ok(answer) => Ok(Held::new(answer)),
            Err(fault) => Err(fault.kind()),
        };
        self.taps.hand_on(self.by, self.seen);
    }
}

impl Seen {
    /// As text, without what is hidden.
    pub fn show(&self, fields: &Fields) -> Message {
        let operation = self.operation.as_str();
        let body = |held: &Held| show(held, &self.content_type, operation, fields);
        let key = self.actor.key.as_deref();
        Message {
            at_ms: self.at_ms,
            actor: self.actor.name.to_string(),
            key: key.map(|key| if fields.hide("key") { HIDDEN.to_owned() } else { plain(key) }),
            operation: operation.to_owned(),
            // Its key is somebody else's business.
            caller: self.caller.as_deref().map(|caller| plain(caller.split('/').next().unwrap_or_default())),
            cause: self.cause.to_owned(),
            id: self.id.to_string(),
            trace: self.trace,
            attempt: self.attempt,
            version: self.version,
            took_us: self.took_us,
            payload: body(&self.payload),
            outcome: match &self.outcome {
                Ok(answer) => Ok(body(answer)),
                Err(kind) => Err((*kind).to_owned()),
            },
        }
    }
}

fn show(held: &Held, content_type: &ContentType, operation: &str, fields: &Fields) -> Body {
    let mut body =
        Body { bytes: held.bytes, content_type: plain(content_type.as_str()), json: None, cut: false };
    let json = held.all.as_deref().filter(|all| !all.is_empty());
    // What says that it is something else may be JSON all the same, and is hidden in either case.
    let Some(mut json) = json.and_then(|all| serde_json::from_slice::<Value>(all).ok()) else { return body };
    fields.apply(operation, &mut json);
    let text = escaped(&json.to_string());
    let shown = cut(&text, SHOWN);
    body.cut = shown.len() < text.len();
    body.json = Some(shown.to_owned());
    body
}

/// JSON with those control characters escaped that JSON itself lets through: a terminal may take them for commands.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c.is_control() {
            // They can only be within texts.
            true => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(payload: &[u8]) -> Body {
        let held = Held::new(&Bytes::copy_from_slice(payload));
        show(&held, &ContentType::Json, "add", &Fields::new(&["email".to_owned()]))
    }

    #[test]
    fn json_is_shown_on_one_line_and_all_else_by_its_size() {
        let body = shown(b"{ \"sku\": \"tea\",\n \"email\": \"a@b\" }");
        assert_eq!(body.json.as_deref(), Some(r#"{"email":"…","sku":"tea"}"#));
        for other in [&b"\xff\xfe"[..], b"", b"no json"] {
            let body = shown(other);
            assert_eq!((body.json, body.bytes), (None, other.len() as u64));
        }
        let large = shown(format!("\"{}\"", "x".repeat(READ)).as_bytes());
        assert_eq!((large.json, large.bytes), (None, READ as u64 + 2));
        let long = shown(format!("\"{}\"", "é".repeat(SHOWN)).as_bytes());
        assert!(long.cut && long.json.is_some_and(|json| json.len() <= SHOWN));
    }

    #[test]
    fn nothing_that_is_shown_commands_a_terminal() {
        let body = shown("{\"a\":\"\u{9b}31m\\u001b[31m\u{7f}\"}".as_bytes());
        let json = body.json.unwrap();
        assert!(json.chars().all(|c| !c.is_control()), "{json}");
        let read: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["a"], "\u{9b}31m\u{1b}[31m\u{7f}", "it is the same JSON");
    }
}
