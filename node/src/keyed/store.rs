//! The records of keys: claimed, and committed. Each write is a compare-and-set on the key's own subject.

use std::collections::BTreeSet;
use std::time::Duration;

use lattice_proto::shard::Shard;
use lattice_proto::state::{Malformed, State, WriteId};
use lattice_proto::subject::Subjects;
use lattice_proto::{ActorId, ActorName, Incarnation};

use super::backoff::Backoff;
use super::slept::{Left, Slept};
use crate::bus::{Bus, Entry, Error, Fate, Space};

/// The longest pause between tries.
const LONGEST: Duration = Duration::from_millis(250);

/// How often a claim is built anew because what it was built on was stale.
const TRIES: u32 = 20;

/// A cheap handle on all records.
#[derive(Clone)]
pub struct Store {
    bus: Bus,
    subjects: Subjects,
    me: Incarnation,
    slept: Slept,
}

/// Why a key was not claimed.
#[derive(Debug, thiserror::Error)]
pub enum Unclaimed {
    /// A later owner has it.
    #[error("a later owner has it")]
    Taken,
    /// Its record cannot be read. It is left as it is.
    #[error("its record in the store cannot be read: {reason}")]
    Damaged {
        /// Why not.
        reason: String,
        /// Its revision in the store.
        revision: u64,
    },
    /// A later version of Lattice wrote its record, and may be using it.
    #[error(
        "its record in the store is of version {0}, which is later than this node understands; update this node"
    )]
    Newer(u32),
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
    /// The generation of the connection in which it was written.
    generation: u64,
    record: State,
}

impl Store {
    /// Over this bus, for this node.
    pub fn new(bus: Bus, subjects: Subjects, me: Incarnation) -> Self {
        Self { bus, subjects, me, slept: Slept::default() }
    }

    /// Makes sure that there is somewhere to keep records.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn ensure(&self) -> Result<(), Error> {
        self.bus.ensure_keyed(&self.subjects).await
    }

    /// A server that lost its memory gets the streams again, if they are needed by then.
    pub async fn ensure_after_outages(&self, needed: impl Fn() -> bool) {
        let ensure = || async { if needed() { self.ensure().await } else { Ok(()) } };
        self.bus.after_each_outage(ensure).await;
    }

    /// The record of a key as it is in the store now; none where there never was one.
    ///
    /// # Errors
    /// When it cannot be read at the moment.
    pub async fn look(&self, shard: Shard, actor: &ActorId) -> Result<Option<Kept>, Error> {
        let (space, key) = self.place(shard, actor);
        let Some(entry) = space.newest(&key).await? else { return Ok(None) };
        let Some(value) = entry.value else { return Ok(None) };
        let (size, written_ms) = (value.len(), u64::try_from(entry.stored_ms).unwrap_or(0));
        let record = State::decode(value).map_err(|error| error.to_string());
        Ok(Some(Kept { record, written_ms, size }))
    }

    /// The keys of an actor that have a record, sorted.
    ///
    /// # Errors
    /// When they cannot be listed at the moment.
    pub async fn keys(&self, actor: &ActorName) -> Result<BTreeSet<ActorId>, Error> {
        let each = self.bus.states.iter().zip(0..).map(async |(space, partition)| {
            let subjects = space.keys(&self.subjects.states_of(partition, actor)).await?;
            let keys = subjects.iter().filter_map(|subject| self.subjects.parse_state(subject).ok());
            Ok::<_, Error>(keys.map(|(_, key)| key).collect::<Vec<_>>())
        });
        let keys = futures::future::try_join_all(each).await?;
        Ok(keys.into_iter().flatten().collect())
    }

    fn place(&self, shard: Shard, actor: &ActorId) -> (Space, String) {
        let key = actor.key.as_deref().unwrap_or_default();
        let space = self.bus.states[usize::from(shard.partition())].clone();
        (space, self.subjects.state(shard, &actor.name, key))
    }

    /// Claims a key in an epoch: from then on no earlier owner can commit.
    ///
    /// # Errors
    /// Why not.
    pub async fn claim(
        &self,
        shard: Shard,
        actor: &ActorId,
        epoch: u64,
        left: Option<Left>,
    ) -> Result<Claimed, Unclaimed> {
        self.claim_over(shard, actor, epoch, left, None).await
    }

    /// What the activation of a key left behind that was on this node in this epoch before.
    pub fn recall(&self, shard: Shard, actor: &ActorId, epoch: u64) -> Option<Left> {
        self.slept.take(actor, epoch, self.place(shard, actor).0.generation())
    }

    /// A key goes to sleep, with this record.
    pub fn remember(&self, actor: ActorId, claimed: Claimed) {
        let Claimed { sequence, generation, record, .. } = claimed;
        self.slept.put(actor, Left { sequence, generation, record });
    }

    /// As [`Self::claim`]; a record that cannot be read and has the given revision is replaced by an empty one, whose reminders have
    /// generations above the given number: what the server was told of the earlier ones is of no account then.
    ///
    /// # Errors
    /// Why not.
    pub async fn claim_over(
        &self,
        shard: Shard,
        actor: &ActorId,
        epoch: u64,
        left: Option<Left>,
        damaged: Option<(u64, u64)>,
    ) -> Result<Claimed, Unclaimed> {
        let (space, key) = self.place(shard, actor);
        let known = |entry: Option<Entry>| match entry {
            Some(entry) if damaged.is_some_and(|(revision, _)| revision == entry.revision) => {
                Ok((entry.revision, None))
            }
            Some(entry) => Ok((entry.revision, read(&entry)?)),
            None => Ok((0, None)),
        };
        let mut found: Result<_, Unclaimed> = match left {
            Some(Left { sequence, record, .. }) => Ok((sequence, Some(record))),
            None => known(space.get(&key).await?),
        };
        let mut pause = Backoff::up_to(LONGEST);
        for attempt in 0..TRIES {
            let (sequence, before) = found?;
            if before.as_ref().is_some_and(|before| before.epoch > epoch) {
                return Err(Unclaimed::Taken);
            }
            let write = write_id();
            let record = match before {
                Some(before) => {
                    State { epoch, owner: self.me.clone(), writes: before.writes_with(write), ..before }
                }
                None => {
                    let generation = damaged.map_or(0, |(_, generation)| generation);
                    State { generation, ..State::new(epoch, self.me.clone(), write) }
                }
            };
            let generation = space.generation();
            let claimed = |sequence, record| {
                let (space, key, me) = (space.clone(), key.clone(), self.me.clone());
                Claimed { space, key, me, epoch, sequence, generation, record }
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
            found = known(space.newest(&key).await?);
        }
        Err(Error::NoAnswer.into())
    }
}

