//! Letters: durable messages for which nobody waits, on their way from one actor to another.
//!
//! ```text
//! turn ── commit ─▶ outbox, in the sender's record ── post ─▶ mailbox stream ── deliver ─▶ turn ── commit ─▶ acknowledged
//!                                                                  └── nobody can handle it ─▶ dead letters
//! ```
//!
//! A letter is delivered at least once, and every copy of it carries the same [`Stamp`], by which a keyed receiver tells
//! that it has had its effect already.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::envelope::{ContentType, TraceContext, wire};
use crate::id::{ActorId, MessageId, Operation, Topic};

/// The version that this node writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// Why bytes are no letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not protobuf, or not of the expected shape.
    #[error("not a letter: {0}")]
    Encoding(String),
    /// Written by a later version of Lattice.
    #[error("letter version {0} is newer than this version of Lattice understands (up to {VERSION})")]
    Version(u32),
    /// A field that must be there and valid is not.
    #[error("invalid field `{0}` of a letter")]
    Field(&'static str),
}

/// Tells one sending key from every other: given to its record with its first letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin([u8; 16]);

/// The place of a letter among those of a keyed sender, which count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    /// The sender.
    pub origin: Origin,
    /// Grows with each letter, whomever it is for.
    pub number: u64,
}

/// A letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Unique in the lattice; the same in every copy.
    pub id: MessageId,
    /// Whom it is for.
    pub target: ActorId,
    /// What is told.
    pub operation: Operation,
    /// The arguments.
    pub payload: Bytes,
    /// How the payload is written.
    pub content_type: ContentType,
    /// The sending actor, if it was one.
    pub sender: Option<Arc<str>>,
    /// Where a keyed actor sent it.
    pub number: Option<Number>,
    /// The span that sent it.
    pub trace: Option<TraceContext>,
    /// When, in milliseconds since 1970 in the time of the NATS server.
    pub sent_ms: u64,
    /// The topic that it was published to, where it came by one.
    pub topic: Option<Topic>,
}

/// A letter that nobody could handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The letter.
    pub letter: Letter,
    /// Why, in one sentence.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it was given up, in milliseconds since 1970 in the time of the NATS server.
    pub at_ms: u64,
    /// The size of its payload in bytes, where that was too large to be kept with it; 0 where the letter is whole.
    pub left_out: u64,
}

/// One message of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// When the stream was created, in nanoseconds since 1970: one that is made anew counts anew.
    pub stream: u64,
    /// Its number there.
    pub sequence: u64,
}

/// What a receiver knows a letter by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Where this copy lies. One mailbox is read in its order.
    pub place: Place,
    /// Its number, or what stands for its id.
    pub name: Name,
}

/// By what two copies of a letter are known to be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// A keyed actor sent it.
    Number(Number),
    /// Somebody else did: the beginning of the hash of its id.
    Id([u8; 16]),
}

impl Origin {
    /// Of these bytes, which nobody has used before.
    pub fn new(unique: [u8; 16]) -> Self {
        Self(unique)
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    /// The id of a letter of this sender.
    pub fn letter(&self, number: u64) -> MessageId {
        let word = self.0.iter().fold(String::with_capacity(33), |word, byte| word + &format!("{byte:02x}"));
        // Letters, digits and a dash, and short enough.
        format!("{word}-{number:x}").parse().unwrap_or_else(|_| unreachable!("a letter's id is a word"))
    }
}

impl Letter {
    /// As bytes for a stream.
    pub fn encode(&self) -> Bytes {
        self.to_wire().encode_to_vec().into()
    }

    /// From a stream; the payload shares the given buffer.
    ///
    /// # Errors
    /// When the bytes are no letter, or one of a later version.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let letter = wire::Letter::decode(bytes).map_err(|error| Malformed::Encoding(error.to_string()))?;
        Self::from_wire(letter)
    }

    /// What tells it from others, where it lies.
    pub fn stamp(&self, place: Place) -> Stamp {
        let name = match self.number {
            Some(number) => Name::Number(number),
            None => {
                let mut id = [0; 16];
                id.copy_from_slice(&Sha256::digest(self.id.as_str())[..16]);
                Name::Id(id)
            }
        };
        Stamp { place, name }
    }

