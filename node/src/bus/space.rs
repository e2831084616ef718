//! A space of keys, each with its last value and a revision that only grows: a bucket, or a stream with one message
//! per subject. Reads may be stale; only a compare-and-set tells the truth.

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{
    DirectGetErrorKind, LastRawMessageErrorKind, RawMessageErrorKind, Stream,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::OnceCell;

use super::temporary::Temporary;
use super::{Change, Connection, Error, Watch};
use crate::causes::full;

/// What the server answers when an expected sequence is not the actual one.
const WRONG_LAST_SEQUENCE: u64 = 10071;
/// What it answers while another write to that subject is on its way.
const IN_PROCESS: u64 = 10164;

/// The last value of one key.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Relative to the space.
    pub key: String,
    /// None where it was removed or has expired.
    pub value: Option<Bytes>,
    /// Whether the server took it away, and nobody else.
    pub expired: bool,
    /// The stream sequence of the value.
    pub revision: u64,
    /// When the server stored it: milliseconds since 1970 by the server's clock.
    pub stored_ms: i64,
}

/// What became of a guarded write.
#[derive(Debug)]
pub enum Fate {
    /// It is stored, at this revision.
    Stored(u64),
    /// Another write came before: the last revision of the key is not the expected one. It is not stored.
    Refused,
    /// Another write to the key is on its way. It is not stored, and may be tried again as it is.
    Busy,
    /// It was not sent.
    Unsent,
    /// Nobody knows; with the reason.
    Unsure(String),
}

/// A cheap handle on one space.
#[derive(Clone)]
pub struct Space {
    connection: Connection,
    stream_name: String,
    /// Put before every key to make its subject.
    prefix: String,
    /// Without the stream's info, so that it stays usable when the stream is created anew.
    stream: Arc<OnceCell<Stream<()>>>,
}

impl Space {
    pub(super) fn bucket(connection: Connection, name: String) -> Self {
        let prefix = format!("$KV.{name}.");
        Self { connection, stream_name: format!("KV_{name}"), prefix, stream: Arc::default() }
    }

    pub(super) fn stream(connection: Connection, name: String) -> Self {
        Self { connection, stream_name: name, prefix: String::new(), stream: Arc::default() }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether there is a connection now.
    pub fn is_reachable(&self) -> bool {
        self.connection.is_up()
    }

    pub(super) fn subject(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(super) fn key<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(&self.prefix)
    }

    pub(super) async fn handle(&self) -> Result<&Stream<()>, Error> {
        let jetstream = self.connection.jetstream()?;
        let open = || jetstream.get_stream_no_info(&self.stream_name);
        self.stream
            .get_or_try_init(open)
            .await
            .map_err(|error| Error::failed("opening a stream", full(&error)))
    }

    /// The last value of a key, removed ones included so that their revision is known. A question that got no answer is asked once more:
    /// a server that is busy, or gives way to another, may drop it without a word.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let mut asked = false;
        loop {
            if !self.connection.is_up() {
                return Err(Error::Unreachable);
            }
            match self.handle().await?.direct_get_last_for_subject(self.subject(key)).await {
                Ok(message) => return Ok(Some(entry(key, message))),
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(None),
                Err(error) if error.kind() == DirectGetErrorKind::TimedOut && !asked => asked = true,
                Err(error) => return Err(Error::failed("reading a record", full(&error))),
            }
        }
    }

    /// Counts the times that the connection came up. A server that lost its data begins another one.
    pub fn generation(&self) -> u64 {
        self.connection.link().borrow().generation
    }

