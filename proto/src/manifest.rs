//! The manifest, `lattice.toml`: which actors an app has, and what each of them asks for.
//!
//! [`Manifest::parse`] either understands every line or says exactly which one it does not: file, line, field and
//! what is allowed there. A field of a later version is refused as such, never ignored.

mod address;
mod http;
mod http_grant;
mod placement;
mod replicas;
mod source;
mod subscription;
mod unit;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::id::{ActorName, AppName, Digest, StoreName, Topic, TopicPattern};
use crate::interface::InterfaceName;
use crate::reference::Reference;

pub use http::{Found, Host, HttpMethod, HttpRoute, HttpRoutes, PathPrefix};
pub use http_grant::{HttpGrant, HttpScheme, Reach, Server, ServerHost, Servers, reach};
pub use placement::{EACH_NODE, Label, Placement};
pub use replicas::{Each, Range, Replicas};
pub use source::Error;
pub use subscription::{ON_MESSAGE, Subscription};
pub use unit::{Bytes, Millis};
pub use update::{Percent, Share, Update};

/// An app as its author declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The app's name.
    pub app: AppName,
    /// Its actors.
    pub actors: BTreeMap<ActorName, Actor>,
}

/// One actor of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Where its bytes are.
    pub artifact: Artifact,
    /// The folder that `lattice build` compiles, relative to the manifest; its own when none is named.
    pub build: Option<PathBuf>,
    /// What does not depend on where the bytes came from.
    pub settings: Settings,
}

/// Where an artifact's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Artifact {
    /// A file, relative to the manifest.
    Path(PathBuf),
    /// Already in the lattice.
    Stored(Digest),
    /// In a registry, from which the node gets it that takes the manifest.
    Registry(Reference),
}

/// All that a manifest sets for one actor, with the defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whether it has replicas that are all alike, or state under keys.
    #[serde(default, skip_serializing_if = "Kind::is_replicated")]
    pub kind: Kind,
    /// How many replicas run in the whole lattice.
    pub replicas: Replicas,
    /// Messages that one replica handles at once. More than 1 shares an instance, and its fate after a trap.
    pub concurrency: u32,
    /// Messages that wait before one replica.
    pub mailbox: u32,
    /// Who may call it besides actors and the admin API.
    pub ingress: BTreeSet<Ingress>,
    /// Which requests of the HTTP gateway it answers, where it is a component for HTTP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpRoute>,
    /// Whether an instance serves one request after the other, where it is a component for HTTP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse: bool,
    /// The topics whose messages it handles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribe: Vec<Subscription>,
    /// Where they run.
    #[serde(default)]
    pub placement: Placement,
    /// How a new version takes the place of an old one.
    #[serde(default)]
    pub update: Update,
    /// What one replica may use.
    pub limits: Limits,
    /// What it may do.
    pub grants: Grants,
    /// Who answers the interfaces that it imports and that are not the node's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<InterfaceName, ActorName>,
    /// Its environment variables, and all of them.
    pub env: BTreeMap<String, String>,
    /// What it finds by `wasi:config`, and all of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
}

/// What an actor is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Stateless: any of its replicas takes any message.
    #[default]
    Replicated,
    /// One activation for each key, which keeps state.
    Keyed(Keyed),
}

impl Kind {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this shape")]
    fn is_replicated(&self) -> bool {
        *self == Kind::Replicated
    }

    /// What a keyed actor sets besides.
    pub fn keyed(self) -> Option<Keyed> {
        match self {
            Kind::Keyed(keyed) => Some(keyed),
            Kind::Replicated => None,
        }
    }
}

/// What only keyed actors set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyed {
    /// How long an activation without messages stays in memory.
    pub idle: Millis,
    /// Whether an owner serves only while its lease is sure to be valid.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// The largest state of one key.
    pub state: Bytes,
}

impl Default for Keyed {
    fn default() -> Self {
        // With the envelope it fits the 1 MiB that NATS takes unless it is told otherwise.
        Self { idle: Millis(120_000), strict: false, state: Bytes(960 << 10) }
    }
}

/// A way in from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ingress {
    /// HTTP clients, by `POST /actors/<actor>/<operation>` with JSON or Protobuf to the gateway of any node.
    Http,
    /// Plain NATS clients, at `lat.<lattice>.call.<actor>.<operation>`.
    Nats,
}

/// What one replica may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Linear memory.
    pub memory: Bytes,
    /// Whether each replica has this memory of its node to itself: so if the manifest names it. A default is a limit, and
    /// no claim.
    #[serde(default)]
    pub reserved: bool,
    /// Thousandths of a processor that each replica has of its node to itself. A claim, and no limit.
    #[serde(default)]
    pub cpu_millis: u32,
    /// How long the guest may compute without giving way.
    pub turn: Millis,
    /// A request's or a reply's payload.
    pub payload: Bytes,
}

