//! What nodes tell whoever watches the messages of an actor.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use crate::envelope::{Malformed, VERSION, check_version, decode, parse, wire};
use crate::event::text;
use crate::id::{ActorName, NodeName, Operation};
use crate::log::{cut, plain};

/// The most messages in one answer.
pub const MAX_MESSAGES: usize = 1_000;

/// The most messages in a second.
pub const MAX_RATE: u32 = 1_000;

/// The most names of fields that somebody may have hidden, and the longest of them in bytes.
pub const MAX_HIDDEN: usize = 64;

/// See [`MAX_HIDDEN`].
pub const MAX_FIELD: usize = 64;

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Who watches.
    pub id: u128,
    /// Messages of this actor.
    pub actor: ActorName,
    /// Only of this key.
    pub key: Option<Arc<str>>,
    /// Only this operation.
    pub operation: Option<Operation>,
    /// At most so many in a second.
    pub per_second: u32,
    /// Fields whose values are hidden, beside those that always are.
    pub hide: Vec<String>,
    /// How long to wait for one.
    pub wait_ms: u32,
    /// Whether the node was asked before.
    pub again: bool,
}

/// What one node saw since it was asked before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The node.
    pub node: NodeName,
    /// In the order in which they were answered.
    pub messages: Vec<Message>,
    /// Those that were too many.
    pub skipped: u64,
    /// Why it watches nothing, where it does not.
    pub refused: Option<String>,
}

/// One message and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When it came: milliseconds since 1970 in the time of the NATS server.
    pub at_ms: u64,
    /// Whose it is.
    pub actor: String,
    /// Of a keyed actor.
    pub key: Option<String>,
    /// What was asked.
    pub operation: String,
    /// The name of the calling actor.
    pub caller: Option<String>,
    /// `call`, `letter`, `reminder` or `timer`.
    pub cause: String,
    /// The same over all attempts.
    pub id: String,
    /// The trace that it is in.
    pub trace: Option<u128>,
    /// 1 on the first try.
    pub attempt: u32,
    /// The actor's.
    pub version: u64,
    /// From when it came to when it was answered.
    pub took_us: u64,
    /// The arguments.
    pub payload: Body,
    /// What came back; or the kind of the fault.
    pub outcome: Result<Body, String>,
}

/// The arguments of a message, or its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    /// Of all of it.
    pub bytes: u64,
    /// As the sender says.
    pub content_type: String,
    /// On one line, with what is to be hidden hidden; none where it is no JSON, or too large.
    pub json: Option<String>,
    /// Whether it was cut.
    pub cut: bool,
}

impl Query {
    /// As bytes for the wire.
    pub fn encode(&self) -> Bytes {
        let query = wire::TapQuery {
            version: VERSION,
            id: Bytes::copy_from_slice(&self.id.to_be_bytes()),
            actor: self.actor.to_string(),
            key: self.key.as_deref().unwrap_or_default().to_owned(),
            operation: self.operation.as_ref().map(Operation::to_string).unwrap_or_default(),
            per_second: self.per_second,
            hide: self.hide.clone(),
            wait_ms: self.wait_ms,
            again: self.again,
        };
        query.encode_to_vec().into()
    }

    /// From the wire.
    ///
    /// # Errors
    /// When the bytes are no query of a version that this node answers, or ask for more than anybody may.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let query: wire::TapQuery = decode(bytes)?;
        check_version(query.version)?;
        let id = query.id[..].try_into().map_err(|_| Malformed::field("id", "not 16 bytes"))?;
        if query.hide.len() > MAX_HIDDEN || query.hide.iter().any(|field| field.len() > MAX_FIELD) {
            return Err(Malformed::field("hide", format!("more than {MAX_HIDDEN} fields, or too long ones")));
        }
        if query.per_second > MAX_RATE {
            return Err(Malformed::field("per_second", format!("more than {MAX_RATE}")));
        }
        let operation = match query.operation.as_str() {
            "" => None,
            operation => Some(parse("operation", operation)?),
        };
        Ok(Self {
            id: u128::from_be_bytes(id),
            actor: parse("actor", &query.actor)?,
            key: Some(query.key).filter(|key| !key.is_empty()).map(Arc::from),
            operation,
            per_second: query.per_second,
            hide: query.hide,
            wait_ms: query.wait_ms,
            again: query.again,
        })
    }
}

impl Seen {
    /// As bytes for the wire. The messages are encoded already, each by itself.
    pub fn encode(&self, messages: Vec<Bytes>) -> Bytes {
        let seen = wire::TapSeen {
            version: VERSION,
            node: self.node.to_string(),
            messages,
            skipped: self.skipped,
            refused: self.refused.clone().unwrap_or_default(),
        };
        seen.encode_to_vec().into()
    }

