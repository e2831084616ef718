//! What one node says to another: a call, its reply, a cancellation, a suspicion.
//!
//! ```text
//! caller's router ── Call ──▶ inbox of the node that runs the target
//!                 ◀─ Reply ──  a payload, or a typed fault
//!                 ── Cancel ─▶ when the caller gave up before the reply
//! ```
//!
//! The types here are parsed: whoever holds a [`Call`] holds valid names and bounded fields. A node reads its own
//! [`VERSION`] and the one before; fields that it does not know are skipped, as protobuf does.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use crate::fault::{Fault, Ran, Rejection};
use crate::id::{ActorId, Incarnation, MessageId, Operation};

#[allow(missing_docs, clippy::unwrap_used, reason = "generated; the .proto file carries the documentation")]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/lattice.wire.v1.rs"));
}

mod trace;

pub use trace::{TraceContext, TraceParent};

/// The version that this node writes.
pub const VERSION: u32 = 1;

/// The oldest version that this node reads: the one before its own, once there is one.
pub const OLDEST_VERSION: u32 = 1;

/// The longest call chain. Longer ones are loops that no deadline has ended yet.
pub const MAX_CHAIN: usize = 64;

/// The longest content type, in bytes.
pub const MAX_CONTENT_TYPE: usize = 128;

/// Why bytes are no envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not protobuf, or not of the expected shape.
    #[error("not an envelope: {0}")]
    Encoding(String),
    /// From a node that is too new or too old.
    #[error("envelope version {0} is not understood (this node reads {OLDEST_VERSION} to {VERSION})")]
    Version(u32),
    /// A field that must be there and valid is not.
    #[error("invalid envelope field `{field}`: {reason}")]
    Field {
        /// Its name in the .proto file.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Malformed {
    fn field(field: &'static str, reason: impl ToString) -> Self {
        Self::Field { field, reason: reason.to_string() }
    }
}

/// How a payload is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ContentType {
    /// `application/json`
    #[default]
    Json,
    /// `application/protobuf`
    Protobuf,
    /// Anything else that two actors agree on.
    Other(Box<str>),
}

impl ContentType {
    /// As in a `Content-Type` header.
    pub fn as_str(&self) -> &str {
        match self {
            ContentType::Json => "application/json",
            ContentType::Protobuf => "application/protobuf",
            ContentType::Other(other) => other,
        }
    }

    /// Reads a header; empty means JSON.
    ///
    /// # Errors
    /// When it is too long or holds anything but visible ASCII and spaces.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        match text {
            "" | "application/json" => Ok(ContentType::Json),
            "application/protobuf" => Ok(ContentType::Protobuf),
            other if other.len() <= MAX_CONTENT_TYPE && other.bytes().all(|b| (0x20..0x7f).contains(&b)) => {
                Ok(ContentType::Other(other.into()))
            }
            _ => Err(Malformed::field("content_type", "expected at most 128 visible ASCII characters")),
        }
    }
}

/// One call in a chain: which actor was entered, by which message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The actor that was entered.
    pub actor: ActorId,
    /// The message that entered it.
    pub message: MessageId,
}

/// One attempt of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The same over all attempts.
    pub id: MessageId,
    /// Whom it is for.
    pub target: ActorId,
    /// What is asked.
    pub operation: Operation,
    /// The arguments.
    pub payload: Bytes,
    /// How the payload is written.
    pub content_type: ContentType,
    /// Milliseconds since 1970 in the time of the NATS server.
    pub deadline_ms: u64,
    /// What was left of the deadline when this attempt was sent.
    pub remaining: Duration,
    /// Attempts that may still follow this one.
    pub retry_budget: u32,
    /// The calls that led here, outermost first.
    pub chain: Vec<Hop>,
    /// The span that this attempt belongs to.
    pub trace: Option<TraceContext>,
    /// 1 on the first try.
    pub attempt: u32,
    /// The calling actor, if it was one.
    pub caller: Option<ActorId>,
    /// The incarnation that asks.
    pub origin: Incarnation,
}

/// The answer to a [`Call`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What came of it.
    pub outcome: Result<Bytes, Fault>,
    /// Messages waiting in and before the replica that answered; 0 where none did.
    pub load: u32,
}

/// The caller gave up on one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    /// Of the call.
    pub id: MessageId,
    /// Of the call.
    pub attempt: u32,
}

/// A node that stopped answering, as seen by whoever called it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspicion {
    /// The node in question.
    pub incarnation: Incarnation,
}

