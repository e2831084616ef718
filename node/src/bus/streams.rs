//! The streams and buckets of a lattice: what each keeps, and how much of it. What is missing is created, and what is there
//! is left as it is, since an operator may have given it more copies or another place.

use std::time::Duration;

use async_nats::jetstream;
use futures::TryStreamExt;
use lattice_proto::shard::PARTITIONS;
use lattice_proto::subject::{Subjects, Way};

use super::{Bus, Connection, Error, LEASE, Objects, Space};
use crate::causes::full;

/// The server's marker for an expired lease lives this long, which is the shortest that it allows.
const MARKER: Duration = Duration::from_secs(1);

/// Records are small; a larger one is a mistake. Assignments list every actor of a node with its settings.
const MAX_RECORD: i32 = 8 << 20;

/// How long events are kept: whoever looks the next morning still finds what happened at night.
const EVENTS_KEPT: Duration = Duration::from_hours(24);

/// How many events are kept at most; the oldest make room.
const MAX_EVENTS: i64 = 10_000;

/// How many bytes they have together at most: so many of the usual ones fit in several times.
const MAX_EVENT_BYTES: i64 = 16 << 20;

/// The largest event with its headers, in bytes: twice its longest text, which JSON escapes, and room for the rest.
const MAX_EVENT: i32 = 4 << 10;

/// Letters that may wait for one key; whoever sends more is told that there are too many.
const LETTERS_PER_KEY: i64 = 1_000;

/// Letters that may wait for one replicated actor.
const LETTERS_PER_ACTOR: i64 = 1_000;

/// How long a message of a topic is kept for those who subscribe: a subscriber that is away over night hears it all the same.
const TOPICS_KEPT: Duration = Duration::from_hours(24);

/// How many bytes they have together at most; the oldest make room. The server sets so much of its disk aside, and an edge box has
/// little.
const MAX_TOPIC_BYTES: i64 = 256 << 20;

/// How many letters are kept that nobody could handle.
const MAX_DEAD: i64 = 10_000;

/// How many bytes they have together at most.
const MAX_DEAD_BYTES: i64 = 64 << 20;

/// The same of messages of topics.
const MAX_UNHEARD_BYTES: i64 = 32 << 20;

/// Containers that guests may make in one lattice: each is a stream, which costs the server memory and files.
const MAX_CONTAINERS: usize = 1_000;

/// A stream from which each letter is taken once, and which refuses what it has no room for.
fn letters() -> jetstream::stream::Config {
    jetstream::stream::Config {
        retention: jetstream::stream::RetentionPolicy::WorkQueue,
        discard: jetstream::stream::DiscardPolicy::New,
        discard_new_per_subject: true,
        ..Default::default()
    }
}

impl Bus {
    /// Creates the streams of what keyed actors keep and of the letters for them, where they are missing.
    pub async fn ensure_keyed(&self, subjects: &Subjects) -> Result<(), Error> {
        let each = (0..PARTITIONS).map(async |partition| {
            let state = jetstream::stream::Config {
                name: subjects.state_stream(partition),
                subjects: vec![subjects.state_filter(partition)],
                max_messages_per_subject: 1,
                allow_direct: true,
                ..Default::default()
            };
            self.ensure_stream(state).await?;
            let mail = jetstream::stream::Config {
                name: subjects.mail_stream(partition),
                subjects: subjects.mail_filters(partition).into(),
                max_messages_per_subject: LETTERS_PER_KEY,
                ..letters()
            };
            self.ensure_stream(mail).await
        });
        futures::future::try_join_all(each).await?;
        self.ensure_stream(jetstream::stream::Config {
            name: subjects.reminders_stream(),
            subjects: subjects.reminder_filters().into(),
            retention: jetstream::stream::RetentionPolicy::WorkQueue,
            // The server refuses schedules where it is to refuse what there is no room for.
            discard: jetstream::stream::DiscardPolicy::Old,
            max_messages_per_subject: 1,
            allow_message_schedules: true,
            allow_direct: true,
            ..Default::default()
        })
        .await
    }

    /// One of the guests' key-value stores, created if it is missing.
    pub async fn keyvalue(&self, bucket: String) -> Result<Space, Error> {
        if !self.calls.is_up() {
            return Err(Error::Unreachable);
        }
        let config = jetstream::kv::Config { bucket: bucket.clone(), history: 1, ..Default::default() };
        self.ensure_bucket(&self.calls, config).await?;
        Ok(Space::bucket(self.calls.clone(), bucket))
    }

    /// One of the guests' containers, which may not be there.
    pub fn container(&self, bucket: String) -> Objects {
        Objects::new(self.calls.clone(), bucket)
    }

    /// Creates one of them, unless there are as many already as there may be, whose names begin so.
    pub async fn make_container(&self, container: &Objects, begin: &str) -> Result<(), Error> {
        if !self.calls.is_up() {
            return Err(Error::Unreachable);
        }
        let begin = format!("OBJ_{begin}");
        let names = self.calls.jetstream()?.stream_names();
        let others = names.try_filter(|name| std::future::ready(name.starts_with(&begin)));
        let count = others.try_fold(0, async |count, _| Ok(count + 1)).await;
        let count: usize = count.map_err(|error| Error::failed("counting containers", full(&error)))?;
        if count >= MAX_CONTAINERS {
            let reason =
                format!("this lattice has {count} already, and may have {MAX_CONTAINERS}; delete some");
            return Err(Error::failed("creating a container", reason));
        }
        container.ensure(self.copies).await
    }

