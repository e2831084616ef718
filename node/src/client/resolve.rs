//! The system's resolver, a few names at a time.
//!
//! Each lookup takes a thread until the system has an answer, also when nobody waits for it any more, and it is guests that choose the
//! names: some lead to servers that never answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::{GaiAddrs, GaiResolver, Name};
use tokio::sync::Semaphore;
use tower_service::Service;

/// Lookups of all actors at once: a part of the threads that the node has for what blocks.
pub(super) const LOOKUPS: usize = 128;

/// Those of one actor. More wait, and that is part of their time to connect.
const LOOKUPS_OF_ONE: usize = 8;

/// The resolver of one actor.
#[derive(Clone)]
pub(super) struct Resolver {
    system: GaiResolver,
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

impl Resolver {
    pub fn new(all: Arc<Semaphore>) -> Self {
        Self { system: GaiResolver::new(), own: Arc::new(Semaphore::new(LOOKUPS_OF_ONE)), all }
    }
}

impl Service<Name> for Resolver {
    type Response = GaiAddrs;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<GaiAddrs>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { mut system, own, all } = self.clone();
        Box::pin(async move {
            let held = (own.acquire_owned().await, all.acquire_owned().await);
            // A task of its own, which has its place for as long as the thread is taken.
            let found = tokio::spawn(async move {
                let _held = held;
                system.call(name).await
            });
            found.await.map_err(io::Error::other)?
        })
    }
}
