//! What is kept of one key of a keyed actor.
//!
//! There is one record for each key, the last message on the key's own subject. It is replaced by compare-and-set only, by
//! whoever owns the key's shard: first by a claim, which copies it and raises the epoch, and then by a commit for each
//! turn, or several, that changed the state or sent a letter. All effects of a turn are in one record: neither is there a
//! letter of a turn that was undone, nor the state of one whose letters were lost. A record is never purged: what is deleted keeps epoch and revision.

use bytes::Bytes;
use prost::Message;

use crate::envelope::wire;
use crate::id::Incarnation;
use crate::letter::{Letter, Number, Origin, Place};
use crate::reminder::{MAX_REMINDERS, Reminder};

mod marks;

pub use marks::{HORIZON, Heard, MAX_IDS, MAX_SENDERS, Marks};

/// The version that this node writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// How many writes a record remembers. An owner has one on its way at a time, so that what it looks for is the last or the
/// last but one; the others are for whoever looks after a failover.
const REMEMBERED: usize = 8;

/// The most letters that an outbox holds: a turn that would make it longer is undone.
pub const MAX_OUTBOX: usize = 1_024;

/// The most letters that one turn may send.
pub const MAX_SENDS: usize = 256;

/// Why bytes are no state record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not protobuf, or not of the expected shape.
    #[error("not a state record: {0}")]
    Encoding(String),
    /// Written by a later version of Lattice.
    #[error("state record version {0} is newer than this version of Lattice understands (up to {VERSION})")]
    Version(u32),
    /// A field that must be there and valid is not.
    #[error("invalid field `{0}` of a state record")]
    Field(&'static str),
}

/// Names one write of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriteId([u8; 16]);

impl WriteId {
    /// Of these bytes, which nobody has used before.
    pub fn new(unique: [u8; 16]) -> Self {
        Self(unique)
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Of the owner that wrote it.
    pub epoch: u64,
    /// Counts the commits.
    pub revision: u64,
    /// Who wrote it.
    pub owner: Incarnation,
    /// What the actor keeps.
    pub state: Option<Bytes>,
    /// The last writes, this one at the end.
    pub writes: Vec<WriteId>,
    /// Which letters have had their effect.
    pub marks: Marks,
    /// The last letter that was sent.
    pub sent: Option<Number>,
    /// Letters that were sent and may not have been posted, in their order.
    pub outbox: Vec<Letter>,
    /// What the actor wants to be reminded of.
    pub reminders: Vec<Reminder>,
    /// The last generation that an occurrence of a reminder got.
    pub generation: u64,
}

impl State {
    /// The record of a key of which there is none.
    pub fn new(epoch: u64, owner: Incarnation, write: WriteId) -> Self {
        Self {
            epoch,
            revision: 0,
            owner,
            state: None,
            writes: vec![write],
            marks: Marks::default(),
            sent: None,
            outbox: Vec::new(),
            reminders: Vec::new(),
            generation: 0,
        }
    }

    /// As bytes for the store.
    pub fn encode(&self) -> Bytes {
        let Self { epoch, revision, owner, state, writes, marks, sent, outbox, reminders, generation } = self;
        let number = |number: &Number, at_ms| wire::Numbered {
            origin: number.origin.bytes(),
            number: number.number,
            at_ms,
        };
        let record = wire::State {
            version: VERSION,
            epoch: *epoch,
            revision: *revision,
            owner: owner.as_str().to_owned(),
            state: state.clone(),
            writes: writes.iter().map(|write| Bytes::copy_from_slice(&write.0)).collect(),
            handled: marks.place.map(|Place { stream, sequence }| wire::Place { stream, sequence }),
            heard: marks.heard.iter().map(|heard| number(&heard.number, heard.at_ms)).collect(),
            ids: marks.ids.iter().map(|id| Bytes::copy_from_slice(id)).collect(),
            sent: sent.as_ref().map(|sent| number(sent, 0)),
            outbox: outbox.iter().map(Letter::to_wire).collect(),
            reminders: reminders.iter().map(Reminder::to_wire).collect(),
            generation: *generation,
            given_up: marks.given_up.clone(),
        };
        record.encode_to_vec().into()
    }

