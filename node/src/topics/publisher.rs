//! The way of messages into the stream of topics.

use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::envelope::{ContentType, TraceContext};
use lattice_proto::subject::Subjects;
use lattice_proto::{Fault, MessageId, Ran, Topic};

use super::{CONTENT_TYPE, TRACEPARENT, TRACESTATE};
use crate::bus::{Mail, Posted};
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

    /// Publishes a message, as often as it takes until the deadline, and returns when it is stored.
    ///
    /// # Errors
    /// Why it is not; or that nobody knows, as a [`Fault::Unknown`].
    pub async fn publish(&self, what: &Publication, deadline: Instant) -> Result<(), Fault> {
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
        let mut unsure = None;
        loop {
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
                let topic = &what.topic;
                return Err(match unsure {
                    Some(reason) => Fault::Unknown(format!("{topic} (it may be published: {reason})")),
                    None => Fault::NoReplica(format!("NATS cannot be reached to publish to `{topic}`")),
                });
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