fn check_version(version: u32) -> Result<(), Malformed> {
    if (OLDEST_VERSION..=VERSION).contains(&version) { Ok(()) } else { Err(Malformed::Version(version)) }
}

fn decode<M: Message + Default>(bytes: impl bytes::Buf) -> Result<M, Malformed> {
    M::decode(bytes).map_err(|error| Malformed::Encoding(error.to_string()))
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &'static str,
    text: &str,
) -> Result<T, Malformed> {
    text.parse().map_err(|error: T::Err| Malformed::field(field, error))
}

impl Call {
    /// As bytes for the wire.
    pub fn encode(&self) -> Bytes {
        let message = wire::Call {
            version: VERSION,
            id: self.id.as_str().to_owned(),
            target: self.target.to_string(),
            operation: self.operation.as_str().to_owned(),
            payload: self.payload.clone(),
            // The common type stays off the wire.
            content_type: match &self.content_type {
                ContentType::Json => String::new(),
                other => other.as_str().to_owned(),
            },
            deadline_ms: self.deadline_ms,
            remaining_ms: u64::try_from(self.remaining.as_millis()).unwrap_or(u64::MAX),
            retry_budget: self.retry_budget,
            chain: self
                .chain
                .iter()
                .map(|hop| wire::Hop {
                    actor: hop.actor.to_string(),
                    message: hop.message.as_str().to_owned(),
                })
                .collect(),
            trace: self.trace.as_ref().map(|trace| wire::TraceContext {
                traceparent: trace.parent.to_string(),
                tracestate: trace.state.as_deref().unwrap_or_default().to_owned(),
            }),
            attempt: self.attempt,
            caller: self.caller.as_ref().map(ToString::to_string).unwrap_or_default(),
            origin: self.origin.as_str().to_owned(),
        };
        message.encode_to_vec().into()
    }

    /// From the wire. The payload shares the given buffer.
    ///
    /// # Errors
    /// When the bytes are no call of a version that this node reads, or any field is invalid.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::Call = decode(bytes)?;
        check_version(message.version)?;
        if message.chain.len() > MAX_CHAIN {
            return Err(Malformed::field("chain", "longer than 64 calls"));
        }
        let hop = |hop: &wire::Hop| {
            Ok(Hop {
                actor: parse("chain.actor", &hop.actor)?,
                message: parse("chain.message", &hop.message)?,
            })
        };
        Ok(Self {
            id: parse("id", &message.id)?,
            target: parse("target", &message.target)?,
            operation: parse("operation", &message.operation)?,
            payload: message.payload,
            content_type: ContentType::parse(&message.content_type)?,
            deadline_ms: message.deadline_ms,
            remaining: Duration::from_millis(message.remaining_ms),
            retry_budget: message.retry_budget,
            chain: message.chain.iter().map(hop).collect::<Result<_, _>>()?,
            // A trace that cannot be read is no reason to refuse work: the call then starts a trace of its own.
            trace: message.trace.and_then(|trace| TraceContext::parse(&trace.traceparent, &trace.tracestate)),
            attempt: message.attempt.max(1),
            caller: match message.caller.as_str() {
                "" => None,
                caller => Some(parse("caller", caller)?),
            },
            origin: parse("origin", &message.origin)?,
        })
    }
}

impl Reply {
    /// As bytes for the wire.
    pub fn encode(&self) -> Bytes {
        let outcome = match &self.outcome {
            Ok(payload) => wire::reply::Outcome::Payload(payload.clone()),
            Err(fault) => wire::reply::Outcome::Fault(fault_to_wire(fault)),
        };
        wire::Reply { version: VERSION, outcome: Some(outcome), load: self.load }.encode_to_vec().into()
    }

    /// From the wire. The payload shares the given buffer.
    ///
    /// # Errors
    /// When the bytes are no reply of a version that this node reads.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::Reply = decode(bytes)?;
        check_version(message.version)?;
        let outcome = match message.outcome {
            Some(wire::reply::Outcome::Payload(payload)) => Ok(payload),
            Some(wire::reply::Outcome::Fault(fault)) => Err(fault_from_wire(fault)),
            None => return Err(Malformed::field("outcome", "missing")),
        };
        Ok(Self { outcome, load: message.load })
    }
}

impl Cancel {
    /// As bytes for the wire.
    pub fn encode(&self) -> Bytes {
        let message =
            wire::Cancel { version: VERSION, id: self.id.as_str().to_owned(), attempt: self.attempt };
        message.encode_to_vec().into()
    }

