//! Instances that wait for their next request, where the manifest says `reuse = true`.
//!
//! An instance that has served a request to its end, and neither trapped nor was given up, may serve another one after it, and never two at
//! once. What one request leaves in its memory the next one finds: that is why an author has to ask for it.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::Store;
use wasmtime_wasi_http::handler::Proxy;

use super::super::guest::Guest;

/// Requests that one instance serves; then what it may have leaked is given back.
const REQUESTS: u32 = 1_000;

/// What WASI gave an instance and it still holds between two requests. Its standard output and the like are a few; more it has leaked.
const HANDLES: usize = 64;

/// How long one waits for a request.
const WAIT: Duration = Duration::from_secs(10);

/// How often those that have waited for too long are let go.
const LOOK: Duration = Duration::from_secs(1);

/// One instance.
pub(super) struct Served {
    pub store: Store<Guest>,
    pub proxy: Proxy,
    /// How many it has served.
    pub requests: u32,
}

impl Served {
    /// One that has served none.
    pub fn new(store: Store<Guest>, proxy: Proxy) -> Self {
        Self { store, proxy, requests: 0 }
    }
}

/// Those of one replica. There are at most as many as it has served requests at once.
pub(super) struct Idle {
    reuse: bool,
    waiting: Mutex<Vec<(Instant, Served)>>,
}

impl Idle {
    pub fn new(reuse: bool) -> Self {
        Self { reuse, waiting: Mutex::default() }
    }

    /// Whether any serves again.
    pub fn reuses(&self) -> bool {
        self.reuse
    }

    /// The one that has waited for the shortest time, whose memory is the warmest.
    pub fn take(&self) -> Option<Served> {
        if !self.reuse {
            return None;
        }
        self.waiting().pop().map(|(_, served)| served)
    }

    /// One that has served a request to its end.
    pub fn put(&self, mut served: Served) {
        let guest = served.store.data_mut();
        if self.reuse && served.requests < REQUESTS && guest.holds() <= HANDLES {
            guest.rests();
            self.waiting().push((Instant::now(), served));
        }
    }

    /// Lets go of those that have waited for too long, for as long as it is polled.
    pub async fn dismiss(&self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            let old = {
                let mut waiting = self.waiting();
                let first = waiting.partition_point(|(since, _)| since.elapsed() > WAIT);
                waiting.drain(..first).collect::<Vec<_>>()
            };
            drop(old);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(Instant, Served)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
