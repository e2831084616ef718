//! A stream of letters: each stays until whoever handled it says so, and is read in the order in which it was posted.
//!
//! Rules:
//! 1. A group of subjects has one reader at a time. The server allows no two consumers on one subject of such a stream, so
//!    whoever reads makes the consumer of its epoch, and takes that of an earlier epoch away. One of a later epoch stays:
//!    whoever finds it reads no more.
//! 2. A consumer begins with the oldest letter that is there. What an earlier reader had and did not acknowledge comes
//!    again, before what is newer. So it does when a reader begins anew: its consumer is reset.
//! 3. Deliveries of one consumer are numbered. One that is skipped was lost on the way, and what follows must not overtake
//!    it: the reader begins anew.

mod shared;

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::stream::{ConsumerErrorKind, Stream};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use lattice_proto::letter::Place;

use super::space::millis;
use super::{Connection, Error, Headers, Space};
use crate::causes::full;

pub use shared::SharedReader;

/// What the server answers to a write that its store does not take: also when a subject holds as much as it may.
const NOT_STORED: u64 = 10_077;

/// How the server says that it is for want of room.
const NO_ROOM: &str = "maximum";

/// Letters that are asked for at once.
const BATCH: usize = 64;

/// How long a request for letters stays open. A consumer that vanished is noticed by the next one.
const OPEN: Duration = Duration::from_secs(10);

/// How long the server keeps a consumer that asks for nothing, as after the loss of its reader.
const KEPT: Duration = Duration::from_secs(60);

/// The pauses before it is tried to read on.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// When a letter that was not acknowledged comes again to the same reader. An acknowledgement may be lost.
const AGAIN: Duration = Duration::from_secs(60);

/// The same of a queue: after the loss of a node others are to go on soon with what it had. Whoever works for longer says so.
pub(super) const HELD: Duration = Duration::from_secs(10);

/// Letters that may be with one reader: many times what one subject holds, so that some that cannot be handled do not hold
/// up all others.
pub(super) const WITH_READER: i64 = 16_000;

/// How often the consumers of others are taken away before it is left to a later attempt.
const TRIES: u32 = 5;

/// A cheap handle on one stream.
#[derive(Clone)]
pub struct Mail(Space);

/// What became of a letter that was to be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// It is stored, now or by an earlier try.
    Stored,
    /// There are as many as may be. It is not stored.
    Full,
    /// It was not sent.
    Unsent,
    /// Nobody knows; with the reason. To post it once more within two minutes does no harm.
    Unsure(String),
}

/// Who reads.
#[derive(Debug, Clone)]
pub struct Group {
    /// What is read; a word.
    pub name: String,
    /// Later readers have higher ones.
    pub epoch: u64,
    /// The subjects.
    pub filters: Vec<String>,
}

/// Reads one group.
pub struct MailReader {
    mail: Mail,
    group: Group,
    open: Option<Open>,
    /// How often in a row it could not go on.
    failures: u32,
}

struct Open {
    consumer: Consumer<pull::Config>,
    /// When the stream was created, in nanoseconds since 1970.
    stream: u64,
    generation: u64,
    /// The number of the next delivery.
    next: u64,
    batch: Option<pull::Batch>,
}

/// What comes next.
pub enum Collected {
    /// A letter.
    Letter(Delivered),
    /// All that was not acknowledged comes again.
    Anew,
}

/// A letter as it was delivered.
pub struct Delivered {
    /// Where it was posted.
    pub subject: String,
    /// Its bytes.
    pub payload: Bytes,
    /// How many it takes with all else that it says, its headers among them.
    pub size: usize,
    /// Where it lies.
    pub place: Place,
    /// What else it says.
    pub headers: Headers,
    /// When the server stored it, in milliseconds since 1970.
    pub stored_ms: u64,
    /// How often it was delivered, this time included, to whomever.
    pub times: u32,
    /// What takes it out of the stream.
    pub receipt: Receipt,
}

/// Takes a letter out of its stream.
#[derive(Clone)]
pub struct Receipt {
    connection: Connection,
    to: async_nats::Subject,
}

impl Mail {
    pub(super) fn new(connection: Connection, stream: String) -> Self {
        Self(Space::stream(connection, stream))
    }

    /// Posts a letter. The same `id` within two minutes makes the same letter.
    pub async fn post(&self, subject: &str, id: &str, letter: Bytes) -> Posted {
        self.post_with(subject, id, &[], letter).await
    }

