//! Reminders: durable messages of a keyed actor to itself, for later.
//!
//! A key's record has all of them. What lies in the reminders stream only wakes the key at the right time: it says which
//! reminder in which generation is due, and what the record does not know is of no account.

use bytes::Bytes;
use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::envelope::{ContentType, wire};
use crate::id::{ActorId, MessageId, Operation};
use crate::letter::Malformed;

/// The version that this node writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The most reminders that one key may have.
pub const MAX_REMINDERS: usize = 256;

/// The longest id, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// The longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 256;

/// What comes after an occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing.
    Never,
    /// Another one so many milliseconds later.
    Every(u64),
    /// Another one whenever this pattern says, as in crontab(5), in UTC.
    Cron(String),
}

/// One reminder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reminder {
    /// Chosen by the actor; unique among those of its key.
    pub id: String,
    /// Of the next occurrence. No two occurrences of one key have the same.
    pub generation: u64,
    /// When the next occurrence is due, in milliseconds since 1970 in the time of the NATS server.
    pub due_ms: u64,
    /// What comes after it.
    pub repeat: Repeat,
    /// What is told.
    pub operation: Operation,
    /// The arguments.
    pub payload: Bytes,
    /// How the payload is written.
    pub content_type: ContentType,
    /// Whether the reminders stream has it for sure.
    pub armed: bool,
}

/// Which occurrence is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Of the reminder.
    pub id: String,
    /// Of the occurrence.
    pub generation: u64,
    /// When it was due, in milliseconds since 1970 in the time of the NATS server.
    pub due_ms: u64,
}

impl Reminder {
    /// The next occurrence.
    pub fn due(&self) -> Due {
        Due { id: self.id.clone(), generation: self.generation, due_ms: self.due_ms }
    }

    pub(crate) fn to_wire(&self) -> wire::Reminder {
        let (every_ms, cron) = match &self.repeat {
            Repeat::Never => (0, String::new()),
            Repeat::Every(ms) => (*ms, String::new()),
            Repeat::Cron(pattern) => (0, pattern.clone()),
        };
        wire::Reminder {
            id: self.id.clone(),
            generation: self.generation,
            due_ms: self.due_ms,
            every_ms,
            cron,
            operation: self.operation.as_str().to_owned(),
            payload: self.payload.clone(),
            content_type: match &self.content_type {
                ContentType::Json => String::new(),
                other => other.as_str().to_owned(),
            },
            armed: self.armed,
        }
    }

    /// Whether its id and its pattern can be those of a reminder.
    ///
    /// # Errors
    /// Which of them cannot.
    pub fn check(&self) -> Result<(), Malformed> {
        check_id(&self.id)?;
        match &self.repeat {
            Repeat::Cron(pattern) if pattern.len() > MAX_PATTERN_BYTES => Err(Malformed::Field("cron")),
            _ => Ok(()),
        }
    }

    pub(crate) fn from_wire(reminder: wire::Reminder) -> Result<Self, Malformed> {
        let wire::Reminder {
            id,
            generation,
            due_ms,
            every_ms,
            cron,
            operation,
            payload,
            content_type,
            armed,
        } = reminder;
        check_id(&id)?;
        if cron.len() > MAX_PATTERN_BYTES {
            return Err(Malformed::Field("cron"));
        }
        let repeat = match (every_ms, cron.as_str()) {
            (0, "") => Repeat::Never,
            (ms, "") => Repeat::Every(ms),
            (_, _) => Repeat::Cron(cron),
        };
        Ok(Self {
            id,
            generation,
            due_ms,
            repeat,
            operation: operation.parse().map_err(|_| Malformed::Field("operation"))?,
            payload,
            content_type: ContentType::parse(&content_type).map_err(|_| Malformed::Field("content_type"))?,
            armed,
        })
    }
}

impl Due {
    /// As bytes for the reminders stream.
    pub fn encode(&self) -> Bytes {
        let Self { id, generation, due_ms } = self;
        let (id, generation, due_ms) = (id.clone(), *generation, *due_ms);
        wire::Due { version: VERSION, id, generation, due_ms }.encode_to_vec().into()
    }

    /// From the reminders stream.
    ///
    /// # Errors
    /// When the bytes are no such word, or one of a later version.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let due = wire::Due::decode(bytes).map_err(|error| Malformed::Encoding(error.to_string()))?;
        let wire::Due { version, id, generation, due_ms } = due;
        match version {
            0 => return Err(Malformed::Field("version")),
            1..=VERSION => {}
            later => return Err(Malformed::Version(later)),
        }
        check_id(&id)?;
        Ok(Self { id, generation, due_ms })
    }

    /// The id of the message that tells of it: the same each time that it is delivered.
    pub fn message(&self, actor: &ActorId) -> MessageId {
        // Ids of actors hold no control characters, so no two occurrences are hashed alike.
        let hash = Sha256::new()
            .chain_update(actor.to_string())
            .chain_update([0])
            .chain_update(&self.id)
            .chain_update([0])
            .chain_update(self.generation.to_be_bytes())
            .finalize();
        hex(&hash[..16]).parse().unwrap_or_else(|_| unreachable!("digits are a word"))
    }
}

/// The token by which a reminder's subjects tell it from others of its key.
pub(crate) fn token(id: &str) -> String {
    hex(&Sha256::digest(id)[..16])
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn check_id(id: &str) -> Result<(), Malformed> {
    if id.is_empty() || id.len() > MAX_ID_BYTES { Err(Malformed::Field("id")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reminders_survive_the_store() {
        for repeat in [Repeat::Never, Repeat::Every(1_500), Repeat::Cron("0 3 * * *".into())] {
            let reminder = Reminder {
                id: "expire".into(),
                generation: 4,
                due_ms: 1_700_000_000_500,
                repeat,
                operation: "expire".parse().unwrap(),
                payload: Bytes::from_static(b"{}"),
                content_type: ContentType::Json,
                armed: true,
            };
            assert_eq!(Reminder::from_wire(reminder.to_wire()), Ok(reminder.clone()));
            assert_eq!(Due::decode(reminder.due().encode()), Ok(reminder.due()));
        }
    }

    #[test]
    fn each_occurrence_has_an_id_of_its_own_that_stays() {
        let due = |id: &str, generation| Due { id: id.into(), generation, due_ms: 7 };
        let (alice, bob): (ActorId, ActorId) = ("cart/alice".parse().unwrap(), "cart/bob".parse().unwrap());
        let first = due("a", 1).message(&alice);
        assert_eq!(first, Due { due_ms: 8, ..due("a", 1) }.message(&alice));
        for other in [due("a", 2).message(&alice), due("b", 1).message(&alice), due("a", 1).message(&bob)] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn garbage_and_later_versions_are_refused() {
        let good = wire::Due { version: 1, id: "a".into(), generation: 1, due_ms: 1 };
        assert!(Due::decode(good.encode_to_vec().into()).is_ok());
        for (wrong, why) in [
            (wire::Due { version: 2, ..good.clone() }, Malformed::Version(2)),
            (wire::Due { version: 0, ..good.clone() }, Malformed::Field("version")),
            (wire::Due { id: String::new(), ..good.clone() }, Malformed::Field("id")),
            (wire::Due { id: "x".repeat(129), ..good }, Malformed::Field("id")),
        ] {
            assert_eq!(Due::decode(wrong.encode_to_vec().into()), Err(why));
        }
    }
}