    /// The last value of a key as the stream's own leader has it, which is slower than [`Self::get`] and less often stale.
    pub async fn newest(&self, key: &str) -> Result<Option<Entry>, Error> {
        if !self.connection.is_up() {
            return Err(Error::Unreachable);
        }
        let read = self.handle().await?.get_last_raw_message_by_subject(&self.subject(key)).await;
        match read {
            Ok(message) => Ok(Some(entry(key, message))),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Error::failed("reading a record", full(&error))),
        }
    }

    /// The value that was stored at a revision, with its key; none when it was taken out since.
    pub(super) async fn at(&self, revision: u64) -> Result<Option<Entry>, Error> {
        if !self.connection.is_up() {
            return Err(Error::Unreachable);
        }
        match self.handle().await?.get_raw_message(revision).await {
            Ok(message) => {
                let key = self.key(&message.subject).unwrap_or_default().to_owned();
                Ok(Some(entry(&key, message)))
            }
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Error::failed("reading a record", full(&error))),
        }
    }

    /// The keys under a filter, sorted, without their values. What was removed is there as well.
    pub async fn keys(&self, filter: &str) -> Result<BTreeSet<String>, Error> {
        if !self.is_reachable() {
            return Err(Error::Unreachable);
        }
        let failed = |error| Error::failed("listing records", full(&error));
        let subjects = self.handle().await?.info_with_subjects(self.subject(filter)).await.map_err(failed)?;
        let keys = subjects.try_filter_map(async |(subject, _)| Ok(self.key(&subject).map(str::to_owned)));
        keys.try_collect().await.map_err(failed)
    }

    /// A page of the keys, without their values, in the order in which they were written last, from a revision on. Gives the
    /// revision from which the next page begins, where there may be one.
    pub async fn page(&self, from: u64, most: usize) -> Result<(Vec<String>, Option<u64>), Error> {
        if !self.is_reachable() {
            return Err(Error::Unreachable);
        }
        let failed =
            |error: &(dyn std::error::Error + 'static)| Error::failed("listing records", full(error));
        let stream = self.handle().await?;
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
            ack_policy: AckPolicy::None,
            filter_subject: self.subject(">"),
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| failed(&error))?;
        let _temporary = Temporary::new(&self.connection, stream, &consumer.cached_info().name);
        let (mut keys, mut next, mut left) = (Vec::new(), from, consumer.cached_info().num_pending);
        if left == 0 {
            return Ok((keys, None));
        }
        let batch = consumer.fetch().max_messages(most).messages().await;
        let mut batch = batch.map_err(|error| failed(&error))?;
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| Error::failed("listing records", error))?;
            let info = message.info().map_err(|error| Error::failed("listing records", error))?;
            (next, left) = (info.stream_sequence + 1, info.pending);
            let headers = message.headers.clone().unwrap_or_default();
            if let (Some(key), Some(_)) = (self.key(&message.subject), value(&headers, Bytes::new())) {
                keys.push(key.to_owned());
            }
        }
        Ok((keys, (left > 0).then_some(next)))
    }

    /// The largest value that the server takes, in bytes.
    pub fn room(&self) -> usize {
        self.connection.max_payload().saturating_sub(HEADERS)
    }

    /// Writes if the last revision of the key is still `expected`, and tells exactly what became of it.
    pub async fn write_if(&self, key: &str, value: Bytes, expected: u64) -> Fate {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string().as_str());
        self.write_with(key, headers, value).await
    }

    /// Has the server write this under the key `target` at a time, in seconds since 1970 by its own clock, if the last revision
    /// of `key`, under which the order is kept until then, is still `expected`. What is past is written at once.
    pub async fn schedule_if(&self, key: &str, target: &str, at: u64, value: Bytes, expected: u64) -> Fate {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string().as_str());
        // Beyond its calendar is as good as never.
        let at = i64::try_from(at).unwrap_or(i64::MAX).min(LAST_SECOND);
        let at = time::OffsetDateTime::from_unix_timestamp(at).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
        let at = at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
        headers.insert("Nats-Schedule", format!("@at {at}").as_str());
        headers.insert("Nats-Schedule-Target", self.subject(target).as_str());
        self.write_with(key, headers, value).await
    }

    async fn write_with(&self, key: &str, headers: HeaderMap, value: Bytes) -> Fate {
        match self.exchange(key, headers, value).await {
            Ok(Ok(sequence)) => Fate::Stored(sequence),
            Ok(Err(AckError { err_code: WRONG_LAST_SEQUENCE, .. })) => Fate::Refused,
            Ok(Err(AckError { err_code: IN_PROCESS, .. })) => Fate::Busy,
            Ok(Err(AckError { description, .. })) => Fate::Unsure(description),
            Err(Error::Unreachable) => Fate::Unsent,
            Err(error) => Fate::Unsure(error.to_string()),
        }
    }

    /// Writes without looking.
    pub async fn put(&self, key: &str, value: Bytes) -> Result<u64, Error> {
        self.publish(key, HeaderMap::new(), value).await
    }

    /// Writes if the last revision of the key is still `expected`; 0 means that there is none.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is not. That is no proof that an earlier, unanswered write of one's own was lost.
    pub async fn put_if(&self, key: &str, value: Bytes, expected: u64) -> Result<u64, Error> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string().as_str());
        self.publish(key, headers, value).await
    }

    /// Writes one key if the last revision of another is still what it was.
    pub async fn put_guarded(&self, guard: &Guard<'_>, key: &str, value: Bytes) -> Result<u64, Error> {
        self.publish(key, self.guard_headers(guard), value).await
    }

    /// Removes a key; watchers see it go.
    pub async fn remove(&self, key: &str) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        self.publish(key, headers, Bytes::new()).await.map(|_| ())
    }

    /// Removes a key if its last revision is still `expected`.
    pub async fn remove_if(&self, key: &str, expected: u64) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string().as_str());
        self.publish(key, headers, Bytes::new()).await.map(|_| ())
    }

    /// Writes all or none of several keys, if the guard's revision is still what it was.
    ///
    /// More keys than one batch holds are written in several batches, each guarded alike: every one of them is all or
    /// nothing, and after the guard moved none of the later ones is written.
    pub async fn put_all_guarded(&self, guard: &Guard<'_>, writes: &[(String, Bytes)]) -> Result<(), Error> {
        for batch in writes.chunks(MAX_BATCH) {
            match batch {
                [(key, value)] => {
                    self.put_guarded(guard, key, value.clone()).await?;
                }
                _ => self.put_batch(guard, batch).await?,
            }
        }
        Ok(())
    }

    async fn put_batch(&self, guard: &Guard<'_>, writes: &[(String, Bytes)]) -> Result<(), Error> {
        let Some(((last_key, last_value), earlier)) = writes.split_last() else { return Ok(()) };
        let id = uuid::Uuid::now_v7().simple().to_string();
        let headers = |number: usize| {
            // Every message states the guard only once, on the first: the server checks all of them at the commit.
            let mut headers = if number == 1 { self.guard_headers(guard) } else { HeaderMap::new() };
            headers.insert("Nats-Batch-Id", id.as_str());
            headers.insert("Nats-Batch-Sequence", number.to_string().as_str());
            headers
        };
        let client = self.connection.client()?;
        for (number, (key, value)) in earlier.iter().enumerate() {
            client
                .publish_with_headers(self.subject(key), headers(number + 1), value.clone())
                .await
                .map_err(|error| Error::failed("writing a batch", full(&error)))?;
        }
        let mut commit = headers(writes.len());
        commit.insert("Nats-Batch-Commit", "1");
        self.publish(last_key, commit, last_value.clone()).await.map(|_| ())
    }

    /// Forgets a key altogether, as if it had never been there.
    pub async fn purge(&self, key: &str) -> Result<(), Error> {
        let purged = self.handle().await?.purge().filter(self.subject(key)).await;
        purged.map(|_| ()).map_err(|error| Error::failed("purging a record", full(&error)))
    }

    /// Reads all keys under a filter once, sorted. It is not made at one moment: what is written meanwhile may be missing.
    pub async fn list(&self, filter: &str) -> Result<Vec<Entry>, Error> {
        if !self.is_reachable() {
            return Err(Error::Unreachable);
        }
        let read = async {
            let mut watch = self.watch(filter);
            let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
            loop {
                match watch.next().await {
                    Change::Reset => entries.clear(),
                    Change::Put(entry) if entry.value.is_some() => {
                        drop(entries.insert(entry.key.clone(), entry));
                    }
                    Change::Put(entry) => drop(entries.remove(&entry.key)),
                    Change::Current => return entries.into_values().collect(),
                }
            }
        };
        let late = |_| Error::failed("reading the lattice's state", "NATS did not answer in time");
        tokio::time::timeout(LIST, read).await.map_err(late)
    }

    /// Keeps up with all keys under a filter such as `>` or `node.*`.
    pub fn watch(&self, filter: &str) -> Watch {
        Watch::start(self.clone(), filter.to_owned())
    }

    fn guard_headers(&self, guard: &Guard<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", guard.revision.to_string().as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", self.subject(guard.key).as_str());
        headers
    }

    pub(super) async fn publish(&self, key: &str, headers: HeaderMap, value: Bytes) -> Result<u64, Error> {
        match self.exchange(key, headers, value).await? {
            Ok(sequence) => Ok(sequence),
            Err(AckError { err_code: WRONG_LAST_SEQUENCE | IN_PROCESS, .. }) => Err(Error::Conflict),
            Err(AckError { description, .. }) => Err(Error::failed(WRITE, description)),
        }
    }

    /// Writes, and gives the sequence or what the server says against it.
    pub(super) async fn exchange(
        &self,
        key: &str,
        headers: HeaderMap,
        value: Bytes,
    ) -> Result<Result<u64, AckError>, Error> {
        #[derive(serde::Deserialize)]
        struct Ack {
            seq: Option<u64>,
            error: Option<AckError>,
        }
        if !self.connection.is_up() {
            return Err(Error::Unreachable);
        }
        let request = async_nats::Request::new().headers(headers).payload(value).timeout(None);
        let exchange = self.connection.client()?.send_request(self.subject(key), request);
        let message = tokio::time::timeout(WRITE_TIMEOUT, exchange)
            .await
            .map_err(|_| Error::failed(WRITE, "no acknowledgement in time"))?
            .map_err(|error| Error::failed(WRITE, full(&error)))?;
        let ack: Ack =
            serde_json::from_slice(&message.payload).map_err(|error| Error::failed(WRITE, error))?;
        match (ack.seq, ack.error) {
            (_, Some(error)) => Ok(Err(error)),
            (Some(sequence), None) => Ok(Ok(sequence)),
            (None, None) => Err(Error::failed(WRITE, "an acknowledgement without a sequence")),
        }
    }
}

