//! A stream that is read as a log: what is appended gets the next number, and is read in that order, from any place on.
//!
//! ```text
//! place ─▶ bounds: is it still kept? ─▶ consumer from there on ─▶ batches, each asked for when the one before is read
//!            ▲                                                        │
//!            └──── after a reconnection, a failure, or now and then ──┘
//! ```
//!
//! Rules:
//! 1. Numbers follow each other. One that is skipped was lost on the way, and is asked for again; or it fell out of the
//!    stream, and then the reader is told so. Nothing is left out without a word.
//! 2. No more than one batch is on its way to a reader. One that is slow keeps the rest waiting in the server.
//! 3. A reader holds no place in the server that must be kept: it can go on from its number at any time.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use bytes::Bytes;
use futures::StreamExt;

use super::temporary::Temporary;
use super::{Connection, Error, Space, space};
use crate::causes::full;

/// Messages that are asked for at once.
const BATCH: usize = 256;

/// How long a request for what is not there yet stays open. A consumer that vanished is noticed by the next one.
const OPEN: Duration = Duration::from_secs(10);

/// How long a request for what is there stays open.
const SOON: Duration = Duration::from_secs(2);

/// How long the server keeps a consumer that asks for nothing. One that comes back later gets a new one.
const KEPT: Duration = Duration::from_secs(60);

/// How long a consumer is trusted, as with a watch.
const RESYNC: Duration = Duration::from_secs(60);

/// How often reading to the present end is tried again in a row.
const TRIES: u32 = 3;

/// A cheap handle on one log.
#[derive(Clone)]
pub struct Log(Space);

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// With the oldest that is kept.
    Oldest,
    /// With what was stored at this time or later: milliseconds since 1970 by the server's clock.
    Since(i64),
    /// With what follows this number.
    After(u64),
}

/// Where to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// With the last that is there when reading begins.
    Present,
    /// Never: what is appended later is read as well.
    Ever,
}

/// One entry of a log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Its number.
    pub sequence: u64,
    /// Where it was published.
    pub subject: String,
    /// What it holds.
    pub payload: Bytes,
}

/// Why a log cannot be read, or not from there.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What follows the wanted number is no longer kept.
    #[error("what follows {after} is no longer kept; the oldest is {oldest}")]
    Forgotten {
        /// The wanted number.
        after: u64,
        /// The oldest that is kept; the next one, when none is.
        oldest: u64,
    },
    /// The log has not come as far as that.
    #[error("there is no {after} yet; the last is {last}")]
    Ahead {
        /// The wanted number.
        after: u64,
        /// The last one.
        last: u64,
    },
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] Error),
}

/// Reads a log. Cheap to drop: the server forgets it by itself.
pub struct Reader {
    log: Log,
    place: Place,
    until: Until,
    /// The last number when reading began.
    end: u64,
    consumer: Option<Open>,
    failures: u32,
}

struct Open {
    consumer: Consumer<pull::Config>,
    _temporary: Temporary,
    since: Instant,
    generation: u64,
    /// Whether nothing came from it yet.
    fresh: bool,
    /// What it still has, as far as is known.
    pending: u64,
    batch: Option<pull::Batch>,
    /// Whether anything of that batch came.
    came: bool,
}

/// What one step of reading came to.
enum Step {
    Read(Logged),
    Again,
    End,
}

impl Log {
    pub(super) fn new(connection: Connection, stream: String) -> Self {
        Self(Space::stream(connection, stream))
    }

    /// Appends one entry and gives its number. The same `id` within two minutes makes the same entry.
    ///
    /// # Errors
    /// When the server does not say that it has stored it. It may have, then.
    pub async fn append(&self, subject: &str, id: &str, payload: Bytes) -> Result<u64, Error> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        self.0.publish(subject, headers, payload).await
    }

    /// Reads from a place on.
    ///
    /// # Errors
    /// When that cannot be read, or there is no connection.
    pub async fn read(&self, place: Place, until: Until) -> Result<Reader, ReadError> {
        let mut reader = Reader { log: self.clone(), place, until, end: 0, consumer: None, failures: 0 };
        let (_, last) = self.bounds().await?;
        reader.end = last;
        reader.consumer = Some(reader.open().await?);
        Ok(reader)
    }

    /// The oldest number that is kept, or the next one when none is; and the last one.
    async fn bounds(&self) -> Result<(u64, u64), Error> {
        if !self.0.is_reachable() {
            return Err(Error::Unreachable);
        }
        let info = self.0.handle().await?.get_info().await;
        let state = info.map_err(|error| Error::failed("reading a log", full(&error)))?.state;
        // An empty stream that never held anything says 0 for the first.
        Ok((state.first_sequence.max(1), state.last_sequence))
    }
}