    /// From the store; what the actor keeps shares the given buffer.
    ///
    /// # Errors
    /// When the bytes are no such record, or one of a later version.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let record = wire::State::decode(bytes).map_err(|error| Malformed::Encoding(error.to_string()))?;
        let wire::State {
            version,
            epoch,
            revision,
            owner,
            state,
            writes,
            handled,
            heard,
            ids,
            sent,
            outbox,
            reminders,
            generation,
            given_up,
        } = record;
        match version {
            0 => return Err(Malformed::Field("version")),
            1..=VERSION => {}
            later => return Err(Malformed::Version(later)),
        }
        let owner = owner.parse().map_err(|_| Malformed::Field("owner"))?;
        let write =
            |id: Bytes| <[u8; 16]>::try_from(&*id).map(WriteId).map_err(|_| Malformed::Field("writes"));
        let number = |field| {
            move |numbered: &wire::Numbered| {
                let origin = Origin::read(&numbered.origin).ok_or(Malformed::Field(field))?;
                Ok(Number { origin, number: numbered.number })
            }
        };
        for (field, length, most) in [
            ("writes", writes.len(), REMEMBERED),
            ("heard", heard.len(), MAX_SENDERS),
            ("ids", ids.len(), MAX_IDS),
            ("outbox", outbox.len(), MAX_OUTBOX + MAX_SENDS),
            ("reminders", reminders.len(), MAX_REMINDERS),
        ] {
            if length > most {
                return Err(Malformed::Field(field));
            }
        }
        let writes = writes.into_iter().map(write).collect::<Result<_, _>>()?;
        let hear = |heard: &wire::Numbered| Ok(Heard { number: number("heard")(heard)?, at_ms: heard.at_ms });
        let id = |id: &Bytes| <[u8; 16]>::try_from(&**id).map_err(|_| Malformed::Field("ids"));
        let marks = Marks {
            place: handled.map(|wire::Place { stream, sequence }| Place { stream, sequence }),
            heard: heard.iter().map(hear).collect::<Result<_, _>>()?,
            ids: ids.iter().map(id).collect::<Result<_, _>>()?,
            given_up,
        };
        let sent = sent.as_ref().map(number("sent")).transpose()?;
        let letter = |letter| Letter::from_wire(letter).map_err(|_| Malformed::Field("outbox"));
        let outbox = outbox.into_iter().map(letter).collect::<Result<_, _>>()?;
        let reminder = |reminder| Reminder::from_wire(reminder).map_err(|_| Malformed::Field("reminders"));
        let reminders = reminders.into_iter().map(reminder).collect::<Result<_, _>>()?;
        Ok(Self { epoch, revision, owner, state, writes, marks, sent, outbox, reminders, generation })
    }

    /// Whether this record, or one of the last before it, was made by a write.
    pub fn remembers(&self, write: WriteId) -> bool {
        self.writes.contains(&write)
    }

    /// The writes to be remembered by the record that this write makes of the present one.
    pub fn writes_with(&self, write: WriteId) -> Vec<WriteId> {
        let skipped = (self.writes.len() + 1).saturating_sub(REMEMBERED);
        self.writes.iter().skip(skipped).copied().chain([write]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(writes: u8) -> State {
        let number = Number { origin: Origin::new([1; 16]), number: 5 };
        let marks = Marks {
            place: Some(Place { stream: 1_700_000_000_000_000_000, sequence: 9 }),
            heard: vec![Heard { number, at_ms: 7 }],
            ids: vec![[2; 16]],
            given_up: Some("it trapped".into()),
        };
        let letter = Letter {
            id: number.origin.letter(5),
            target: "account/bob".parse().unwrap(),
            operation: "credit".parse().unwrap(),
            payload: Bytes::from_static(b"{}"),
            content_type: crate::envelope::ContentType::Json,
            sender: Some("account/alice".into()),
            number: Some(number),
            trace: None,
            sent_ms: 3,
            topic: None,
        };
        let reminder = Reminder {
            id: "expire".into(),
            generation: 4,
            due_ms: 9,
            repeat: crate::reminder::Repeat::Never,
            operation: "expire".parse().unwrap(),
            payload: Bytes::new(),
            content_type: crate::envelope::ContentType::Json,
            armed: false,
        };
        State {
            revision: 3,
            state: Some(Bytes::from_static(b"{}")),
            writes: (0..writes).map(|n| WriteId::new([n; 16])).collect(),
            marks,
            sent: Some(number),
            outbox: vec![letter],
            reminders: vec![reminder],
            generation: 4,
            ..State::new(7, Incarnation::generate(), WriteId::new([0; 16]))
        }
    }

    #[test]
    fn a_record_survives_the_store() {
        for record in [record(0), record(8), State { state: None, ..record(1) }] {
            assert_eq!(State::decode(record.encode()), Ok(record));
        }
    }

    #[test]
    fn garbage_and_later_versions_are_refused() {
        let good =
            wire::State { version: 1, owner: Incarnation::generate().to_string(), ..wire::State::default() };
        assert!(State::decode(good.encode_to_vec().into()).is_ok());
        for (wrong, why) in [
            (wire::State { version: 2, ..good.clone() }, Malformed::Version(2)),
            (wire::State { version: 0, ..good.clone() }, Malformed::Field("version")),
            (wire::State { owner: "no one".into(), ..good.clone() }, Malformed::Field("owner")),
            (wire::State { writes: vec![Bytes::new()], ..good.clone() }, Malformed::Field("writes")),
            (
                wire::State { writes: vec![Bytes::from_static(&[0; 16]); 9], ..good.clone() },
                Malformed::Field("writes"),
            ),
            (wire::State { ids: vec![Bytes::new()], ..good.clone() }, Malformed::Field("ids")),
            (
                wire::State { heard: vec![wire::Numbered::default()], ..good.clone() },
                Malformed::Field("heard"),
            ),
            (wire::State { outbox: vec![wire::Letter::default()], ..good }, Malformed::Field("outbox")),
        ] {
            assert_eq!(State::decode(wrong.encode_to_vec().into()), Err(why));
        }
        assert!(matches!(State::decode(Bytes::from_static(b"\xff\xff")), Err(Malformed::Encoding(_))));
    }

    #[test]
    fn the_last_writes_are_remembered() {
        let (first, next) = (WriteId::new([0; 16]), WriteId::new([99; 16]));
        let record = record(8);
        assert!(record.remembers(first) && !record.remembers(next));
        let after = State { writes: record.writes_with(next), ..record };
        assert!(after.remembers(next) && !after.remembers(first));
        assert_eq!(after.writes.len(), REMEMBERED);
    }
}
