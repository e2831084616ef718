//! Queues made of a stream: each gets all that is published under one filter from a time on, and whoever reads it takes some of
//! that. One that nobody reads keeps what it has for as long as the stream does.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::{ConsumerErrorKind, RawMessageErrorKind};
use futures::TryStreamExt;

use super::mail::{HELD, WITH_READER};
use super::space::{millis, time};
use super::{Error, Mail};
use crate::causes::full;

/// A queue as it is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// The subjects.
    pub filter: String,
    /// From when on, in milliseconds since 1970 by the server's clock.
    pub from_ms: i64,
}

/// How a queue fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The queue's name.
    pub name: String,
    /// The subjects.
    pub filter: String,
    /// Letters that nobody has taken yet.
    pub pending: u64,
    /// Letters that somebody has, or had and is to get again.
    pub in_hand: u64,
    /// All before this one are done with.
    next: u64,
    /// When it was made, in nanoseconds since 1970: tells it from another one of its name.
    created: i128,
}

impl Mail {
    /// All queues of the stream, and whoever else reads it.
    ///
    /// # Errors
    /// When they cannot be listed at the moment.
    pub async fn queues(&self) -> Result<Vec<Queued>, Error> {
        if !self.space().is_reachable() {
            return Err(Error::Unreachable);
        }
        let queued = |info: async_nats::jetstream::consumer::Info| Queued {
            name: info.name,
            filter: info.config.filter_subject,
            pending: info.num_pending,
            in_hand: info.num_ack_pending as u64,
            next: info.ack_floor.stream_sequence + 1,
            created: info.created.unix_timestamp_nanos(),
        };
        let all = self.space().handle().await?.consumers().map_ok(queued).try_collect().await;
        all.map_err(|error| Error::failed("listing queues", full(&error)))
    }

    /// Makes a queue. One of this name that is there is left as it is.
    ///
    /// # Errors
    /// When it is not made.
    pub async fn make_queue(&self, name: &str, queue: &Queue) -> Result<(), Error> {
        if !self.space().is_reachable() {
            return Err(Error::Unreachable);
        }
        let config = pull::Config {
            durable_name: Some(name.to_owned()),
            filter_subject: queue.filter.clone(),
            deliver_policy: DeliverPolicy::ByStartTime { start_time: time(queue.from_ms) },
            ack_policy: AckPolicy::Explicit,
            ack_wait: HELD,
            max_ack_pending: WITH_READER,
            ..Default::default()
        };
        let made = self.space().handle().await?.get_or_create_consumer(name, config).await;
        made.map(drop).map_err(|error| Error::failed("making a queue", full(&error)))
    }

    /// Takes a queue away, with what is in it; that it is gone already is as good. Another one that was made in its place since
    /// it was listed stays, as far as that can be told: the server takes away whatever has the name.
    ///
    /// # Errors
    /// When it is still there.
    pub async fn remove_queue(&self, queued: &Queued) -> Result<(), Error> {
        if !self.space().is_reachable() {
            return Err(Error::Unreachable);
        }
        let stream = self.space().handle().await?;
        match stream.consumer_info(&queued.name).await {
            Ok(now) if now.created.unix_timestamp_nanos() == queued.created => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::failed("removing a queue", full(&error))),
        }
        match stream.delete_consumer(&queued.name).await {
            Ok(_) => Ok(()),
            Err(error) if is_gone(&error.kind()) => Ok(()),
            Err(error) => Err(Error::failed("removing a queue", full(&error))),
        }
    }

    /// When the oldest letter of a queue that is not done with was stored, in milliseconds since 1970; none when there is none.
    ///
    /// # Errors
    /// When it cannot be looked for at the moment.
    pub async fn oldest(&self, queue: &Queued) -> Result<Option<i64>, Error> {
        if queue.pending == 0 && queue.in_hand == 0 {
            return Ok(None);
        }
        let stream = self.space().handle().await?;
        match stream.get_first_raw_message_by_subject(&queue.filter, queue.next).await {
            Ok(message) => Ok(Some(millis(message.time))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Error::failed("reading a queue", full(&error))),
        }
    }
}

fn is_gone(kind: &ConsumerErrorKind) -> bool {
    matches!(kind, ConsumerErrorKind::JetStream(refused) if refused.error_code() == ErrorCode::CONSUMER_NOT_FOUND)
}