/// The capabilities of an actor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// The actors that it may call.
    pub call: BTreeSet<ActorName>,
    /// Whether its log lines are kept.
    pub log: bool,
    /// The servers that it may ask by HTTP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrant>,
    /// The key-value stores that it may open.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub keyvalue: BTreeSet<StoreName>,
    /// The containers of objects that it may open and make.
    #[serde(default, skip_serializing_if = "Containers::are_none")]
    pub blobstore: Containers,
    /// The topics that it may publish to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub publish: BTreeSet<TopicPattern>,
}

impl Grants {
    /// Whether it may publish to a topic.
    pub fn lets_publish(&self, topic: &Topic) -> bool {
        self.publish.iter().any(|pattern| pattern.matches(topic))
    }
}

/// Containers of objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Containers {
    /// Of whatever name; `"*"` in a manifest.
    Any,
    /// These.
    Named(BTreeSet<StoreName>),
}

impl Default for Containers {
    fn default() -> Self {
        Self::Named(BTreeSet::new())
    }
}

impl Containers {
    /// Whether there are none.
    pub fn are_none(&self) -> bool {
        matches!(self, Self::Named(names) if names.is_empty())
    }

    /// Whether this is one of them.
    pub fn contain(&self, name: &StoreName) -> bool {
        match self {
            Self::Any => true,
            Self::Named(names) => names.contains(name),
        }
    }
}

/// The highest values that a manifest may ask for; each error names its own.
pub mod bound {
    /// Replicas of one actor.
    pub const REPLICAS: u32 = 10_000;
    /// Messages that wait or run at once in one replica before another is added, at most.
    pub const INFLIGHT: u32 = 1_000_000;
    /// The time over which a load is looked at before the number of replicas follows it, in milliseconds.
    pub const WINDOW: u64 = 3_600_000;
    /// Labels in one list.
    pub const LABELS: usize = 64;
    /// Messages at once in one replica.
    pub const CONCURRENCY: u32 = 10_000;
    /// HTTP routes of one actor.
    pub const ROUTES: usize = 256;
    /// Entries of one actor's `grants.http`.
    pub const SERVERS: usize = 256;
    /// Messages waiting before one replica.
    pub const MAILBOX: u32 = 1_000_000;
    /// Actors in one app.
    pub const ACTORS: usize = 1_000;
    /// Names and values of one actor's environment together, in bytes.
    pub const ENV: usize = 64 << 10;
    /// Keys and values of one actor's configuration together, in bytes.
    pub const CONFIG: usize = 64 << 10;
    /// Key-value stores or containers that one actor may name.
    pub const STORES: usize = 64;
    /// Patterns of topics that one actor subscribes to, or may publish to.
    pub const TOPICS: usize = 64;
    /// Interfaces that one actor may be linked by.
    pub const LINKS: usize = 64;
    /// The text of a manifest, in bytes.
    pub const TEXT: usize = 1 << 20;
}

impl Settings {
    /// Who answers an interface that the artifact imports: the entry with just this version, or the one without any.
    pub fn link(&self, import: &InterfaceName) -> Option<&ActorName> {
        let of_any_version = || self.links.iter().find(|(name, _)| name.as_str() == import.base());
        self.links.get(import).or_else(|| of_any_version().map(|(_, actor)| actor))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kind: Kind::Replicated,
            replicas: Replicas::Count(1),
            concurrency: 1,
            mailbox: 1024,
            ingress: BTreeSet::new(),
            http: Vec::new(),
            reuse: false,
            subscribe: Vec::new(),
            placement: Placement::default(),
            update: Update::default(),
            limits: Limits::default(),
            grants: Grants::default(),
            links: BTreeMap::new(),
            env: BTreeMap::new(),
            config: BTreeMap::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        // NATS's own limit is 1 MiB, of which 64 KiB are for the envelope: the default must fit every server.
        Self {
            memory: Bytes(64 << 20),
            reserved: false,
            cpu_millis: 0,
            turn: Millis(5_000),
            payload: Bytes(960 << 10),
        }
    }
}

impl Manifest {
    /// Reads the text of a manifest; `file` is what errors call it.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line, field and what is allowed.
    ///
    /// ```
    /// use lattice_proto::manifest::Manifest;
    /// let text = "[app]\nname = \"hi\"\n\n[actors.greeter]\nartifact = \"greeter.wasm\"\nreplcas = 3\n";
    /// let error = Manifest::parse(text, "lattice.toml").unwrap_err();
    /// assert!(error.to_string().starts_with("lattice.toml:6: actors.greeter.replcas: unknown field"));
    /// ```
    pub fn parse(text: &str, file: &str) -> Result<Self, Error> {
        source::parse(text, file)
    }
}
