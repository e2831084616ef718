//! A request that came by HTTP, on its way to a guest, and where the answer goes. Neither is ever in memory as a whole.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::oneshot;

use super::Begun;

/// What streams one way or the other. An error ends it.
pub type Body = UnsyncBoxBody<Bytes, Broken>;

/// Why a body broke off; one sentence.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

/// As it came in.
pub type Request = hyper::Request<Body>;

/// As a guest makes it: the head and what there is of the body, while it may still make the rest.
pub type Response = hyper::Response<Begun>;

/// One request that nobody has taken yet.
pub struct Exchange(Mutex<Option<(Request, oneshot::Sender<Response>)>>);

impl Exchange {
    /// A request, and where the answer to it comes.
    pub fn new(request: Request) -> (Self, oneshot::Receiver<Response>) {
        let (sender, response) = oneshot::channel();
        (Self(Mutex::new(Some((request, sender)))), response)
    }

    /// Taken once, by whom the request is given to. Until then it may be offered to others.
    pub fn take(&self) -> Option<(Request, oneshot::Sender<Response>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}