    pub(crate) fn to_wire(&self) -> wire::Letter {
        let trace = self.trace.as_ref();
        wire::Letter {
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
            sender: self.sender.as_deref().unwrap_or_default().to_owned(),
            number: self.number.map(|Number { origin, number }| wire::Numbered {
                origin: origin.bytes(),
                number,
                at_ms: 0,
            }),
            traceparent: trace.map(|trace| trace.parent.to_string()).unwrap_or_default(),
            tracestate: trace.and_then(|trace| trace.state.as_deref()).unwrap_or_default().to_owned(),
            sent_ms: self.sent_ms,
            topic: self.topic.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }

    pub(crate) fn from_wire(letter: wire::Letter) -> Result<Self, Malformed> {
        match letter.version {
            0 => return Err(Malformed::Field("version")),
            1..=VERSION => {}
            later => return Err(Malformed::Version(later)),
        }
        let number = |numbered: wire::Numbered| {
            let origin = Origin::read(&numbered.origin).filter(|_| numbered.number > 0);
            let origin = origin.ok_or(Malformed::Field("number"))?;
            Ok(Number { origin, number: numbered.number })
        };
        let sender = match letter.sender.as_str() {
            "" => None,
            sender => {
                // An actor's ID, or what those are called that come in from outside.
                sender.parse::<ActorId>().map_err(|_| Malformed::Field("sender"))?;
                Some(sender.into())
            }
        };
        Ok(Self {
            id: letter.id.parse().map_err(|_| Malformed::Field("id"))?,
            target: letter.target.parse().map_err(|_| Malformed::Field("target"))?,
            operation: letter.operation.parse().map_err(|_| Malformed::Field("operation"))?,
            payload: letter.payload,
            content_type: ContentType::parse(&letter.content_type)
                .map_err(|_| Malformed::Field("content_type"))?,
            sender,
            number: letter.number.map(number).transpose()?,
            trace: TraceContext::parse(&letter.traceparent, &letter.tracestate),
            sent_ms: letter.sent_ms,
            topic: match letter.topic.as_str() {
                "" => None,
                topic => Some(topic.parse().map_err(|_| Malformed::Field("topic"))?),
            },
        })
    }
}

impl DeadLetter {
    /// As bytes for the store.
    pub fn encode(&self) -> Bytes {
        let Self { letter, reason, tries, at_ms, left_out } = self;
        let (letter, reason) = (Some(letter.to_wire()), reason.clone());
        let (tries, at_ms, left_out) = (*tries, *at_ms, *left_out);
        wire::DeadLetter { version: VERSION, letter, reason, tries, at_ms, left_out }.encode_to_vec().into()
    }

    /// The same in no more than `room` bytes: one that is larger leaves its payload out, and says so.
    pub fn encode_within(mut self, room: usize) -> Bytes {
        let whole = self.encode();
        let payload = &self.letter.payload;
        if whole.len() <= room || payload.is_empty() {
            return whole;
        }
        self.left_out = payload.len() as u64;
        self.reason += &format!(
            " (its payload of {} bytes, {}, is too large to be kept)",
            self.left_out,
            crate::Digest::of(payload)
        );
        self.letter.payload = Bytes::new();
        self.encode()
    }

    /// From the store.
    ///
    /// # Errors
    /// When the bytes are no dead letter, or one of a later version.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let dead = wire::DeadLetter::decode(bytes).map_err(|error| Malformed::Encoding(error.to_string()))?;
        let wire::DeadLetter { version, letter, reason, tries, at_ms, left_out } = dead;
        match version {
            0 => return Err(Malformed::Field("version")),
            1..=VERSION => {}
            later => return Err(Malformed::Version(later)),
        }
        let letter = Letter::from_wire(letter.ok_or(Malformed::Field("letter"))?)?;
        Ok(Self { letter, reason, tries, at_ms, left_out })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        let origin = Origin::new([7; 16]);
        Letter {
            id: origin.letter(300),
            target: "account/bob".parse().unwrap(),
            operation: "credit".parse().unwrap(),
            payload: Bytes::from_static(b"{}"),
            content_type: ContentType::Json,
            sender: Some("account/alice".into()),
            number: Some(Number { origin, number: 300 }),
            trace: TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=b"),
            sent_ms: 1_700_000_000_000,
            topic: None,
        }
    }

