//! The body of an answer between the guest that makes it and whoever reads it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::channel::oneshot;
use hyper::body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::WasiBody;

use crate::replica::Broken;

/// How long a reader may leave what it was given lying before it asks for more.
const STALL: Duration = Duration::from_secs(60);

/// Ends when the body of an answer was read, or left. It may be asked again after that.
pub(super) type Read = oneshot::Receiver<()>;

/// How the body of an answer fares, as its reader and its guest see it.
#[derive(Default)]
pub(super) struct Flow(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The guest is gone, and has not said all.
    broken: AtomicBool,
    whole: AtomicBool,
    /// When the reader was given something and did not ask for more since.
    given: Mutex<Option<Instant>>,
}

impl Flow {
    /// The body as its reader gets it, which is as long as its head says, if that says anything.
    pub fn of(&self, body: WasiBody, length: Option<u64>) -> (Answer, Read) {
        let (ended, read) = oneshot::channel();
        (Answer { body, left: length, flow: self.0.clone(), ended: Some(ended) }, read)
    }

    /// Its reader has the beginning, and is to ask for the rest.
    pub fn is_handed_over(&self) {
        *self.0.given() = Some(Instant::now());
    }

    /// The guest is gone in the middle of it.
    pub fn breaks_off(&self) {
        self.0.broken.store(!self.0.whole.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The guest has said all.
    pub fn is_whole(&self) {
        self.0.whole.store(true, Ordering::Relaxed);
    }

    /// Whether the reader has not asked for more for [`STALL`].
    pub fn stalls(&self) -> bool {
        self.0.given().is_some_and(|given| given.elapsed() > STALL)
    }
}

impl Shared {
    fn given(&self) -> MutexGuard<'_, Option<Instant>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.breaks_off();
    }
}

/// The body of an answer, which tells when it was read or left.
pub(super) struct Answer {
    body: WasiBody,
    /// How many bytes are to come, where that was said.
    left: Option<u64>,
    flow: Arc<Shared>,
    /// Dropped with it.
    ended: Option<oneshot::Sender<()>>,
}

impl Answer {
    /// Takes what the guest wrote for what it announced.
    fn counted(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Broken> {
        match (frame.data_ref(), self.left) {
            (Some(data), Some(left)) => match left.checked_sub(data.len() as u64) {
                Some(left) => self.left = Some(left),
                None => return Err(Broken("its body is longer than its content-length says".to_owned())),
            },
            (None, _) => self.end()?,
            (Some(_), None) => {}
        }
        Ok(frame)
    }

    /// Whether it may end now. What a guest leaves behind that is gone looks like an end.
    fn end(&self) -> Result<(), Broken> {
        match self.left {
            _ if self.flow.broken.load(Ordering::Relaxed) => {
                Err(Broken("the guest ended in the middle of its answer".to_owned()))
            }
            Some(left) if left > 0 => {
                Err(Broken(format!("its body lacks {left} bytes of what its content-length says")))
            }
            _ => Ok(()),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = Pin::new(&mut self.body).poll_frame(task).map(|frame| match frame {
            Some(Ok(frame)) => self.counted(frame).map(Some),
            Some(Err(error)) => Err(Broken(error.to_string())),
            None => self.end().map(|()| None),
        });
        *self.flow.given() = matches!(frame, Poll::Ready(Ok(Some(_)))).then(Instant::now);
        if matches!(frame, Poll::Ready(Ok(None) | Err(_))) {
            self.ended = None;
        }
        frame.map(Result::transpose)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.end().is_ok()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