    /// From the wire.
    ///
    /// # Errors
    /// When the bytes are no cancellation of a version that this node reads.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::Cancel = decode(bytes)?;
        check_version(message.version)?;
        Ok(Self { id: parse("id", &message.id)?, attempt: message.attempt })
    }
}

impl Suspicion {
    /// As bytes for the wire.
    pub fn encode(&self) -> Bytes {
        let message = wire::Suspicion { version: VERSION, incarnation: self.incarnation.as_str().to_owned() };
        message.encode_to_vec().into()
    }

    /// From the wire.
    ///
    /// # Errors
    /// When the bytes are no suspicion of a version that this node reads.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::Suspicion = decode(bytes)?;
        check_version(message.version)?;
        Ok(Self { incarnation: parse("incarnation", &message.incarnation)? })
    }
}

fn ran_to_wire(ran: Ran) -> i32 {
    let ran = match ran {
        Ran::No => wire::Ran::No,
        Ran::Maybe => wire::Ran::Maybe,
        Ran::Yes => wire::Ran::Yes,
    };
    ran.into()
}

/// What is not known is taken for the careful case: it may have run.
fn ran_from_wire(ran: i32) -> Ran {
    match wire::Ran::try_from(ran) {
        Ok(wire::Ran::No) => Ran::No,
        Ok(wire::Ran::Yes) => Ran::Yes,
        Ok(wire::Ran::Maybe | wire::Ran::Unspecified) | Err(_) => Ran::Maybe,
    }
}

fn fault_to_wire(fault: &Fault) -> wire::Fault {
    use wire::fault::Kind;
    let kind = match fault.clone() {
        Fault::NoSuchActor(text) => Kind::NoSuchActor(text),
        Fault::NoSuchOperation(text) => Kind::NoSuchOperation(text),
        Fault::NoReplica(text) => Kind::NoReplica(text),
        Fault::Overloaded(text) => Kind::Overloaded(text),
        Fault::NotHere { actor, revision } => Kind::NotHere(wire::NotHere { actor, revision }),
        Fault::Deadline(ran) => Kind::Deadline(ran_to_wire(ran)),
        Fault::Unknown(text) => Kind::Unknown(text),
        Fault::Deadlock(text) => Kind::Deadlock(text),
        Fault::Denied(text) => Kind::Denied(text),
        Fault::Trapped(text) => Kind::Trapped(text),
        Fault::Rejected(Rejection { code, message, details }) => {
            Kind::Rejected(wire::Rejection { code, message, details: details.unwrap_or_default() })
        }
        Fault::Cancelled(ran) => Kind::Cancelled(ran_to_wire(ran)),
        Fault::TooLarge { limit, size, ran } => {
            Kind::TooLarge(wire::TooLarge { limit, size, ran: ran_to_wire(ran) })
        }
        Fault::Malformed(text) => Kind::Malformed(text),
    };
    wire::Fault { kind: Some(kind) }
}

/// A fault of a kind that this version does not know means the same as none: the message may have run.
fn fault_from_wire(fault: wire::Fault) -> Fault {
    use wire::fault::Kind;
    match fault.kind {
        Some(Kind::NoSuchActor(text)) => Fault::NoSuchActor(text),
        Some(Kind::NoSuchOperation(text)) => Fault::NoSuchOperation(text),
        Some(Kind::NoReplica(text)) => Fault::NoReplica(text),
        Some(Kind::Overloaded(text)) => Fault::Overloaded(text),
        Some(Kind::NotHere(wire::NotHere { actor, revision })) => Fault::NotHere { actor, revision },
        Some(Kind::Deadline(ran)) => Fault::Deadline(ran_from_wire(ran)),
        Some(Kind::Unknown(text)) => Fault::Unknown(text),
        Some(Kind::Deadlock(text)) => Fault::Deadlock(text),
        Some(Kind::Denied(text)) => Fault::Denied(text),
        Some(Kind::Trapped(text)) => Fault::Trapped(text),
        Some(Kind::Rejected(wire::Rejection { code, message, details })) => Fault::Rejected(Rejection {
            code,
            message,
            details: Some(details).filter(|details| !details.is_empty()),
        }),
        Some(Kind::Cancelled(ran)) => Fault::Cancelled(ran_from_wire(ran)),
        Some(Kind::TooLarge(wire::TooLarge { limit, size, ran })) => {
            Fault::TooLarge { limit, size, ran: ran_from_wire(ran) }
        }
        Some(Kind::Malformed(text)) => Fault::Malformed(text),
        None => Fault::Unknown("the other node answered with a fault that this version does not know".into()),
    }
}

#[cfg(test)]
mod tests;