/// What the server says against a write.
#[derive(serde::Deserialize)]
pub(super) struct AckError {
    pub err_code: u64,
    pub description: String,
}

/// The last day that fits into what the server counts in: nanoseconds since 1970 in 64 bits, which is in the year 2262.
const LAST_SECOND: i64 = i64::MAX / 1_000_000_000 - 86_400;

/// Room for the headers of a write, which the server counts as well.
const HEADERS: usize = 4 << 10;

/// How long reading a whole space may take.
const LIST: std::time::Duration = std::time::Duration::from_secs(5);

/// What failed, in errors.
const WRITE: &str = "writing a record";

/// The most messages that the server takes in one atomic batch.
const MAX_BATCH: usize = 1_000;

/// Acknowledgements come in a fraction of a millisecond, and in seconds while a cluster elects.
const WRITE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// A key whose revision must not have moved.
pub struct Guard<'a> {
    /// The key.
    pub key: &'a str,
    /// Its last revision as the writer knows it.
    pub revision: u64,
}

/// A key with the message that was stored last for it.
fn entry(key: &str, message: StreamMessage) -> Entry {
    Entry {
        key: key.to_owned(),
        expired: expired(&message.headers),
        value: value(&message.headers, message.payload),
        revision: message.sequence,
        stored_ms: millis(message.time),
    }
}

/// The value of a stored message, or none where it marks a removal or an expiry.
pub(super) fn value(headers: &HeaderMap, payload: Bytes) -> Option<Bytes> {
    let removed = headers.get("KV-Operation").is_some() || headers.get("Nats-Marker-Reason").is_some();
    (!removed).then_some(payload)
}

/// Whether a stored message is the server's own mark of an expiry.
pub(super) fn expired(headers: &HeaderMap) -> bool {
    headers.get("Nats-Marker-Reason").is_some()
}

/// A time of the server's clock, in milliseconds since 1970. What lies beyond its calendar is its beginning.
pub(super) fn time(ms: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

pub(super) fn millis(time: time::OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}
