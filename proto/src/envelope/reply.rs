//! Replies on their way back: payloads and typed faults.

use bytes::Bytes;

use super::{Entry, MAX_TOGETHER, Malformed, VERSION, check_version, decode, entry, parse, wire};
use crate::fault::{Fault, Ran, Rejection};
use crate::id::Incarnation;

/// The numbers of `Replies.replies` and `Reply.payload` in the .proto file.
const REPLIES: u8 = 3;
const PAYLOAD: u8 = 2;

/// Replies that travel together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replies {
    /// The incarnation that answers.
    pub origin: Incarnation,
    replies: Vec<Bytes>,
}

/// The answer to a [`Call`](super::Call).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Of the call.
    pub number: u64,
    /// What came of it.
    pub outcome: Result<Bytes, Fault>,
    /// Messages waiting in and before the actor's replicas there; 0 where it was not asked.
    pub load: u32,
    /// Whether spans of the call are kept there, although its trace was not chosen when it began.
    pub kept: bool,
}

impl Replies {
    /// Replies that were encoded by [`Reply::encode`], as bytes for the wire.
    pub fn encode(origin: &Incarnation, replies: &[Entry]) -> Bytes {
        let origin = origin.as_str().to_owned();
        entry::frame(&wire::Replies { version: VERSION, origin, replies: Vec::new() }, REPLIES, replies)
    }

    /// From the wire. The entries share the given buffer.
    ///
    /// # Errors
    /// When the bytes are no such frame, or of a version that this node does not read.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let wire::Replies { version, origin, replies } = decode(bytes)?;
        check_version(version)?;
        if replies.len() > MAX_TOGETHER {
            return Err(Malformed::field("replies", "more than 256"));
        }
        Ok(Self { origin: parse("origin", &origin)?, replies })
    }

    /// Each reply.
    pub fn read(self) -> impl Iterator<Item = Result<Reply, Malformed>> {
        self.replies.into_iter().map(Reply::decode)
    }
}

impl Reply {
    /// As an entry of [`Replies`].
    pub fn encode(&self) -> Entry {
        let message =
            |outcome| wire::Reply { number: self.number, outcome, load: self.load, kept: self.kept };
        match &self.outcome {
            Ok(payload) => Entry::with_payload(&message(None), PAYLOAD, payload.clone()),
            Err(fault) => Entry::plain(&message(Some(wire::reply::Outcome::Fault(fault_to_wire(fault))))),
        }
    }

    /// From an entry of [`Replies`]. The payload shares the given buffer.
    ///
    /// # Errors
    /// When the bytes are no reply.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::Reply = decode(bytes)?;
        let outcome = match message.outcome {
            Some(wire::reply::Outcome::Payload(payload)) => Ok(payload),
            Some(wire::reply::Outcome::Fault(fault)) => Err(fault_from_wire(fault)),
            None => return Err(Malformed::field("outcome", "missing")),
        };
        Ok(Self { number: message.number, outcome, load: message.load, kept: message.kept })
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
