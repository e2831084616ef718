//! The body of an answer between the guest that makes it and whoever reads it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use wasmtime_wasi_http::WasiBody;

use crate::replica::Broken;

/// How long a reader may leave what it was given lying before it asks for more.
const STALL: Duration = Duration::from_secs(60);

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
    /// The body as its reader gets it; what is given second ends when it was read or left.
    pub fn of(&self, body: WasiBody) -> (Answer, oneshot::Receiver<()>) {
        let (ended, read) = oneshot::channel();
        (Answer { body, flow: self.0.clone(), ended: Some(ended) }, read)
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
    flow: Arc<Shared>,
    /// Dropped with it.
    ended: Option<oneshot::Sender<()>>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = Pin::new(&mut self.body).poll_frame(task);
        *self.flow.given() = matches!(frame, Poll::Ready(Some(Ok(_)))).then(Instant::now);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.ended = None;
        }
        // What a guest leaves behind that is gone looks like an end.
        if matches!(frame, Poll::Ready(None)) && self.flow.broken.load(Ordering::Relaxed) {
            return Poll::Ready(Some(Err(Broken("the guest ended in the middle of its answer".to_owned()))));
        }
        frame.map_err(|error| Broken(error.to_string()))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
