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
mod mail;
mod object;
mod opening;
mod queue;
mod space;
mod streams;
mod temporary;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_proto::shard::PARTITIONS;
use lattice_proto::subject::{Subjects, Way};

pub use connection::{Connection, Link, RequestError, Subscription};
pub use log::{Log, Logged, Place, ReadError, Reader, Until};
pub use mail::{Collected, Delivered, Group, Mail, MailReader, Posted, Receipt, SharedReader};
pub use object::{Chunks, Objects, Stored};
pub use opening::Opening;
pub use queue::{Queue, Queued};
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
    /// Letters for keyed actors, by partition.
    pub mail: Arc<[Mail]>,
    /// When keys are to be reminded of something.
    pub reminders: Space,
    /// What is due of that.
    pub due: Mail,
    /// Letters for replicated actors.
    pub sends: Mail,
    /// Messages of topics.
    pub topics: Mail,
    /// Letters that nobody could handle.
    pub dead: Space,
    /// Messages of topics that somebody who subscribes could not handle.
    pub unheard: Space,
    /// How many servers of a cluster keep what is created.
    copies: usize,
}

/// How long a lease lives after its last renewal.
///
/// Two seconds let a node miss three renewals before anybody takes it for lost.
pub const LEASE: Duration = Duration::from_secs(2);

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
            mail: (0..PARTITIONS)
                .map(|partition| Mail::new(calls.clone(), subjects.mail_stream(partition)))
                .collect(),
            reminders: Space::stream(calls.clone(), subjects.reminders_stream()),
            due: Mail::new(calls.clone(), subjects.reminders_stream()),
            sends: Mail::new(calls.clone(), subjects.sends_stream()),
            topics: Mail::new(calls.clone(), subjects.topics_stream()),
            dead: Space::stream(calls.clone(), subjects.dead_stream(Way::Sent)),
            unheard: Space::stream(calls.clone(), subjects.dead_stream(Way::Published)),
            calls,
            control,
            copies: options.copies.max(1),
        };
        let opening = Opening::new(options, bus.clone(), open_calls, open_control);
        (bus, opening)
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