    /// From the wire.
    ///
    /// # Errors
    /// When the bytes are no answer of a version that this node reads.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let seen: wire::TapSeen = decode(bytes)?;
        check_version(seen.version)?;
        if seen.messages.len() > MAX_MESSAGES {
            return Err(Malformed::field("messages", format!("more than {MAX_MESSAGES}")));
        }
        let count = seen.messages.len();
        let messages: Vec<Message> =
            seen.messages.into_iter().filter_map(|message| Message::decode(message).ok()).collect();
        Ok(Self {
            node: parse("node", &seen.node)?,
            // One that cannot be read costs no other.
            skipped: seen.skipped.saturating_add((count - messages.len()) as u64),
            messages,
            refused: Some(plain(cut(&seen.refused, 256))).filter(|why| !why.is_empty()),
        })
    }
}

impl Message {
    /// As bytes for the wire.
    pub fn encode(self) -> Bytes {
        let (answer, fault) = match self.outcome {
            Ok(answer) => (Some(body_to_wire(answer)), String::new()),
            Err(kind) => (None, kind),
        };
        let message = wire::TapMessage {
            at_ms: self.at_ms,
            actor: self.actor,
            key: self.key.unwrap_or_default(),
            operation: self.operation,
            caller: self.caller.unwrap_or_default(),
            cause: self.cause,
            message_id: self.id,
            trace_id: self.trace.map(|id| Bytes::copy_from_slice(&id.to_be_bytes())).unwrap_or_default(),
            attempt: self.attempt,
            actor_version: self.version,
            took_us: self.took_us,
            payload: Some(body_to_wire(self.payload)),
            answer,
            fault,
        };
        message.encode_to_vec().into()
    }

    fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::TapMessage = decode(bytes)?;
        // Whatever another node says ends up on terminals, and none of these goes on over another line.
        let some = |line: String| Some(text(&line)).filter(|text| !text.is_empty());
        let trace = match &message.trace_id[..] {
            [] => None,
            id => {
                let id = id.try_into().map_err(|_| Malformed::field("trace_id", "not 16 bytes"))?;
                Some(u128::from_be_bytes(id))
            }
        };
        let outcome = match (message.answer, some(message.fault)) {
            (Some(answer), None) => Ok(body(answer)),
            (_, Some(kind)) => Err(kind),
            (None, None) => return Err(Malformed::field("answer", "neither an answer nor a fault")),
        };
        Ok(Self {
            at_ms: message.at_ms,
            actor: text(&message.actor),
            key: some(message.key),
            operation: text(&message.operation),
            caller: some(message.caller),
            cause: text(&message.cause),
            id: text(&message.message_id),
            trace,
            attempt: message.attempt,
            version: message.actor_version,
            took_us: message.took_us,
            payload: message.payload.map(body).unwrap_or_default(),
            outcome,
        })
    }
}

fn body_to_wire(body: Body) -> wire::TapBody {
    let Body { bytes, content_type, json, cut } = body;
    wire::TapBody { bytes, content_type, json: json.unwrap_or_default(), cut }
}

fn body(body: wire::TapBody) -> Body {
    Body {
        bytes: body.bytes,
        content_type: text(&body.content_type),
        json: Some(plain(&body.json)).filter(|json| !json.is_empty()),
        cut: body.cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> Query {
        Query {
            id: 7 << 90,
            actor: "cart".parse().unwrap(),
            key: Some("alice".into()),
            operation: Some("add".parse().unwrap()),
            per_second: 5,
            hide: vec!["email".to_owned()],
            wait_ms: 100,
            again: true,
        }
    }

    fn message(outcome: Result<Body, String>) -> Message {
        let json = Some(r#"{"sku":"tea"}"#.to_owned());
        Message {
            at_ms: 5,
            actor: "cart".to_owned(),
            key: Some("alice".to_owned()),
            operation: "add".to_owned(),
            caller: None,
            cause: "call".to_owned(),
            id: "m1".to_owned(),
            trace: Some(9),
            attempt: 1,
            version: 3,
            took_us: 700,
            payload: Body { bytes: 13, content_type: "application/json".to_owned(), json, cut: false },
            outcome,
        }
    }

    #[test]
    fn queries_and_what_is_seen_cross_the_wire() {
        assert_eq!(Query::decode(query().encode()), Ok(query()));
        let all = Query { key: None, operation: None, ..query() };
        assert_eq!(Query::decode(all.encode()), Ok(all));
        let messages = vec![message(Ok(Body::default())), message(Err("rejected".to_owned()))];
        let seen =
            Seen { node: "n1".parse().unwrap(), messages: messages.clone(), skipped: 4, refused: None };
        let encoded = messages.into_iter().map(Message::encode).collect();
        assert_eq!(Seen::decode(seen.encode(encoded)), Ok(seen));
    }

    #[test]
    fn what_is_hostile_is_refused_or_made_plain() {
        let many = Query { hide: vec!["x".to_owned(); MAX_HIDDEN + 1], ..query() };
        assert!(Query::decode(many.encode()).is_err());
        let long = Query { hide: vec!["x".repeat(MAX_FIELD + 1)], ..query() };
        assert!(Query::decode(long.encode()).is_err());
        let colourful = Message { caller: Some("a\u{1b}[31m\nb".to_owned()), ..message(Err("x".to_owned())) };
        let read = Message::decode(colourful.encode()).unwrap();
        assert_eq!(read.caller.as_deref(), Some("a [31m b"));
        assert!(Message::decode(Bytes::from_static(b"\xff")).is_err());
    }
}