    /// The same, and the letter says this besides.
    pub async fn post_with(&self, subject: &str, id: &str, says: &[(&str, &str)], letter: Bytes) -> Posted {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        for (name, value) in says {
            headers.insert(*name, *value);
        }
        match self.0.exchange(subject, headers, letter).await {
            Ok(Ok(_)) => Posted::Stored,
            Ok(Err(refused))
                if refused.err_code == NOT_STORED && refused.description.starts_with(NO_ROOM) =>
            {
                Posted::Full
            }
            Ok(Err(refused)) => Posted::Unsure(refused.description),
            Err(Error::Unreachable) => Posted::Unsent,
            Err(error) => Posted::Unsure(error.to_string()),
        }
    }

    /// How many letters lie under a subject.
    ///
    /// # Errors
    /// When they cannot be counted at the moment.
    pub async fn count(&self, subject: &str) -> Result<u64, Error> {
        if !self.0.is_reachable() {
            return Err(Error::Unreachable);
        }
        let failed = |error| Error::failed(READ, full(&error));
        let counts = self.0.handle().await?.info_with_subjects(subject).await.map_err(failed)?;
        counts.try_fold(0, async |sum, (_, count)| Ok(sum + count as u64)).await.map_err(failed)
    }

    /// The bytes of the letter at this place; none when it is not there any more. A stream that
    /// was made anew has others in its places.
    ///
    /// # Errors
    /// When it cannot be read at the moment.
    pub async fn at(&self, place: Place) -> Result<Option<Bytes>, Error> {
        Ok(self.0.at(place.sequence).await?.and_then(|entry| entry.value))
    }

    /// How many bytes one letter may have.
    pub fn room(&self) -> usize {
        self.0.room()
    }

    pub(super) fn space(&self) -> &Space {
        &self.0
    }

    /// Reads everything, together with whoever else does.
    pub fn share(&self) -> SharedReader {
        SharedReader::new(self.clone(), None)
    }

    /// Reads a queue that somebody made of the stream, together with whoever else does. While there is no such queue it waits.
    pub fn queue(&self, name: String) -> SharedReader {
        SharedReader::new(self.clone(), Some(name))
    }

    /// Reads a group.
    pub fn read(&self, group: Group) -> MailReader {
        MailReader { mail: self.clone(), group, open: None, failures: 0 }
    }
}

