//! The records of keys: claimed, and committed. Each write is a compare-and-set on the key's own subject.

use std::time::Duration;

use bytes::Bytes;
use lattice_proto::shard::Shard;
use lattice_proto::state::{State, WriteId};
use lattice_proto::subject::Subjects;
use lattice_proto::{ActorId, Incarnation};

use crate::bus::{Bus, Entry, Error, Fate, Space};

/// How often a claim is built anew because what it was built on was stale.
const TRIES: u32 = 20;

/// A cheap handle on all records.
#[derive(Clone)]
pub struct Store {
    bus: Bus,
    subjects: Subjects,
    me: Incarnation,
}

/// Why a key was not claimed.
#[derive(Debug, thiserror::Error)]
pub enum Unclaimed {
    /// A later owner has it.
    #[error("a later owner has it")]
    Taken,
    /// Its record cannot be read. It is left as it is.
    #[error("its record in the store cannot be read: {0}")]
    Damaged(String),
    /// The store did not answer.
    #[error(transparent)]
    Bus(#[from] Error),
}

/// Why a commit is not there.
#[derive(Debug, PartialEq, Eq)]
pub enum Lost {
    /// Another owner has the key, and the commit is surely not stored.
    Taken,
    /// Another owner has the key, and nobody knows what became of the commit.
    Unknown,
}

/// One key, as its owner knows its record.
pub struct Claimed {
    space: Space,
    key: String,
    me: Incarnation,
    epoch: u64,
    /// The revision of the record in the store.
    sequence: u64,
    record: State,
}

impl Store {
    /// Over this bus, for this node.
    pub fn new(bus: Bus, subjects: Subjects, me: Incarnation) -> Self {
        Self { bus, subjects, me }
    }

    /// Makes sure that there is somewhere to keep records.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn ensure(&self) -> Result<(), Error> {
        self.bus.ensure_states(&self.subjects).await
    }

    /// Claims a key in an epoch: from then on no earlier owner can commit.
    ///
    /// # Errors
    /// Why not.
    pub async fn claim(&self, shard: Shard, actor: &ActorId, epoch: u64) -> Result<Claimed, Unclaimed> {
        let key = actor.key.as_deref().unwrap_or_default();
        let key = self.subjects.state(shard, &actor.name, key);
        let space = self.bus.states[usize::from(shard.partition())].clone();
        let mut entry = space.get(&key).await?;
        let mut pause = Backoff::new();
        for attempt in 0..TRIES {
            let (sequence, before) = match entry {
                Some(entry) => (entry.revision, read(&entry)?),
                None => (0, None),
            };
            if before.as_ref().is_some_and(|before| before.epoch > epoch) {
                return Err(Unclaimed::Taken);
            }
            let write = write_id();
            let record = match before {
                Some(before) => {
                    State { epoch, owner: self.me.clone(), writes: before.writes_with(write), ..before }
                }
                None => {
                    State { epoch, revision: 0, owner: self.me.clone(), state: None, writes: vec![write] }
                }
            };
            let claimed = |sequence, record| {
                let (space, key, me) = (space.clone(), key.clone(), self.me.clone());
                Claimed { space, key, me, epoch, sequence, record }
            };
            match space.write_if(&key, record.encode(), sequence).await {
                Fate::Stored(sequence) => return Ok(claimed(sequence, record)),
                // What it was built on was stale, or somebody else claims, too.
                Fate::Refused if attempt == 0 => {}
                Fate::Refused => pause.wait().await,
                Fate::Busy => pause.wait().await,
                Fate::Unsent => return Err(Error::Unreachable.into()),
                // To claim once more does no harm.
                Fate::Unsure(_) => pause.wait().await,
            }
            entry = space.newest(&key).await?;
        }
        Err(Error::NoAnswer.into())
    }
}

/// What a stored record says; none where there is none any more.
fn read(entry: &Entry) -> Result<Option<State>, Unclaimed> {
    let Some(value) = entry.value.clone() else { return Ok(None) };
    State::decode(value).map(Some).map_err(|error| Unclaimed::Damaged(error.to_string()))
}

fn write_id() -> WriteId {
    WriteId::new(*uuid::Uuid::new_v4().as_bytes())
}

impl Claimed {
    /// What the actor keeps.
    pub fn state(&self) -> Option<Bytes> {
        self.record.state.clone()
    }

    /// Commits a new state. While NATS is away it waits, and goes on when it is back.
    ///
    /// # Errors
    /// When another owner has the key.
    pub async fn commit(&mut self, state: Bytes) -> Result<(), Lost> {
        let mut pause = Backoff::new();
        loop {
            let write = write_id();
            let record = State {
                epoch: self.epoch,
                revision: self.record.revision + 1,
                owner: self.me.clone(),
                state: Some(state.clone()),
                writes: self.record.writes_with(write),
            };
            match self.space.write_if(&self.key, record.encode(), self.sequence).await {
                Fate::Stored(sequence) => {
                    (self.sequence, self.record) = (sequence, record);
                    return Ok(());
                }
                Fate::Refused => return Err(Lost::Taken),
                Fate::Busy | Fate::Unsent => pause.wait().await,
                Fate::Unsure(reason) => {
                    tracing::debug!(
                        key = self.key,
                        reason,
                        "nobody knows whether a commit is stored; it is found out"
                    );
                    if self.resolve(write, &record).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Finds out by writing whether a write is stored: a claim on top of what was there before is refused if it is, and if
    /// it is not, keeps it from being stored later. True when it is stored.
    async fn resolve(&mut self, write: WriteId, written: &State) -> Result<bool, Lost> {
        let mut pause = Backoff::new();
        // The claims of this loop: any of them may be stored without a word.
        let mut claims = Vec::new();
        loop {
            pause.wait().await;
            let again = write_id();
            claims.push(again);
            let claim = State {
                epoch: self.epoch,
                owner: self.me.clone(),
                writes: self.record.writes_with(again),
                ..self.record.clone()
            };
            match self.space.write_if(&self.key, claim.encode(), self.sequence).await {
                Fate::Stored(sequence) => {
                    (self.sequence, self.record) = (sequence, claim);
                    return Ok(false);
                }
                Fate::Busy | Fate::Unsent | Fate::Unsure(_) => {}
                Fate::Refused => {
                    // It is there, or a claim of this loop is, or another owner's.
                    let Ok(Some(newest)) = self.space.newest(&self.key).await else { continue };
                    if newest.revision <= self.sequence {
                        // The server that answered is behind the one that refused.
                        continue;
                    }
                    let Ok(Some(found)) = read(&newest) else { return Err(Lost::Unknown) };
                    // Only what this very activation wrote last may be built on: another one of the same node and epoch
                    // may have written since.
                    let last = found.writes.last().copied();
                    if found.remembers(write) {
                        if last == Some(write) {
                            (self.sequence, self.record) = (newest.revision, written.clone());
                        }
                        // Where another one has written since, the next commit is refused.
                        return Ok(true);
                    }
                    if last.is_some_and(|last| claims.contains(&last)) {
                        (self.sequence, self.record) = (newest.revision, found);
                        return Ok(false);
                    }
                    // What both remember tells that nothing between them was forgotten.
                    let known = self.record.writes.last().copied();
                    return Err(match known.is_some_and(|known| found.remembers(known)) {
                        true => Lost::Taken,
                        false => Lost::Unknown,
                    });
                }
            }
        }
    }
}

/// Pauses between tries, each twice as long as the one before up to a bound, with jitter.
struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_millis(250);

    fn new() -> Self {
        Self(Self::FIRST)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.0.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        self.0 = (self.0 * 2).min(Self::LONGEST);
    }
}