    /// Creates a bucket if it is missing. What is there is left as it is: an operator may have given it more copies or another
    /// place.
    async fn ensure_bucket(&self, by: &Connection, config: jetstream::kv::Config) -> Result<(), Error> {
        let context = by.jetstream()?;
        if context.get_key_value(&config.bucket).await.is_ok() {
            return Ok(());
        }
        let config = jetstream::kv::Config { num_replicas: self.copies, ..config };
        let made = context.create_key_value(config).await;
        made.map(drop).map_err(|error| Error::failed("creating a bucket", full(&error)))
    }

    /// Creates a stream if it is missing. What is there is left as it is.
    async fn ensure_stream(&self, config: jetstream::stream::Config) -> Result<(), Error> {
        let context = self.control.jetstream()?;
        if context.get_stream(&config.name).await.is_ok() {
            return Ok(());
        }
        let name = config.name.clone();
        let made =
            context.create_stream(jetstream::stream::Config { num_replicas: self.copies, ..config }).await;
        made.map(drop)
            .map_err(|error| Error::failed("creating a stream", format!("{name}: {}", full(&error))))
    }

    /// Makes sure of something whenever a connection is there again that was lost. Returns when the client is closed.
    pub async fn after_each_outage<F: Future<Output = Result<(), Error>>>(&self, ensure: impl Fn() -> F) {
        let mut link = self.control.link();
        loop {
            let generation = link.borrow().generation;
            if link.wait_for(|link| link.up && link.generation != generation).await.is_err() {
                return;
            }
            while let Err(error) = ensure().await {
                tracing::debug!(%error, "the lattice's buckets and streams cannot be made yet");
                tokio::time::sleep(Duration::from_millis(fastrand::u64(100..300))).await;
                if !self.control.is_up() {
                    break;
                }
            }
        }
    }

    /// Creates what is missing. Two nodes that do so at once ask for the same and both succeed.
    pub async fn ensure(&self, subjects: &Subjects) -> Result<(), Error> {
        use jetstream::kv::Config;
        use jetstream::stream::StorageType;
        let (source, destination) = subjects.route_republish();
        let buckets = [
            Config {
                bucket: subjects.leases_bucket(),
                storage: StorageType::Memory,
                max_age: LEASE,
                limit_markers: Some(MARKER),
                history: 1,
                ..Default::default()
            },
            Config {
                bucket: subjects.nodes_bucket(),
                history: 1,
                max_value_size: MAX_RECORD,
                ..Default::default()
            },
            Config {
                bucket: subjects.routes_bucket(),
                history: 1,
                max_value_size: MAX_RECORD,
                republish: Some(jetstream::stream::Republish { source, destination, headers_only: false }),
                ..Default::default()
            },
        ];
        for config in buckets {
            self.ensure_bucket(&self.control, config).await?;
        }
        for config in [
            jetstream::stream::Config {
                name: subjects.control_stream(),
                subjects: vec![subjects.control_filter()],
                max_messages_per_subject: 1,
                max_message_size: MAX_RECORD,
                allow_direct: true,
                allow_atomic_publish: true,
                ..Default::default()
            },
            jetstream::stream::Config {
                name: subjects.events_stream(),
                subjects: vec![subjects.events_filter()],
                max_age: EVENTS_KEPT,
                max_messages: MAX_EVENTS,
                max_bytes: MAX_EVENT_BYTES,
                max_message_size: MAX_EVENT,
                ..Default::default()
            },
            jetstream::stream::Config {
                name: subjects.sends_stream(),
                subjects: vec![subjects.send_filter()],
                max_messages_per_subject: LETTERS_PER_ACTOR,
                ..letters()
            },
            jetstream::stream::Config {
                name: subjects.topics_stream(),
                subjects: vec![subjects.topics_filter()],
                max_age: TOPICS_KEPT,
                max_bytes: MAX_TOPIC_BYTES,
                ..Default::default()
            },
            jetstream::stream::Config {
                name: subjects.dead_stream(Way::Sent),
                subjects: vec![subjects.dead_filter(Way::Sent, None)],
                max_messages_per_subject: 1,
                max_messages: MAX_DEAD,
                max_bytes: MAX_DEAD_BYTES,
                // What nobody could handle is not lost for want of room: it stays in its mailbox then.
                discard: jetstream::stream::DiscardPolicy::New,
                allow_direct: true,
                ..Default::default()
            },
            jetstream::stream::Config {
                name: subjects.dead_stream(Way::Published),
                subjects: vec![subjects.dead_filter(Way::Published, None)],
                max_messages_per_subject: 1,
                max_messages: MAX_DEAD,
                max_bytes: MAX_UNHEARD_BYTES,
                // Whoever may publish could fill it, and the stream of topics keeps nothing for good either: the oldest make room.
                discard: jetstream::stream::DiscardPolicy::Old,
                allow_direct: true,
                ..Default::default()
            },
        ] {
            self.ensure_stream(config).await?;
        }
        self.objects.ensure(self.copies).await
    }
}
