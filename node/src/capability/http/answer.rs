//! The body of an answer, as the guest reads it: piece by piece, and not for ever.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;
use wasmtime_wasi_http::Error;

use super::{Places, errors};
use crate::client::Failure;
use crate::telemetry::Span;

/// What comes of a request, with what it holds until all of it was read or left.
pub(super) struct Answer {
    body: Incoming,
    /// How long the server may be silent.
    between: Duration,
    /// When all has to be over.
    until: Option<Instant>,
    /// When there is nothing to be waited for any more; of account only while somebody waits.
    late: Pin<Box<Sleep>>,
    waits: bool,
    held: Option<(Span, Places)>,
}

impl Answer {
    pub fn new(
        body: Incoming,
        (between, until): (Duration, Option<Instant>),
        span: Span,
        room: Places,
    ) -> Self {
        let held = (!body.is_end_stream()).then_some((span, room));
        let late = Box::pin(tokio::time::sleep(between));
        Self { body, between, until, late, waits: false, held }
    }

    /// The request is over.
    fn ends(&mut self, failure: Option<&Failure>) {
        if let (Some((mut span, _)), Some(failure)) = (self.held.take(), failure) {
            span.breaks(failure.kind(), failure.to_string());
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let failure = match Pin::new(&mut self.body).poll_frame(task) {
            Poll::Ready(Some(Ok(frame))) => {
                self.waits = false;
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(None) => {
                self.ends(None);
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => Failure::reading(&error),
            Poll::Pending => {
                if !std::mem::replace(&mut self.waits, true) {
                    let now = tokio::time::Instant::now();
                    let silent = now.checked_add(self.between);
                    let late = silent.into_iter().chain(self.until.map(Into::into)).min();
                    // Where a guest waits for ever there is its turn.
                    self.late.as_mut().reset(late.unwrap_or(now + super::SILENCE));
                }
                if self.late.as_mut().poll(task).is_pending() {
                    return Poll::Pending;
                }
                Failure::ReadTimeout
            }
        };
        self.ends(Some(&failure));
        Poll::Ready(Some(Err(errors::told(failure))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
