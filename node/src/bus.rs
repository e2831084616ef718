//! The only user of async-nats: request and reply, subscriptions, last-value tables, batches, logs and objects.
//!
//! It moves bytes between subjects and never knows what an actor is. Rules:
//!
//! 1. Leases and control go over a connection of their own, so that a flood of calls cannot delay a renewal.
//! 2. async-nats queues what is sent while it is disconnected, outside of its own timeout. So a request fails at once
//!    when there is no connection, and timeouts wrap the whole exchange.
//! 3. A watch is a hint. Every watch is read anew after each reconnection and now and then in between.

mod connection;
mod log;
mod object;
mod opening;
mod space;
mod temporary;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use bytes::Bytes;
use lattice_proto::shard::PARTITIONS;
use lattice_proto::subject::Subjects;

use crate::causes::full;

pub use connection::{Connection, Link, RequestError, Subscription};
pub use log::{Log, Logged, Place, ReadError, Reader, Until};
pub use object::Objects;
pub use opening::Opening;
pub use space::{Entry, Fate, Guard, Space};
pub use watch::{Change, Mirror, Watch};

/// How to reach NATS.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Server URLs.
    pub servers: Vec<String>,
    /// A NATS credentials file.
    pub credentials: Option<PathBuf>,
    /// A file of root certificates to trust.
    pub tls_ca: Option<PathBuf>,
    /// What this client is called in the server's own lists.
    pub name: String,
    /// How many servers of a cluster keep what is created; one when there is no cluster.
    pub copies: usize,
}

/// Why the bus could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server is there and refuses.
    #[error("NATS refused the connection: {0}")]
    Refused(String),
    /// The URL, credentials or certificates cannot be used.
    #[error("{0}")]
    Options(String),
    /// Older than the features that Lattice relies on.
    #[error(
        "nats-server {found} is too old: Lattice needs {minimum} or newer, whose consumers can be reset. \
         Install a current nats-server, or leave --nats out and let `lattice start` run one"
    )]
    TooOld {
        /// What the server says it is.
        found: String,
        /// The oldest that will do.
        minimum: &'static str,
    },
    /// The server runs without JetStream.
    #[error("JetStream is not available on this NATS server: {0}. Start nats-server with `-js`")]
    NoJetStream(String),
    /// There is no connection at the moment.
    #[error("NATS cannot be reached at the moment; what runs goes on, and control resumes when it is back")]
    Unreachable,
    /// Whoever asked waits no longer; what was asked may have been done.
    #[error("NATS did not answer in time")]
    NoAnswer,
    /// A compare-and-set found something newer.
    #[error("somebody else changed it first")]
    Conflict,
    /// The server said no for another reason, or nothing.
    #[error("{what}: {reason}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// In the library's words.
        reason: String,
    },
}

impl Error {
    fn failed(what: &'static str, reason: impl ToString) -> Self {
        Self::Failed { what, reason: reason.to_string() }
    }
}

/// Everything that the nodes of one lattice share.
#[derive(Clone)]
pub struct Bus {
    /// For calls, ingress and artifacts.
    pub calls: Connection,
    /// For leases, records and watches.
    pub control: Connection,
    /// Node and leader leases.
    pub leases: Space,
    /// What nodes are and run.
    pub nodes: Space,
    /// Where actors run.
    pub routes: Space,
    /// Specs and assignments.
    pub decisions: Space,
    /// Artifacts by digest.
    pub objects: Objects,
    /// What happened.
    pub events: Log,
    /// What keyed actors keep, by partition.
    pub states: Arc<[Space]>,
    /// How many servers of a cluster keep what is created.
    copies: usize,
}

/// How long a lease lives after its last renewal.
///
/// Two seconds let a node miss three renewals before anybody takes it for lost.
pub const LEASE: Duration = Duration::from_secs(2);

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

impl Bus {
    /// A bus that is not open yet, on which everything fails at once, and what opens it.
    pub fn new(options: Options, subjects: &Subjects) -> (Self, Opening) {
        let (calls, open_calls) = Connection::new("calls");
        let (control, open_control) = Connection::new("control");
        let bucket = |name: String| Space::bucket(control.clone(), name);
        let bus = Self {
            leases: bucket(subjects.leases_bucket()),
            nodes: bucket(subjects.nodes_bucket()),
            routes: bucket(subjects.routes_bucket()),
            decisions: Space::stream(control.clone(), subjects.control_stream()),
            objects: Objects::new(calls.clone(), subjects.artifacts_bucket()),
            // Many may read them at once, which must not delay a renewal.
            events: Log::new(calls.clone(), subjects.events_stream()),
            states: (0..PARTITIONS)
                .map(|partition| Space::stream(calls.clone(), subjects.state_stream(partition)))
                .collect(),
            calls,
            control,
            copies: options.copies.max(1),
        };
        let opening = Opening::new(options, bus.clone(), open_calls, open_control);
        (bus, opening)
    }

