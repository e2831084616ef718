//! The way of messages into the stream of topics.

use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::envelope::{ContentType, TraceContext};
use lattice_proto::subject::Subjects;
use lattice_proto::{Fault, MessageId, Ran, Topic};

use super::{CONTENT_TYPE, TRACEPARENT, TRACESTATE};
use crate::bus::{Mail, Posted};
use crate::clock::boottime;
use crate::telemetry::Counters;

/// The pause between tries.
const AGAIN: Duration = Duration::from_millis(50);

/// What is to be published.
pub struct Publication {
    /// Under one id it is stored once within two minutes.
    pub id: MessageId,
    /// Where.
    pub topic: Topic,
    /// What is told.
    pub payload: Bytes,
    /// How the payload is written.
    pub content_type: ContentType,
    /// The span that publishes it.
    pub trace: Option<TraceContext>,
}

/// A cheap handle.
#[derive(Clone)]
pub struct Publisher {
    topics: Mail,
    subjects: Subjects,
    counters: Counters,
}

impl Publisher {
    /// Into this stream.
    pub fn new(topics: Mail, subjects: Subjects, counters: Counters) -> Self {
        Self { topics, subjects, counters }
    }

    /// Publishes a message, as often as it takes until the deadline, and returns when it is stored. From `not_after` on, by
    /// `CLOCK_BOOTTIME`, nothing is sent any more.
    ///
    /// # Errors
    /// Why it is not; or that nobody knows, as a [`Fault::Unknown`].
    pub async fn publish(
        &self,
        what: &Publication,
        deadline: Instant,
        not_after: Option<Duration>,
    ) -> Result<(), Fault> {
        let (limit, size) = (self.topics.room(), what.payload.len());
        if size > limit {
            return Err(Fault::TooLarge { limit: limit as u64, size: size as u64, ran: Ran::No });
        }
        let subject = self.subjects.topic(&what.topic);
        let parent = what.trace.as_ref().map(|trace| trace.parent.to_string());
        let state = what.trace.as_ref().and_then(|trace| trace.state.as_deref());
        let mut says = vec![(CONTENT_TYPE, what.content_type.as_str())];
        says.extend(parent.as_deref().map(|parent| (TRACEPARENT, parent)));
        says.extend(state.map(|state| (TRACESTATE, state)));
        let mut unsure: Option<String> = None;
        let unknown = |reason| Fault::Unknown(format!("{} (it may be published: {reason})", what.topic));
        loop {
            // Immediately before each try: the machine may have slept since the last one.
            if not_after.is_some_and(|not_after| not_after <= boottime()) {
                return Err(unsure.map_or(Fault::Cancelled(Ran::No), unknown));
            }
            match self.topics.post_with(&subject, what.id.as_str(), &says, what.payload.clone()).await {
                Posted::Stored => {
                    self.counters.topics_published();
                    return Ok(());
                }
                Posted::Unsent => {}
                Posted::Full => unsure = Some("the stream of topics has no room".to_owned()),
                Posted::Unsure(reason) => unsure = Some(reason),
            }
            if Instant::now() + AGAIN >= deadline {
                let unsent =
                    || Fault::NoReplica(format!("NATS cannot be reached to publish to `{}`", what.topic));
                return Err(unsure.map_or_else(unsent, unknown));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Bus, Options};

    #[tokio::test]
    async fn nothing_is_published_after_the_time_until_which_it_may_be() {
        let subjects = Subjects::new("shop".parse().unwrap());
        // Never opened: each try ends at once and has sent nothing.
        let (bus, _opening) = Bus::new(Options::default(), &subjects);
        let publisher = Publisher::new(bus.topics, subjects, Counters::default());
        let what = Publication {
            id: "one".parse().unwrap(),
            topic: "orders.created".parse().unwrap(),
            payload: Bytes::new(),
            content_type: ContentType::Json,
            trace: None,
        };
        let publish = async |not_after| {
            let deadline = Instant::now() + Duration::from_millis(200);
            publisher.publish(&what, deadline, not_after).await
        };
        assert_eq!(publish(Some(boottime())).await, Err(Fault::Cancelled(Ran::No)));
        let soon = boottime() + Duration::from_millis(20);
        assert_eq!(publish(Some(soon)).await, Err(Fault::Cancelled(Ran::No)));
        assert!(matches!(publish(None).await, Err(Fault::NoReplica(_))));
    }
}