impl Reader {
    /// The next entry; none at the end. Not cancel safe: a reader whose `next` was dropped begins that batch anew.
    ///
    /// # Errors
    /// When what comes next is no longer kept. Until the present end also when the bus fails; else that is waited out.
    pub async fn next(&mut self) -> Result<Option<Logged>, ReadError> {
        loop {
            match self.step().await {
                Ok(Step::Read(entry)) => {
                    self.failures = 0;
                    return Ok(Some(entry));
                }
                Ok(Step::Again) => {}
                Ok(Step::End) => return Ok(None),
                Err(ReadError::Bus(error)) => {
                    self.consumer = None;
                    self.failures += 1;
                    if self.until == Until::Present && self.failures >= TRIES {
                        return Err(error.into());
                    }
                    tracing::debug!(%error, "reading a log broke off; it goes on");
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(50..300))).await;
                    if self.until == Until::Ever {
                        // The only error is a connection that is closed for good, and the node with it.
                        let _ = self.log.0.connection().link().wait_for(|link| link.up).await;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn step(&mut self) -> Result<Step, ReadError> {
        let mut link = self.log.0.connection().link();
        let generation = link.borrow().generation;
        let fits = |open: &Open| open.generation == generation && open.since.elapsed() < RESYNC;
        // While a batch is on its way it is read to its end.
        if !self.consumer.as_ref().is_some_and(|open| fits(open) || open.batch.is_some()) {
            self.consumer = None;
        }
        let open = match self.consumer.take() {
            Some(open) => open,
            None => self.open().await?,
        };
        let open = self.consumer.insert(open);
        if self.until == Until::Present && open.pending == 0 {
            return Ok(Step::End);
        }
        let batch = match &mut open.batch {
            Some(batch) => batch,
            None => {
                open.came = false;
                open.batch.insert(ask(open, self.until).await?)
            }
        };
        let message = tokio::select! {
            message = batch.next() => message,
            // What was on its way over the old connection may be lost.
            _ = link.wait_for(|link| link.up && link.generation != open.generation) => {
                self.consumer = None;
                return Ok(Step::Again);
            }
        };
        match message {
            Some(Ok(message)) => self.take(message).await,
            Some(Err(error)) => Err(Error::failed("reading a log", error).into()),
            None => {
                open.batch = None;
                if self.until == Until::Present && !open.came {
                    // More was there, and nothing came: it was lost on the way, or is no longer kept.
                    return Err(Error::NoAnswer.into());
                }
                Ok(Step::Again)
            }
        }
    }

    /// Checks that a message is the one that follows.
    async fn take(&mut self, message: Message) -> Result<Step, ReadError> {
        let (sequence, nth, pending) = {
            let info = message.info().map_err(|error| Error::failed("reading a log", error))?;
            (info.stream_sequence, info.consumer_sequence, info.pending)
        };
        let fresh = self.consumer.as_mut().is_some_and(|open| {
            open.came = true;
            std::mem::replace(&mut open.fresh, false)
        });
        // The first that arrives must be the first that was sent: another one may have gone with a connection.
        if fresh && nth != 1 {
            self.consumer = None;
            return Ok(Step::Again);
        }
        if let Place::After(after) = self.place {
            if sequence <= after {
                return Ok(Step::Again);
            }
            if sequence != after + 1 {
                let (oldest, _) = self.log.bounds().await?;
                if oldest > after + 1 {
                    return Err(ReadError::Forgotten { after, oldest });
                }
                if !fresh {
                    // Rule 1: asked for from its number on, it comes, unless somebody took it out by hand.
                    self.consumer = None;
                    return Ok(Step::Again);
                }
            }
        }
        if self.until == Until::Present && sequence > self.end {
            return Ok(Step::End);
        }
        self.place = Place::After(sequence);
        if let Some(open) = &mut self.consumer {
            open.pending = pending;
        }
        let message = message.split().0;
        Ok(Step::Read(Logged { sequence, subject: message.subject.into_string(), payload: message.payload }))
    }

    /// A consumer from the place on that comes next.
    async fn open(&self) -> Result<Open, ReadError> {
        let generation = self.log.0.connection().link().borrow().generation;
        let (oldest, last) = self.log.bounds().await?;
        let deliver_policy = match self.place {
            Place::Oldest => DeliverPolicy::All,
            Place::Since(ms) => DeliverPolicy::ByStartTime { start_time: space::time(ms) },
            Place::After(after) if after > last => return Err(ReadError::Ahead { after, last }),
            Place::After(after) if oldest > after + 1 => return Err(ReadError::Forgotten { after, oldest }),
            Place::After(after) => DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
        };
        let config = pull::Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            inactive_threshold: KEPT,
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        };
        let stream = self.log.0.handle().await?;
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| Error::failed("reading a log", full(&error)))?;
        let temporary = Temporary::new(self.log.0.connection(), stream, &consumer.cached_info().name);
        let pending = consumer.cached_info().num_pending;
        Ok(Open {
            consumer,
            _temporary: temporary,
            since: Instant::now(),
            generation,
            fresh: true,
            pending,
            batch: None,
            came: false,
        })
    }
}

/// Asks for a batch: of what is there, or of what is there and what comes.
async fn ask(open: &Open, until: Until) -> Result<pull::Batch, Error> {
    let there = usize::try_from(open.pending).unwrap_or(BATCH);
    let (messages, expires) = match until {
        Until::Present => (there.min(BATCH), SOON),
        Until::Ever => (BATCH, OPEN),
    };
    let batch = open.consumer.batch().max_messages(messages).expires(expires).messages().await;
    batch.map_err(|error| Error::failed("reading a log", full(&error)))
}