    /// Creates the streams of what keyed actors keep, where they are missing.
    pub async fn ensure_states(&self, subjects: &Subjects) -> Result<(), Error> {
        let context = self.control.jetstream()?;
        let each = (0..PARTITIONS).map(async |partition| {
            let name = subjects.state_stream(partition);
            if context.get_stream(&name).await.is_ok() {
                return Ok(());
            }
            let config = jetstream::stream::Config {
                name,
                subjects: vec![subjects.state_filter(partition)],
                max_messages_per_subject: 1,
                allow_direct: true,
                num_replicas: self.copies,
                ..Default::default()
            };
            let made = context.create_stream(config).await;
            made.map(drop).map_err(|error| Error::failed("creating a state stream", full(&error)))
        });
        futures::future::try_join_all(each).await.map(drop)
    }

    /// Creates what is missing. Two nodes that do so at once ask for the same and both succeed.
    pub async fn ensure(&self, subjects: &Subjects) -> Result<(), Error> {
        use jetstream::kv::Config;
        use jetstream::stream::StorageType;
        let (source, destination) = subjects.route_republish();
        let context = self.control.jetstream()?;
        let buckets = [
            Config {
                bucket: subjects.leases_bucket(),
                storage: StorageType::Memory,
                max_age: LEASE,
                limit_markers: Some(MARKER),
                history: 1,
                num_replicas: self.copies,
                ..Default::default()
            },
            Config {
                bucket: subjects.nodes_bucket(),
                history: 1,
                num_replicas: self.copies,
                max_value_size: MAX_RECORD,
                ..Default::default()
            },
            Config {
                bucket: subjects.routes_bucket(),
                history: 1,
                num_replicas: self.copies,
                max_value_size: MAX_RECORD,
                republish: Some(jetstream::stream::Republish { source, destination, headers_only: false }),
                ..Default::default()
            },
        ];
        for config in buckets {
            // What is there is left as it is: an operator may have given it more copies or another place.
            if context.get_key_value(&config.bucket).await.is_ok() {
                continue;
            }
            let made = context.create_key_value(config).await;
            made.map_err(|error| Error::failed("creating a bucket", full(&error)))?;
        }
        if context.get_stream(subjects.control_stream()).await.is_err() {
            let config = jetstream::stream::Config {
                name: subjects.control_stream(),
                subjects: vec![subjects.control_filter()],
                max_messages_per_subject: 1,
                max_message_size: MAX_RECORD,
                allow_direct: true,
                allow_atomic_publish: true,
                num_replicas: self.copies,
                ..Default::default()
            };
            let made = context.create_stream(config).await;
            made.map_err(|error| Error::failed("creating the control stream", full(&error)))?;
        }
        if context.get_stream(subjects.events_stream()).await.is_err() {
            let config = jetstream::stream::Config {
                name: subjects.events_stream(),
                subjects: vec![subjects.events_filter()],
                max_age: EVENTS_KEPT,
                max_messages: MAX_EVENTS,
                max_bytes: MAX_EVENT_BYTES,
                max_message_size: MAX_EVENT,
                num_replicas: self.copies,
                ..Default::default()
            };
            let made = context.create_stream(config).await;
            made.map_err(|error| Error::failed("creating the events stream", full(&error)))?;
        }
        self.objects.ensure(self.copies).await
    }
}

/// Where a reply is wanted.
pub type ReplyTo = async_nats::Subject;

/// A message that arrived on a subscription.
pub struct Arrived {
    /// Where it was published.
    pub subject: String,
    /// Where the sender waits, if it does.
    pub reply: Option<ReplyTo>,
    /// Whether the server says by this that nobody listens where something was sent.
    pub no_responders: bool,
    /// What it holds.
    pub payload: Bytes,
    /// Its headers.
    pub headers: Headers,
}

/// NATS headers, read by name.
#[derive(Default)]
pub struct Headers(Option<async_nats::HeaderMap>);

impl Headers {
    /// One header's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.as_ref()?.get(name).map(|value| value.as_str())
    }
}
