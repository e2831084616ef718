//! What happened, read back from the stream: selected, in its order, each with its cursor.

use std::sync::Arc;

use lattice_proto::event::{Event, Kind};
use lattice_proto::record;
use lattice_proto::subject::Subjects;
use tokio_util::sync::CancellationToken;

use crate::bus::{self, Log, Logged, Place, Reader, Until};
use crate::clock::ServerClock;
use crate::telemetry::Counters;

/// Why events cannot be read, or not from there.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The cursor fell out of what is kept.
    #[error(
        "the events after cursor {after} are no longer kept, the oldest that is has the cursor {oldest}: look at how \
         things stand (`lattice nodes`, `lattice ps`), then ask without a cursor for all that is kept"
    )]
    TooOld {
        /// As asked for.
        after: u64,
        /// The oldest that is kept; the next one, when none is.
        oldest: u64,
    },
    /// There is no such cursor yet.
    #[error(
        "there is no event with the cursor {after}, the last one has {last}; if it is of before NATS lost its data, ask \
         without a cursor"
    )]
    Ahead {
        /// As asked for.
        after: u64,
        /// The last one.
        last: u64,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Bus(bus::Error),
    /// This node ends.
    #[error("the node is stopping; ask another one for what follows the last cursor")]
    Stopping,
}

impl From<bus::ReadError> for ReadError {
    fn from(error: bus::ReadError) -> Self {
        match error {
            bus::ReadError::Forgotten { after, oldest } => Self::TooOld { after, oldest },
            bus::ReadError::Ahead { after, last } => Self::Ahead { after, last },
            bus::ReadError::Bus(error) => Self::Bus(error),
        }
    }
}

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// What follows this cursor.
    pub after: Option<u64>,
    /// What was told within the last so many milliseconds.
    pub since_ms: Option<u64>,
    /// Whether to go on when all that is there was told.
    pub follow: bool,
    /// Of these kinds; none means all of them.
    pub kinds: Vec<Kind>,
    /// About the actor, app or node of this name.
    pub subject: Option<String>,
}

/// An event with its place.
#[derive(Debug, Clone)]
pub struct Told {
    /// Where it stands in the stream.
    pub cursor: u64,
    /// What it says.
    pub event: Event,
}

/// Reads what happened.
#[derive(Clone)]
pub struct Archive {
    log: Log,
    subjects: Subjects,
    clock: Arc<ServerClock>,
    counters: Counters,
    stop: CancellationToken,
}

impl Archive {
    /// Over this log; whoever follows it is told to go elsewhere when `stop` says so.
    pub fn new(
        log: Log,
        subjects: Subjects,
        clock: Arc<ServerClock>,
        counters: Counters,
        stop: CancellationToken,
    ) -> Self {
        Self { log, subjects, clock, counters, stop }
    }

    /// Begins to read.
    ///
    /// # Errors
    /// When the cursor is too old or lies ahead, or NATS cannot be reached.
    pub async fn read(&self, selection: Selection) -> Result<Reading, ReadError> {
        let place = match (selection.after, selection.since_ms) {
            (Some(after), _) => Place::After(after),
            (None, Some(since)) => {
                let since = i64::try_from(since).unwrap_or(i64::MAX);
                Place::Since(self.clock.now_ms().saturating_sub(since).max(0))
            }
            (None, None) => Place::Oldest,
        };
        let until = if selection.follow { Until::Ever } else { Until::Present };
        let reader = self.log.read(place, until).await?;
        Ok(Reading { archive: self.clone(), selection, reader })
    }
}

/// Events being read.
pub struct Reading {
    archive: Archive,
    selection: Selection,
    reader: Reader,
}

impl Reading {
    /// The next one; none at the end.
    ///
    /// # Errors
    /// As with [`Archive::read`], and when the node stops.
    pub async fn next(&mut self) -> Result<Option<Told>, ReadError> {
        loop {
            let logged = tokio::select! {
                logged = self.reader.next() => logged?,
                () = self.archive.stop.cancelled() => return Err(ReadError::Stopping),
            };
            let Some(logged) = logged else { return Ok(None) };
            if let Some(told) = self.select(&logged) {
                return Ok(Some(told));
            }
        }
    }

    fn select(&self, logged: &Logged) -> Option<Told> {
        let Selection { kinds, subject, .. } = &self.selection;
        // What a later version tells of, this one does not know.
        let kind = self.archive.subjects.parse_event(&logged.subject).ok()?;
        if !kinds.is_empty() && !kinds.contains(&kind) {
            return None;
        }
        let event: Event = match record::decode(&logged.payload) {
            Ok(event) => event,
            Err(error) => {
                self.archive.counters.malformed_records();
                tracing::debug!(%error, cursor = logged.sequence, "an event cannot be read");
                return None;
            }
        };
        let is_wanted = subject.as_ref().is_none_or(|subject| *subject == event.subject);
        is_wanted.then_some(Told { cursor: logged.sequence, event })
    }
}
