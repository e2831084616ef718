//! What happened in a lattice of a test, as its admin API tells it.

use std::time::Duration;

use lattice_proto::admin::{Event, WatchEventsRequest};

use crate::{Fault, Lattice, wait_until};

impl Lattice {
    /// Everything that was told so far, the oldest first.
    pub async fn events(&self, via: usize) -> Vec<Event> {
        let all = self.read_events(via, WatchEventsRequest::default()).await;
        all.unwrap_or_else(|fault| panic!("events: {fault}"))
    }

    /// What a request gives until its stream ends.
    pub async fn read_events(&self, via: usize, request: WatchEventsRequest) -> Result<Vec<Event>, Fault> {
        let mut stream = self.admin(via).watch_events(request).await?.into_inner();
        let mut events = Vec::new();
        while let Some(event) = stream.message().await? {
            events.push(event);
        }
        Ok(events)
    }

    /// Waits until this was told of something, so many times in all.
    pub async fn wait_for_event(&self, via: usize, kind: &str, subject: &str, times: usize, bound: Duration) {
        let observe = async || self.read_events(via, WatchEventsRequest::default()).await;
        wait_until(&format!("{kind} of {subject}, {times} times"), bound, observe, |seen| {
            let is_it = |event: &&Event| event.kind == kind && event.subject == subject;
            seen.as_ref().is_ok_and(|events| events.iter().filter(is_it).count() >= times)
        })
        .await;
    }
}
