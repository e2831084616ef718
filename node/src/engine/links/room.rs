//! Room for the values of links. They arrive as text, and what they take in memory may be hundreds of times as much: so they are counted
//! while they are made, and what is more than a little is made where computing holds up nobody else.

use std::sync::Arc;
use std::thread::available_parallelism;

use bytes::Bytes;
use lattice_proto::{Fault, Ran};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

/// The values of one call, in bytes. Nobody sends more either.
pub(crate) const MOST: usize = 64 << 20;

/// The arguments that all turns of this node hold at once, in bytes. Who comes when it is used up may be served by another node.
const ALL: usize = 256 << 20;

/// Each turn has so much of its own: how many of them there are is bounded already.
const OWN: usize = 16 << 10;

/// What is taken at once beyond that.
const PART: usize = 64 << 10;

/// A longer text is read where computing may take long.
const SHORT: usize = 16 << 10;

/// Values of which this is less, in bytes, are made and written down at once. A short text that stands for more is begun anew elsewhere.
pub(super) const QUICK: usize = 256 << 10;

/// What the node has for the values of links. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Room {
    /// Parts that no turn holds.
    parts: Arc<Semaphore>,
    /// Long texts that are read at once. While they are, they take about 50 times their size besides.
    readers: Arc<Semaphore>,
}

/// For how long values are held.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Held {
    /// To the end of a turn, whose arguments they are; Wasmtime has a copy of its own.
    Turn,
    /// Until the guest has them, which is the next that happens: as many are held as are read.
    Moment,
}

/// Why values were not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// They take more than so many bytes.
    TooLarge(usize),
    /// The node holds too many already.
    Full,
    /// They are not what they should be, for this reason.
    Malformed(String),
}

impl Unread {
    /// What a caller is told whose arguments they are. Nothing ran.
    pub(crate) fn of_arguments(self, function: &str) -> Fault {
        match self {
            Unread::TooLarge(limit) => {
                Fault::TooLarge { limit: limit as u64, size: limit as u64 + 1, ran: Ran::No }
            }
            Unread::Full => {
                Fault::Overloaded(format!("{function} (the node holds too many arguments of links already)"))
            }
            Unread::Malformed(reason) => Fault::Malformed(format!("its values cannot be read: {reason}")),
        }
    }

    /// What is told of a reply.
    pub(crate) fn of_reply(self) -> String {
        let reason = match self {
            Unread::TooLarge(limit) => format!("its values take more than {limit} bytes of memory"),
            Unread::Full => "the node has no room for its values".to_owned(),
            Unread::Malformed(reason) => reason,
        };
        format!("it ran, and its reply cannot be read: {reason}")
    }
}

impl Default for Room {
    fn default() -> Self {
        let readers = available_parallelism().map_or(1, usize::from);
        Self { parts: Arc::new(Semaphore::new(ALL / PART)), readers: Arc::new(Semaphore::new(readers)) }
    }
}

impl Room {
    /// Has a payload read, and gives what was read with the room that it takes.
    ///
    /// # Errors
    /// What `read` says, or that there is no room.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        payload: Bytes,
        held: Held,
        read: impl Fn(&[u8], &mut Share) -> Result<T, Unread> + Send + 'static,
    ) -> Result<(T, Share), Unread> {
        if payload.len() <= SHORT {
            let mut share = self.share(held, QUICK);
            match read(&payload, &mut share) {
                Err(Unread::TooLarge(_)) => {}
                read => return read.map(|values| (values, share)),
            }
        }
        let gone = || Unread::Malformed("the node is stopping".to_owned());
        let (readers, mut share) = (self.readers.clone(), self.share(held, MOST));
        // In a task of its own: a guest that computes does not poll this, and would keep a place that was given to it from all others.
        let long = tokio::spawn(async move {
            let reader = readers.acquire_owned().await.ok()?;
            let long = tokio::task::spawn_blocking(move || {
                // Also where nobody waits any more, it is one of those that are read at once.
                let _reader = reader;
                read(&payload, &mut share).map(|values| (values, share))
            });
            long.await.ok()
        });
        AbortOnDropHandle::new(long).await.ok().flatten().unwrap_or_else(|| Err(gone()))
    }

    fn share(&self, held: Held, most: usize) -> Share {
        let parts = match held {
            Held::Turn => Some(self.parts.clone()),
            Held::Moment => None,
        };
        Share { parts, taken: None, left: OWN, used: 0, most }
    }
}

/// The room that the values of one call take, for as long as it lives.
pub(crate) struct Share {
    parts: Option<Arc<Semaphore>>,
    taken: Option<OwnedSemaphorePermit>,
    /// Of what was taken.
    left: usize,
    used: usize,
    most: usize,
}

impl Share {
    /// Takes so many bytes, before they are.
    ///
    /// # Errors
    /// When there is no room for them.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Unread> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.most {
            return Err(Unread::TooLarge(self.most));
        }
        let Some(parts) = &self.parts else { return Ok(()) };
        let twice = 2 * bytes;
        if let Some(more) = twice.checked_sub(self.left).filter(|more| *more > 0) {
            let count = more.div_ceil(PART);
            let taken = parts.clone().try_acquire_many_owned(u32::try_from(count).unwrap_or(u32::MAX));
            let taken = taken.map_err(|_| Unread::Full)?;
            match &mut self.taken {
                Some(all) => all.merge(taken),
                none => *none = Some(taken),
            }
            self.left += count * PART;
        }
        self.left -= twice;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    fn takes(bytes: usize) -> impl Fn(&[u8], &mut Share) -> Result<(), Unread> {
        move |_, share| share.take(bytes)
    }

    #[tokio::test]
    async fn what_turns_hold_is_bounded_and_comes_back_with_their_end() {
        let room = Room::default();
        let read = async |bytes| room.read(Bytes::new(), Held::Turn, takes(bytes)).await;
        let mut held = Vec::new();
        while let Ok(((), share)) = read(MOST).await {
            held.push(share);
        }
        assert_eq!(held.len(), ALL / MOST / 2, "each is there twice");
        assert_eq!(read(MOST).await.err(), Some(Unread::Full));
        // What is little has its room all the same, and so has what is handed on at once.
        assert!(read(OWN / 2).await.is_ok());
        assert!(room.read(Bytes::new(), Held::Moment, takes(MOST)).await.is_ok());
        held.pop();
        assert!(read(MOST / 2).await.is_ok());
        assert_eq!(read(MOST + 1).await.err(), Some(Unread::TooLarge(MOST)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_place_that_nobody_comes_for_is_kept_from_nobody() {
        let (room, open) = (Room::default(), Arc::new(AtomicBool::new(false)));
        let read = || {
            let open = open.clone();
            room.read(Bytes::from(vec![b'x'; SHORT + 1]), Held::Moment, move |_, _| {
                while !open.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                Ok(())
            })
        };
        // Twice as many as there are places, each polled once: as by a guest that calls, and then computes.
        let mut left: Vec<_> = (0..2 * room.readers.available_permits()).map(|_| Box::pin(read())).collect();
        for one in &mut left {
            assert!(futures::poll!(one).is_pending());
        }
        open.store(true, Ordering::Relaxed);
        let other = tokio::time::timeout(Duration::from_secs(30), read()).await;
        assert!(other.is_ok_and(|read| read.is_ok()));
    }
}