    #[test]
    fn letters_survive_their_way() {
        let letter = letter();
        assert!(letter.trace.is_some());
        assert_eq!(Letter::decode(letter.encode()), Ok(letter.clone()));
        let outside = Letter { number: None, sender: Some("external".into()), trace: None, ..letter.clone() };
        assert_eq!(Letter::decode(outside.encode()), Ok(outside));
        let published = Letter { topic: Some("orders.created".parse().unwrap()), ..letter.clone() };
        assert_eq!(Letter::decode(published.encode()), Ok(published));
        let dead = DeadLetter { letter, reason: "it trapped".into(), tries: 8, at_ms: 1, left_out: 0 };
        assert_eq!(DeadLetter::decode(dead.encode()), Ok(dead));
    }

    #[test]
    fn a_dead_letter_that_is_too_large_leaves_its_payload_out() {
        let letter = Letter { payload: vec![7; 1_000].into(), ..letter() };
        let dead = DeadLetter { letter, reason: "it trapped".into(), tries: 8, at_ms: 1, left_out: 0 };
        let size = dead.encode().len();
        assert_eq!(dead.clone().encode_within(size), dead.encode());
        let cut = dead.clone().encode_within(size - 1);
        assert!(cut.len() < size - 500, "{}", cut.len());
        let cut = DeadLetter::decode(cut).unwrap();
        assert_eq!((cut.left_out, &cut.letter.payload[..]), (1_000, &[][..]));
        assert!(cut.reason.starts_with("it trapped (its payload of 1000 bytes, sha256:"), "{}", cut.reason);
        assert_eq!(Letter { payload: dead.letter.payload.clone(), ..cut.letter }, dead.letter);
    }

    #[test]
    fn copies_have_the_same_name_and_other_letters_another() {
        let place = |sequence| Place { stream: 1, sequence };
        let (letter, outside) = (letter(), Letter { number: None, ..letter() });
        assert_eq!(letter.stamp(place(1)).name, letter.stamp(place(2)).name);
        assert_eq!(outside.stamp(place(1)).name, outside.stamp(place(2)).name);
        let other = Letter { id: "another".parse().unwrap(), ..outside.clone() };
        assert_ne!(outside.stamp(place(1)).name, other.stamp(place(1)).name);
    }

    #[test]
    fn garbage_and_later_versions_are_refused() {
        let good = letter().to_wire();
        let number = |number| Some(wire::Numbered { origin: Bytes::from_static(&[0; 16]), number, at_ms: 0 });
        for (wrong, why) in [
            (wire::Letter { version: 2, ..good.clone() }, Malformed::Version(2)),
            (wire::Letter { version: 0, ..good.clone() }, Malformed::Field("version")),
            (wire::Letter { target: "No One".into(), ..good.clone() }, Malformed::Field("target")),
            (wire::Letter { sender: "a b".into(), ..good.clone() }, Malformed::Field("sender")),
            (wire::Letter { topic: "a..b".into(), ..good.clone() }, Malformed::Field("topic")),
            (wire::Letter { number: number(0), ..good.clone() }, Malformed::Field("number")),
            (wire::Letter { number: Some(wire::Numbered::default()), ..good }, Malformed::Field("number")),
        ] {
            assert_eq!(Letter::decode(wrong.encode_to_vec().into()), Err(why));
        }
        assert!(matches!(Letter::decode(Bytes::from_static(b"\xff\xff")), Err(Malformed::Encoding(_))));
        let empty = wire::DeadLetter { version: 1, ..wire::DeadLetter::default() };
        assert_eq!(DeadLetter::decode(empty.encode_to_vec().into()), Err(Malformed::Field("letter")));
    }
}
