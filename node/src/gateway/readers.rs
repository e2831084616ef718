//! Whether a client reads what it is answered. One that asked and does not read loses its connection, with all that waits on it: else it
//! would keep the places of others for as long as it likes, as HTTP/2 lets it refuse one answer and have the next.
//!
//! hyper takes what there is as soon as a client has room for one byte of it, and a body that has ended no longer counts. So an answer is given in
//! pieces of [`PIECE`], and its end is said by itself, when there is room again.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Body;
use crate::replica::Broken;

/// How long a client may leave what is there for it, as it may on the node where its answer is made.
const STALL: Duration = Duration::from_secs(60);

/// The most that is given at once, in bytes.
const PIECE: usize = 16 << 10;

/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Those of one connection. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Readers(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    /// Since when there is something that nobody has asked for. There are as many as the connection has requests at once.
    waiting: HashMap<u64, Instant>,
}

impl Readers {
    /// The same body, which keeps its place until it was read or left.
    pub fn reads(&self, body: Body, place: OwnedSemaphorePermit) -> Body {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, Instant::now());
        let (given, rest) = (false, Bytes::new());
        Answer { body, given, rest, number, readers: self.clone(), _place: place }.boxed_unsync()
    }

    /// Comes to an end when one of them was left for too long.
    pub async fn stall(&self) {
        let stalls = || self.state().waiting.values().any(|since| since.elapsed() > STALL);
        while !stalls() {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Answer {
    body: Body,
    /// Whether any of it was.
    given: bool,
    /// What came of it beyond the last piece.
    rest: Bytes,
    number: u64,
    readers: Readers,
    _place: OwnedSemaphorePermit,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.readers.state().waiting.remove(&self.number);
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut frame = match self.rest.is_empty() {
            true => Pin::new(&mut self.body).poll_frame(task),
            false => Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest))))),
        };
        if let Poll::Ready(Some(Ok(given))) = &mut frame
            && let Some(data) = given.data_mut()
        {
            self.rest = data.split_off(data.len().min(PIECE));
            self.given = true;
        }
        let mut state = self.readers.state();
        match frame {
            // It waits for whoever makes the answer.
            Poll::Pending => state.waiting.remove(&self.number),
            Poll::Ready(_) => state.waiting.insert(self.number, Instant::now()),
        };
        drop(state);
        frame
    }

    fn is_end_stream(&self) -> bool {
        !self.given && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use http_body_util::StreamBody;
    use hyper::body::Body as _;
    use tokio::sync::Semaphore;

    #[tokio::test(start_paused = true)]
    async fn only_a_client_that_does_not_read_what_is_there_is_given_up() {
        let (readers, places) = (Readers::default(), Arc::new(Semaphore::new(2)));
        let answer = || {
            let (sender, frames) = futures::channel::mpsc::unbounded::<Result<Frame<Bytes>, Broken>>();
            let place = places.clone().try_acquire_owned().unwrap();
            (sender, readers.reads(StreamBody::new(frames).boxed_unsync(), place))
        };
        let give_up = |bound| tokio::time::timeout(bound, readers.stall());
        let say = |sender: &futures::channel::mpsc::UnboundedSender<_>| {
            sender.unbounded_send(Ok(Frame::data(Bytes::from_static(b"a")))).unwrap();
        };
        let ((slow, mut reads), (_kept, left)) = (answer(), answer());
        // One that waits for the guest may wait for long.
        let mut waits = tokio::spawn(async move {
            let frame = reads.frame().await;
            (reads, frame.is_some())
        });
        tokio::task::yield_now().await;
        drop(left);
        assert!(give_up(10 * STALL).await.is_err(), "nothing is there for it");
        assert_eq!(places.available_permits(), 1, "whoever leaves gives its place back");
        say(&slow);
        let (mut reads, came) = (&mut waits).await.unwrap();
        assert!(came);
        // One that goes on reading is not given up, and one that does not is.
        for _ in 0..4 {
            say(&slow);
            assert!(give_up(STALL / 2).await.is_err());
            assert!(reads.frame().await.is_some());
        }
        assert!(give_up(STALL + 2 * LOOK).await.is_ok());
        drop(reads);
        assert!(give_up(10 * STALL).await.is_err(), "it has gone");
        assert_eq!(places.available_permits(), 2);
    }

    #[tokio::test]
    async fn an_answer_is_given_in_pieces_and_its_end_by_itself() {
        let (readers, places) = (Readers::default(), Arc::new(Semaphore::new(2)));
        let reads = |bytes: Vec<u8>| {
            readers.reads(super::super::whole(bytes), places.clone().try_acquire_owned().unwrap())
        };
        let mut answer = reads(vec![b'a'; PIECE + 1]);
        assert_eq!(answer.size_hint().exact(), Some(PIECE as u64 + 1));
        for (size, left) in [(PIECE, 1), (1, 0)] {
            assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap().len(), size);
            assert_eq!(answer.size_hint().exact(), Some(left));
            assert!(!answer.is_end_stream());
        }
        assert!(answer.frame().await.is_none());
        assert!(reads(Vec::new()).is_end_stream(), "there is none");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_asks_is_given_up() {
        let (readers, places) = (Readers::default(), Arc::new(Semaphore::new(1)));
        let place = places.clone().try_acquire_owned().unwrap();
        let _answer = readers.reads(super::super::whole("all of it"), place);
        let began = Instant::now();
        readers.stall().await;
        assert!(began.elapsed() >= STALL && began.elapsed() <= STALL + 2 * LOOK);
    }
}
