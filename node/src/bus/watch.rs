//! Keeping up with a space: every key's last value now, and each change from then on.
//!
//! ```text
//! Reset, Put…, Current   the whole space, as it is
//! Put…                   what changes after that
//! Reset, Put…, Current   after a reconnection, a gap, or now and then: the whole space again
//! ```

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, push::OrderedConfig};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::temporary::Temporary;
use super::{Entry, Error, Space, space};
use crate::causes::full;

/// What happened in a watched space.
#[derive(Debug, Clone)]
pub enum Change {
    /// All that was told before may be out of date; everything follows once more.
    Reset,
    /// One key has this last value.
    Put(Entry),
    /// Everything up to now has been told.
    Current,
}

/// How long a watch trusts itself. Watches have been seen not to resume after a server restart.
const RESYNC: Duration = Duration::from_secs(60);

/// How long a key may take that is written while everything is read: the server gives it out within milliseconds.
const LATE: Duration = Duration::from_millis(250);

/// When it is full the pump waits, and the server keeps what follows: nothing is lost.
const BACKLOG: usize = 1024;

/// A running watch; dropping it ends it.
pub struct Watch {
    changes: mpsc::Receiver<Change>,
    _pump: AbortOnDropHandle<()>,
}

impl Watch {
    pub(super) fn start(space: Space, filter: String) -> Self {
        let (sender, changes) = mpsc::channel(BACKLOG);
        let pump = tokio::spawn(async move {
            let mut known = HashSet::new();
            loop {
                match pump(&space, &filter, &sender, &mut known).await {
                    Ok(Ended::Closed) => return,
                    Ok(Ended::Again) => {}
                    Err(error) => {
                        tracing::debug!(%error, filter, "a watch broke off; it starts again");
                        let pause = Duration::from_millis(fastrand::u64(50..300));
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        });
        Self { changes, _pump: AbortOnDropHandle::new(pump) }
    }

    /// The next change. Cancel safe.
    pub async fn next(&mut self) -> Change {
        match self.changes.recv().await {
            Some(change) => change,
            // The pump only ends after this side did, or with the whole runtime.
            None => std::future::pending().await,
        }
    }
}

enum Ended {
    Closed,
    Again,
}

/// `known` are the keys that had a value when they were last told.
async fn pump(
    space: &Space,
    filter: &str,
    changes: &mpsc::Sender<Change>,
    known: &mut HashSet<String>,
) -> Result<Ended, Error> {
    let mut link = space.connection().link();
    if link.wait_for(|link| link.up).await.is_err() {
        return Ok(Ended::Closed);
    }
    let generation = link.borrow().generation;
    let stream = space.handle().await?;
    // What the server says of a new reader may lack a key that is written at this moment; what it says of the whole space does not.
    let there = match filter {
        ">" => {
            let info = stream.get_info().await;
            info.map_err(|error| Error::failed("watching", full(&error)))?.state.subjects_count
        }
        _ => 0,
    };
    let consumer = stream
        .create_consumer(OrderedConfig {
            deliver_subject: space.connection().client()?.new_inbox(),
            filter_subject: space.subject(filter),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..Default::default()
        })
        .await
        .map_err(|error| Error::failed("watching", full(&error)))?;
    let _temporary = Temporary::new(space.connection(), stream, &consumer.cached_info().name);
    let promised = consumer.cached_info().num_pending.max(there);
    let messages = consumer.messages().await.map_err(|error| Error::failed("watching", full(&error)))?;
    let mut messages = std::pin::pin!(messages);

    if changes.send(Change::Reset).await.is_err() {
        return Ok(Ended::Closed);
    }
    let mut listing = Some(Listing::new(promised, known));
    // Jitter keeps the nodes of a lattice from asking for everything in the same moment.
    let resync = tokio::time::sleep(RESYNC + Duration::from_millis(fastrand::u64(0..30_000)));
    let mut resync = std::pin::pin!(resync);
    loop {
        if let Some(Listing { unseen, .. }) = listing.take_if(|listing| listing.is_over()) {
            confirm(space, unseen, changes, known).await?;
            if changes.send(Change::Current).await.is_err() {
                return Ok(Ended::Closed);
            }
        }
        let late = listing.as_ref().and_then(|listing| listing.late);
        let message = tokio::select! {
            message = messages.next() => message,
            () = tokio::time::sleep_until(late.unwrap_or_else(Instant::now)), if late.is_some() => continue,
            () = &mut resync => return Ok(Ended::Again),
            // A connection that came back may have missed messages.
            changed = link.wait_for(|link| link.up && link.generation != generation) => {
                return Ok(if changed.is_ok() { Ended::Again } else { Ended::Closed });
            }
            () = changes.closed() => return Ok(Ended::Closed),
        };
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(Error::failed("watching", full(&error))),
            None => return Ok(Ended::Again),
        };
        let info = message.info().map_err(|error| Error::failed("watching", error))?;
        let (revision, pending, stored) = (info.stream_sequence, info.pending, info.published);
        if let Some(listing) = &mut listing {
            listing.tells(&message.subject, pending);
        }
        let Some(key) = space.key(&message.subject) else { continue };
        let headers = message.headers.clone().unwrap_or_default();
        let entry = Entry {
            key: key.to_owned(),
            expired: space::expired(&headers),
            value: space::value(&headers, message.payload.clone()),
            revision,
            stored_ms: space::millis(stored),
        };
        if let Some(listing) = &mut listing {
            listing.unseen.remove(&entry.key);
        }
        match entry.value {
            Some(_) => known.insert(entry.key.clone()),
            None => known.remove(&entry.key),
        };
        if changes.send(Change::Put(entry)).await.is_err() {
            return Ok(Ended::Closed);
        }
    }
}

/// All keys are being read.
///
/// A key that is written meanwhile counts no more as what it was, a moment before it counts as what it is. So the server may
/// call a listing complete without it. It is known to be missing, as the server has said how many keys there are. And where keys are
/// written without pause, the server may never say that this was all, although each of them was told.
struct Listing {
    /// How many there were when it began.
    promised: u64,
    told: HashSet<String>,
    /// Those that had a value when they were last told, and were not told yet.
    unseen: HashSet<String>,
    /// Whether the server has said that this was all.
    all: bool,
    /// Until when it is waited for one that is missing, or for the server's word.
    late: Option<Instant>,
}

impl Listing {
    fn new(promised: u64, known: &HashSet<String>) -> Self {
        Self { promised, told: HashSet::new(), unseen: known.clone(), all: promised == 0, late: None }
    }

    /// One was told, and the server says how many follow.
    fn tells(&mut self, subject: &str, pending: u64) {
        self.told.insert(subject.to_owned());
        self.all |= pending == 0;
        if self.all || self.is_kept() {
            self.late.get_or_insert_with(|| Instant::now() + LATE);
        }
    }

    /// Whether as many were told as were promised. A new key counts as well: where one came to be and another was written in the same
    /// millisecond, that other one comes a moment later.
    fn is_kept(&self) -> bool {
        self.told.len() as u64 >= self.promised
    }

    /// Whether nothing more is to be waited for. What is missing still is there no more.
    fn is_over(&self) -> bool {
        (self.all && self.is_kept()) || self.late.is_some_and(|late| late <= Instant::now())
    }
}

/// Looks for keys that were there before, and were not among those that are there now: that they are gone is said by the server for each
/// of them. Whoever took the key of a lease for gone would take a node that renews it for lost.
async fn confirm(
    space: &Space,
    unseen: HashSet<String>,
    changes: &mpsc::Sender<Change>,
    known: &mut HashSet<String>,
) -> Result<(), Error> {
    for key in unseen {
        match space.get(&key).await?.filter(|entry| entry.value.is_some()) {
            // That nobody listens any more is found out right after this.
            Some(entry) => drop(changes.send(Change::Put(entry)).await),
            None => drop(known.remove(&key)),
        }
    }
    Ok(())
}

/// Reads an entry; none leaves it out.
type Parse<T> = Box<dyn Fn(&Entry) -> Option<T> + Send + Sync>;

/// The parsed contents of a watched space.
///
/// During a resync the old contents stay visible until the new ones are complete, so that a reader never takes a
/// half-read space for the whole.
pub struct Mirror<T> {
    entries: BTreeMap<String, Mirrored<T>>,
    incoming: Option<BTreeMap<String, Mirrored<T>>>,
    complete: bool,
    parse: Parse<T>,
}

/// A parsed value with its revision.
#[derive(Debug, Clone)]
pub struct Mirrored<T> {
    /// The stream sequence of the value.
    pub revision: u64,
    /// What it says.
    pub value: T,
}

impl<T> Mirror<T> {
    /// An empty one; `parse` gives none for what cannot be read, which is then left out.
    pub fn new(parse: impl Fn(&Entry) -> Option<T> + Send + Sync + 'static) -> Self {
        Self { entries: BTreeMap::new(), incoming: None, complete: false, parse: Box::new(parse) }
    }

    /// Takes in a change. True when the visible contents may have changed and are complete.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Reset => {
                self.incoming = Some(BTreeMap::new());
                false
            }
            Change::Current => {
                if let Some(incoming) = self.incoming.take() {
                    self.entries = incoming;
                }
                self.complete = true;
                true
            }
            Change::Put(entry) => {
                let parsed = entry.value.as_ref().and_then(|_| (self.parse)(&entry));
                let target = self.incoming.as_mut().unwrap_or(&mut self.entries);
                match parsed {
                    Some(value) => {
                        target.insert(entry.key, Mirrored { revision: entry.revision, value });
                    }
                    None => {
                        target.remove(&entry.key);
                    }
                }
                self.complete && self.incoming.is_none()
            }
        }
    }

    /// Whether the space has been read through once.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The visible contents.
    pub fn entries(&self) -> &BTreeMap<String, Mirrored<T>> {
        &self.entries
    }

    /// One of them.
    pub fn get(&self, key: &str) -> Option<&Mirrored<T>> {
        self.entries.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_waits_for_what_was_promised_and_not_for_ever() {
        let none = HashSet::new();
        assert!(Listing::new(0, &none).is_over());
        let mut listing = Listing::new(2, &none);
        listing.tells("a", 0);
        assert!(!listing.is_over(), "the other one is written at this moment, and the server is wrong");
        listing.tells("b", 1);
        assert!(listing.is_over());

        let mut written = Listing::new(1, &none);
        written.tells("a", 5);
        assert!(!written.is_over(), "the server has not said that this is all");
        let mut gone = Listing::new(2, &none);
        gone.tells("a", 0);
        for mut listing in [written, gone] {
            assert!(!listing.is_over());
            listing.late = listing.late.map(|late| late.checked_sub(LATE).unwrap());
            assert!(listing.is_over());
        }
    }

    fn put(key: &str, value: Option<&'static str>) -> Change {
        let value = value.map(|text| bytes::Bytes::from_static(text.as_bytes()));
        Change::Put(Entry { key: key.into(), value, expired: false, revision: 1, stored_ms: 0 })
    }

    #[test]
    fn a_resync_replaces_the_contents_only_when_it_is_complete() {
        let mut mirror = Mirror::new(|entry| entry.value.clone());
        assert!(!mirror.apply(Change::Reset));
        assert!(!mirror.apply(put("a", Some("1"))));
        assert!(mirror.apply(Change::Current));
        assert!(mirror.apply(put("b", Some("2"))));
        assert_eq!(mirror.entries().len(), 2);
        assert!(!mirror.apply(Change::Reset));
        assert!(!mirror.apply(put("b", Some("3"))));
        assert_eq!(mirror.entries().len(), 2, "the old contents are still visible");
        assert!(mirror.apply(Change::Current));
        assert_eq!(mirror.entries().keys().collect::<Vec<_>>(), ["b"], "what is gone is gone");
        assert!(mirror.apply(put("b", None)));
        assert!(mirror.entries().is_empty());
    }
}