impl MailReader {
    /// The next letter. While NATS is away it waits. Not cancel safe: a reader whose `next` was dropped begins anew.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a later reader has the group.
    pub async fn next(&mut self) -> Result<Collected, Error> {
        loop {
            let mut link = self.mail.0.connection().link();
            let Some(mut open) = self.open.take() else {
                match self.open().await {
                    Ok(open) => {
                        self.open = Some(open);
                        return Ok(Collected::Anew);
                    }
                    Err(Error::Conflict) => return Err(Error::Conflict),
                    Err(error) => {
                        tracing::warn!(%error, group = self.group.name, "letters cannot be read yet");
                        self.pause().await;
                        // The only error is a connection that is closed for good, and the node with it.
                        let _ = link.wait_for(|link| link.up).await;
                        continue;
                    }
                }
            };
            let stale = |link: &super::Link| link.up && link.generation != open.generation;
            if stale(&link.borrow()) {
                continue;
            }
            let batch = match &mut open.batch {
                Some(batch) => batch,
                None => match open.consumer.batch().max_messages(BATCH).expires(OPEN).messages().await {
                    Ok(batch) => open.batch.insert(batch),
                    Err(error) => {
                        let (error, group) = (full(&error), &self.group.name);
                        tracing::debug!(error, group, "letters are asked for anew");
                        self.pause().await;
                        continue;
                    }
                },
            };
            let message = tokio::select! {
                message = batch.next() => message,
                // What was on its way over the old connection may be lost.
                _ = link.wait_for(stale) => continue,
            };
            match message {
                Some(Ok(message)) => {
                    let Ok(info) = message.info() else { continue };
                    let (delivery, sequence) = (info.consumer_sequence, info.stream_sequence);
                    let Some(to) = message.message.reply.clone() else { continue };
                    if delivery != open.next {
                        continue;
                    }
                    open.next += 1;
                    self.failures = 0;
                    let place = Place { stream: open.stream, sequence };
                    self.open = Some(open);
                    let receipt = Receipt { connection: self.mail.0.connection().clone(), to };
                    let (stored_ms, times) = told(&info);
                    return Ok(Collected::Letter(delivered(
                        message.message,
                        stored_ms,
                        times,
                        place,
                        receipt,
                    )));
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, group = self.group.name, "reading letters broke off; it begins anew");
                    self.pause().await;
                }
                None => {
                    self.failures = 0;
                    open.batch = None;
                    self.open = Some(open);
                }
            }
        }
    }

    async fn open(&mut self) -> Result<Open, Error> {
        let connection = self.mail.0.connection();
        if !connection.is_up() {
            return Err(Error::Unreachable);
        }
        let generation = connection.link().borrow().generation;
        let stream = self.mail.0.handle().await?;
        let info = stream.get_info().await.map_err(|error| Error::failed(READ, full(&error)))?;
        let created = u64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(0);
        let Group { name, epoch, filters } = &self.group;
        let config = pull::Config {
            // With its stream: a receipt of a stream that is not there any more says nothing of this one.
            name: Some(format!("{name}_{epoch}_{created}")),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: AGAIN,
            max_ack_pending: WITH_READER,
            filter_subjects: filters.clone(),
            inactive_threshold: KEPT,
            memory_storage: true,
            ..Default::default()
        };
        for _ in 0..TRIES {
            // What is there already is as good.
            match stream.create_consumer(config.clone()).await {
                Ok(mut consumer) => {
                    if consumer.cached_info().delivered.consumer_sequence > 0 {
                        let reset = consumer.reset(None).await;
                        reset.map_err(|error| Error::failed(READ, full(&error)))?;
                    }
                    return Ok(Open { consumer, stream: created, generation, next: 1, batch: None });
                }
                Err(error) => match error.kind() {
                    ConsumerErrorKind::JetStream(refused)
                        if refused.error_code() == ErrorCode::CONSUMER_WQ_CONSUMER_NOT_UNIQUE =>
                    {
                        self.supersede(stream).await?;
                    }
                    _ => return Err(Error::failed(READ, full(&error))),
                },
            }
        }
        Err(Error::failed(READ, "others read it as well"))
    }

    /// The more often it failed in a row, the longer; a lattice has hundreds of readers, and a server that is hard pressed
    /// must not be asked by all of them all the time.
    async fn pause(&mut self) {
        let longest = LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(longest.mul_f64(0.5 + fastrand::f64())).await;
    }

    /// Takes away what earlier readers of the group have made.
    async fn supersede(&self, stream: &Stream<()>) -> Result<(), Error> {
        let names: Vec<String> =
            stream.consumer_names().try_collect().await.map_err(|error| Error::failed(READ, full(&error)))?;
        let of_group = |name: &String| {
            let mut parts = name.rsplitn(3, '_');
            let (_created, epoch, group) = (parts.next()?, parts.next()?, parts.next()?);
            (group == self.group.name).then(|| epoch.parse::<u64>().ok())?
        };
        for name in names {
            match of_group(&name) {
                Some(epoch) if epoch > self.group.epoch => return Err(Error::Conflict),
                Some(epoch) if epoch == self.group.epoch => {}
                // That it is gone already is as good.
                Some(_) => drop(stream.delete_consumer(&name).await),
                None => {}
            }
        }
        Ok(())
    }
}

impl Receipt {
    /// Takes it out. Should that be lost on the way, the letter comes again.
    pub async fn give(&self) {
        self.connection.publish(self.to.clone(), Bytes::from_static(b"+ACK")).await;
    }

    /// The same, and waits for the connection where it is lost, for as long as the server waits for a word: what is done need not be
    /// done once more.
    pub async fn give_in_time(&self) {
        let mut link = self.connection.link();
        // Later than that it comes again anyway.
        let _ = tokio::time::timeout(HELD, link.wait_for(|link| link.up)).await;
        self.give().await;
    }

    /// Says that it is being handled still.
    pub async fn working(&self) {
        self.connection.publish(self.to.clone(), Bytes::from_static(b"+WPI")).await;
    }

    /// Says so for as long as this takes, to a server that would otherwise deliver it once more after [`HELD`].
    pub async fn while_working<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        // It was delivered a moment ago, which says as much.
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + HELD / 3, HELD / 3);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = tick.tick() => self.working().await,
            }
        }
    }

    /// Lets it be delivered once more, after so long.
    pub async fn again(&self, after: Duration) {
        let word = format!("-NAK {{\"delay\": {}}}", after.as_nanos());
        self.connection.publish(self.to.clone(), word.into()).await;
    }
}

/// When the server stored a letter, and how often it has delivered it.
fn told(info: &async_nats::jetstream::message::Info<'_>) -> (u64, u32) {
    (u64::try_from(millis(info.published)).unwrap_or(0), u32::try_from(info.delivered).unwrap_or(u32::MAX))
}

fn delivered(
    message: async_nats::Message,
    stored_ms: u64,
    times: u32,
    place: Place,
    receipt: Receipt,
) -> Delivered {
    let async_nats::Message { subject, payload, headers, length: size, .. } = message;
    Delivered {
        subject: subject.into_string(),
        payload,
        size,
        place,
        headers: Headers(headers),
        stored_ms,
        times,
        receipt,
    }
}

/// What failed, in errors.
const READ: &str = "reading letters";
