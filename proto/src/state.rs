//! What is kept of one key of a keyed actor.
//!
//! There is one record for each key, the last message on the key's own subject. It is replaced by compare-and-set only, by
//! whoever owns the key's shard: first by a claim, which copies it and raises the epoch, and then by a commit for each
//! turn, or several, that changed the state. A record is never purged: what is deleted keeps epoch and revision.

use bytes::Bytes;
use prost::Message;

use crate::envelope::wire;
use crate::id::Incarnation;

/// The version that this node writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// How many writes a record remembers. An owner has one on its way at a time, so that what it looks for is the last or the
/// last but one; the others are for whoever looks after a failover.
const REMEMBERED: usize = 8;

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
}

impl State {
    /// As bytes for the store.
    pub fn encode(&self) -> Bytes {
        let Self { epoch, revision, owner, state, writes } = self;
        let record = wire::State {
            version: VERSION,
            epoch: *epoch,
            revision: *revision,
            owner: owner.as_str().to_owned(),
            state: state.clone(),
            writes: writes.iter().map(|write| Bytes::copy_from_slice(&write.0)).collect(),
        };
        record.encode_to_vec().into()
    }

    /// From the store; what the actor keeps shares the given buffer.
    ///
    /// # Errors
    /// When the bytes are no such record, or one of a later version.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let record = wire::State::decode(bytes).map_err(|error| Malformed::Encoding(error.to_string()))?;
        let wire::State { version, epoch, revision, owner, state, writes } = record;
        match version {
            0 => return Err(Malformed::Field("version")),
            1..=VERSION => {}
            later => return Err(Malformed::Version(later)),
        }
        let owner = owner.parse().map_err(|_| Malformed::Field("owner"))?;
        let write =
            |id: Bytes| <[u8; 16]>::try_from(&*id).map(WriteId).map_err(|_| Malformed::Field("writes"));
        if writes.len() > REMEMBERED {
            return Err(Malformed::Field("writes"));
        }
        let writes = writes.into_iter().map(write).collect::<Result<_, _>>()?;
        Ok(Self { epoch, revision, owner, state, writes })
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
        State {
            epoch: 7,
            revision: 3,
            owner: Incarnation::generate(),
            state: Some(Bytes::from_static(b"{}")),
            writes: (0..writes).map(|n| WriteId::new([n; 16])).collect(),
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
                wire::State { writes: vec![Bytes::from_static(&[0; 16]); 9], ..good },
                Malformed::Field("writes"),
            ),
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
