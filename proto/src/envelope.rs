//! What one node says to another: calls, their replies, cancellations; to the leader a suspicion, how busy actors are, or
//! that one is called of which nothing runs.
//!
//! ```text
//! caller's router ── Calls ───▶ inbox of the node that runs the targets
//!                 ◀─ Replies ── by number: a payload, or a typed fault
//!                 ── Cancel ──▶ when a caller gave up before the reply
//! ```
//!
//! Calls and replies travel in frames: what is there to be sent at the same moment goes together. A frame holds encoded
//! entries, so that one entry that cannot be read costs itself only. The frames' own fields never change their meaning,
//! so that a node can refuse what it does not understand to whoever sent it.
//!
//! The types here are parsed: whoever holds a [`Call`] holds valid names and bounded fields. A node reads its own
//! [`VERSION`] and the one before; fields that it does not know are skipped, as protobuf does.

use bytes::Bytes;
use prost::Message;

use crate::id::Incarnation;

#[allow(missing_docs, clippy::unwrap_used, reason = "generated; the .proto file carries the documentation")]
pub(crate) mod wire {
    include!(concat!(env!("OUT_DIR"), "/lattice.wire.v1.rs"));
}

mod aim;
mod call;
mod entry;
mod load;
mod reply;
mod trace;

pub use aim::{Aim, Link, Overwrite, Seen};
pub use call::{Call, Calls, Hop, MAX_CHAIN, Side};
pub use entry::Entry;
pub use load::{ActorLoad, LoadReport, MAX_LOADS, Wake};
pub use reply::{Replies, Reply};
pub use trace::{TraceContext, TraceParent};

/// The version that this node writes.
pub const VERSION: u32 = 1;

/// The oldest version that this node reads: the one before its own, once there is one.
pub const OLDEST_VERSION: u32 = 1;

/// The most entries in one frame. More gain nothing: by then the cost of a message is shared by many.
pub const MAX_TOGETHER: usize = 256;

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
    pub(crate) fn field(field: &'static str, reason: impl ToString) -> Self {
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

/// The callers gave up on some calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    /// The incarnation that asked.
    pub origin: Incarnation,
    /// Of the calls.
    pub numbers: Vec<u64>,
}

/// A node that stopped answering, as seen by whoever called it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspicion {
    /// The node in question.
    pub incarnation: Incarnation,
}

pub(crate) fn check_version(version: u32) -> Result<(), Malformed> {
    if (OLDEST_VERSION..=VERSION).contains(&version) { Ok(()) } else { Err(Malformed::Version(version)) }
}

pub(crate) fn decode<M: Message + Default>(bytes: impl bytes::Buf) -> Result<M, Malformed> {
    M::decode(bytes).map_err(|error| Malformed::Encoding(error.to_string()))
}

pub(crate) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &'static str,
    text: &str,
) -> Result<T, Malformed> {
    text.parse().map_err(|error: T::Err| Malformed::field(field, error))
}

impl Cancel {
    /// As bytes for the wire.
    pub fn encode(&self) -> Bytes {
        let (origin, numbers) = (self.origin.as_str().to_owned(), self.numbers.clone());
        let message = wire::Cancel { version: VERSION, origin, numbers };
        message.encode_to_vec().into()
    }

    /// From the wire.
    ///
    /// # Errors
    /// When the bytes are no cancellation of a version that this node reads.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::Cancel = decode(bytes)?;
        check_version(message.version)?;
        if message.numbers.len() > MAX_TOGETHER {
            return Err(Malformed::field("numbers", "more than 256"));
        }
        Ok(Self { origin: parse("origin", &message.origin)?, numbers: message.numbers })
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

#[cfg(test)]
mod tests;