/// A record as it is in the store.
#[derive(Debug)]
pub struct Kept {
    /// What it says; or why it cannot be read.
    pub record: Result<State, String>,
    /// When it was written, in milliseconds since 1970 in the time of the NATS server.
    pub written_ms: u64,
    /// In bytes.
    pub size: usize,
}

/// What a stored record says; none where there is none any more.
fn read(entry: &Entry) -> Result<Option<State>, Unclaimed> {
    let Some(value) = entry.value.clone() else { return Ok(None) };
    let revision = entry.revision;
    let damaged = |error: Malformed| match error {
        Malformed::Version(version) => Unclaimed::Newer(version),
        error => Unclaimed::Damaged { reason: error.to_string(), revision },
    };
    State::decode(value).map(Some).map_err(damaged)
}

fn write_id() -> WriteId {
    WriteId::new(*uuid::Uuid::new_v4().as_bytes())
}

impl Claimed {
    /// The record, as it is stored.
    pub fn record(&self) -> &State {
        &self.record
    }

    /// Commits what is to follow the present record. While NATS is away it waits, and goes on when it is back.
    ///
    /// # Errors
    /// When another owner has the key.
    pub async fn commit(&mut self, next: State) -> Result<(), Lost> {
        let mut pause = Backoff::up_to(LONGEST);
        let (epoch, owner) = (self.epoch, self.me.clone());
        let mut record = State { epoch, revision: self.record.revision + 1, owner, ..next };
        loop {
            let write = write_id();
            record.writes = self.record.writes_with(write);
            let generation = self.space.generation();
            match self.space.write_if(&self.key, record.encode(), self.sequence).await {
                Fate::Stored(sequence) => {
                    (self.sequence, self.generation, self.record) = (sequence, generation, record);
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

    /// Claims the key once more: it is still this owner's when that is stored.
    ///
    /// # Errors
    /// When another owner has it.
    pub async fn confirm(&mut self) -> Result<(), Lost> {
        let record = self.record.clone();
        // An id that was never written is never found.
        self.resolve(write_id(), &record).await.map(|_| ())
    }

    /// Finds out by writing whether a write is stored: a claim on top of what was there before is refused if it is, and if
    /// it is not, keeps it from being stored later. True when it is stored.
    async fn resolve(&mut self, write: WriteId, written: &State) -> Result<bool, Lost> {
        let mut pause = Backoff::up_to(LONGEST);
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
            let generation = self.space.generation();
            match self.space.write_if(&self.key, claim.encode(), self.sequence).await {
                Fate::Stored(sequence) => {
                    (self.sequence, self.generation, self.record) = (sequence, generation, claim);
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
                            (self.sequence, self.generation) = (newest.revision, generation);
                            self.record = written.clone();
                        }
                        // Where another one has written since, the next commit is refused.
                        return Ok(true);
                    }
                    if last.is_some_and(|last| claims.contains(&last)) {
                        (self.sequence, self.generation, self.record) = (newest.revision, generation, found);
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
