//! One call to another actor: a future that sends nothing before it is first polled.
//!
//! It borrows neither its arguments nor its client, so any number of calls can be made first and joined afterwards.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures::future::LocalBoxFuture;

use crate::interface::Callee;
use crate::mesh::Mesh;
use crate::{CallError, Result};

/// A call that was made but may not have been sent yet; await it, or join it with others.
///
/// # Errors
/// Gives any [`CallError`]; [`CallError::Malformed`] also when the reply is not the type that was expected.
#[must_use = "a call is sent when it is awaited or joined with others"]
pub struct Call<T> {
    state: State,
    decode: fn(&[u8]) -> Result<T>,
    result: PhantomData<fn() -> T>,
}

enum State {
    Made(Mesh, Result<Outgoing>),
    Sent(LocalBoxFuture<'static, Result<Vec<u8>>>),
    Done,
}

/// A message on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub to: String,
    pub operation: String,
    pub payload: Vec<u8>,
    pub content_type: &'static str,
    pub timeout: Option<Duration>,
}

impl<T> Call<T> {
    /// A call with its arguments encoded, or with the reason why they cannot be.
    pub(crate) fn new(
        callee: &Callee,
        operation: &str,
        content_type: &'static str,
        payload: Result<Vec<u8>>,
        decode: fn(&[u8]) -> Result<T>,
    ) -> Self {
        let outgoing = payload.map(|payload| Outgoing {
            to: callee.id.as_ref().to_owned(),
            operation: operation.to_owned(),
            payload,
            content_type,
            timeout: callee.timeout,
        });
        Call { state: State::Made(callee.mesh.clone(), outgoing), decode, result: PhantomData }
    }

    /// What the call would ask, for whoever sends it in another way.
    pub(crate) fn into_outgoing(self) -> Result<Outgoing> {
        match self.state {
            State::Made(_, outgoing) => outgoing,
            State::Sent(_) | State::Done => {
                Err(CallError::Malformed("this call was awaited before, so it is under way already".into()))
            }
        }
    }

    /// Lets this call last so long at most. It never outlives the deadline of the turn that makes it.
    ///
    /// Without effect once the call was polled.
    pub fn timeout(mut self, limit: Duration) -> Self {
        if let State::Made(_, Ok(outgoing)) = &mut self.state {
            outgoing.timeout = Some(limit);
        }
        self
    }
}

impl<T> Future for Call<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Result<T>> {
        if let State::Made(..) = self.state
            && let State::Made(mesh, outgoing) = std::mem::replace(&mut self.state, State::Done)
        {
            match outgoing {
                Ok(outgoing) => self.state = State::Sent(mesh.call(outgoing)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let State::Sent(reply) = &mut self.state else {
            return Poll::Ready(Err(CallError::Malformed("this call was awaited before".into())));
        };
        let Poll::Ready(reply) = reply.as_mut().poll(task) else { return Poll::Pending };
        self.state = State::Done;
        Poll::Ready(reply.and_then(|payload| (self.decode)(&payload)))
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state: &dyn fmt::Debug = match &self.state {
            State::Made(_, outgoing) => outgoing,
            State::Sent(_) => &"sent",
            State::Done => &"done",
        };
        out.debug_tuple("Call").field(state).finish()
    }
}
