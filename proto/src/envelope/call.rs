//! Calls on their way to a node.

use std::time::Duration;

use bytes::Bytes;

use super::aim::Aim;
use super::{
    ContentType, Entry, MAX_TOGETHER, Malformed, TraceContext, VERSION, check_version, decode, entry, parse,
    wire,
};
use crate::id::{ActorId, Incarnation, MessageId, Operation};

/// The longest call chain. Longer ones are loops that no deadline has ended yet.
pub const MAX_CHAIN: usize = 64;

/// The numbers of `Calls.calls` and `Call.payload` in the .proto file.
const CALLS: u8 = 4;
const PAYLOAD: u8 = 4;

/// What stands before the operation of a call that is for an exported function. No operation can have it, so that a node that does not know
/// such calls refuses them, and does not take them for messages to a handler.
const EXPORTED: &str = ".";

/// Calls that travel together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calls {
    version: u32,
    /// The incarnation that asks, and to whose inbox the replies go.
    pub origin: Incarnation,
    first: u64,
    calls: Vec<Bytes>,
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
    /// Which version is to take it.
    pub side: Side,
    /// When nobody may take it any more, in milliseconds since 1970 in the time of the NATS server: it comes from an actor
    /// that may have another owner by then.
    pub not_after_ms: Option<u64>,
    /// What is to be done with it.
    pub aim: Aim,
}

/// Which versions of an actor a call is for, while one of them is tried with a part of the calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Side {
    /// Any of them.
    #[default]
    Any,
    /// The one that is tried.
    Only(u64),
    /// All but the one that is tried.
    Not(u64),
}

impl Side {
    /// Whether a version is on it.
    pub fn has(self, version: u64) -> bool {
        match self {
            Side::Any => true,
            Side::Only(only) => version == only,
            Side::Not(not) => version != not,
        }
    }
}

impl Calls {
    /// Calls that were encoded by [`Call::encode`], numbered from `first` on, as bytes for the wire.
    pub fn encode(origin: &Incarnation, first: u64, calls: &[Entry]) -> Bytes {
        let origin = origin.as_str().to_owned();
        entry::frame(&wire::Calls { version: VERSION, origin, first, calls: Vec::new() }, CALLS, calls)
    }

    /// From the wire. The entries share the given buffer.
    ///
    /// # Errors
    /// When the bytes are no such frame. What is wrong with its version or with one call comes with that call, so that
    /// each can be answered.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let wire::Calls { version, origin, first, calls } = decode(bytes)?;
        if calls.len() > MAX_TOGETHER {
            return Err(Malformed::field("calls", "more than 256"));
        }
        if first.checked_add(MAX_TOGETHER as u64).is_none() {
            return Err(Malformed::field("first", "too large"));
        }
        Ok(Self { version, origin: parse("origin", &origin)?, first, calls })
    }

    /// Each call with its number.
    pub fn read(self) -> impl Iterator<Item = (u64, Result<Call, Malformed>)> {
        let version = self.version;
        let call = move |bytes| check_version(version).and_then(|()| Call::decode(bytes));
        (self.first..).zip(self.calls.into_iter().map(call))
    }
}

impl Call {
    /// As an entry of [`Calls`].
    pub fn encode(&self) -> Entry {
        let message = wire::Call {
            id: self.id.as_str().to_owned(),
            target: self.target.to_string(),
            operation: match &self.aim {
                Aim::Link(_) => format!("{EXPORTED}{}", self.operation),
                _ => self.operation.as_str().to_owned(),
            },
            payload: Bytes::new(),
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
            version: match self.side {
                Side::Any => None,
                Side::Only(version) => Some(wire::call::Version::OnlyVersion(version)),
                Side::Not(version) => Some(wire::call::Version::NotVersion(version)),
            },
            not_after_ms: self.not_after_ms,
            aim: self.aim.to_wire(),
        };
        Entry::with_payload(&message, PAYLOAD, self.payload.clone())
    }

    /// From an entry of [`Calls`]. The payload shares the given buffer.
    ///
    /// # Errors
    /// When the bytes are no call, or any field is invalid.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::Call = decode(bytes)?;
        if message.chain.len() > MAX_CHAIN {
            return Err(Malformed::field("chain", "longer than 64 calls"));
        }
        let hop = |hop: &wire::Hop| {
            Ok(Hop {
                actor: parse("chain.actor", &hop.actor)?,
                message: parse("chain.message", &hop.message)?,
            })
        };
        let aim = Aim::from_wire(message.aim)?;
        let operation = match &aim {
            Aim::Link(_) => message.operation.strip_prefix(EXPORTED).unwrap_or_default(),
            _ => &message.operation,
        };
        Ok(Self {
            id: parse("id", &message.id)?,
            target: parse("target", &message.target)?,
            operation: parse("operation", operation)?,
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
            side: match message.version {
                None => Side::Any,
                Some(wire::call::Version::OnlyVersion(version)) => Side::Only(version),
                Some(wire::call::Version::NotVersion(version)) => Side::Not(version),
            },
            not_after_ms: message.not_after_ms,
            aim,
        })
    }
}
