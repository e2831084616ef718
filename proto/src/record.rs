//! What is kept in the shared store, as JSON, so that an operator can read it with ordinary NATS tools.
//!
//! | record | where | written by |
//! |---|---|---|
//! | [`Lease`] | leases bucket, `node.<name>` and `leader` | the holder |
//! | [`Node`] | nodes bucket, `node.<name>` | the node itself, on change |
//! | [`NodeStatus`] | nodes bucket, `state.<name>` | the leader |
//! | [`Route`] | routes bucket, `<actor>` | the leader |
//! | [`Term`], [`Assignment`] | control stream | the leader, guarded by its term |
//! | [`Catalog`], [`App`] | control stream | any node, guarded by the catalog's sequence |
//!
//! Records carry a `format`; fields may be added, and readers skip those that they do not know.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::id::{ActorName, AppName, Digest, Incarnation, NodeName, Operation};
use crate::manifest::Settings;

/// The format that this version writes and the newest that it reads.
pub const FORMAT: u16 = 1;

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or not of the expected shape.
    #[error("not a record of this kind")]
    Shape(#[from] serde_json::Error),
    /// Written by a later version.
    #[error("format {0} is newer than this version of Lattice understands (up to {FORMAT})")]
    Format(u16),
}

/// As bytes for the store.
pub fn encode<T: Serialize>(record: &T) -> bytes::Bytes {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        format: u16,
        #[serde(flatten)]
        record: &'a T,
    }
    // Records are plain structs with string keys, which JSON can always hold.
    serde_json::to_vec(&Versioned { format: FORMAT, record }).unwrap_or_default().into()
}

/// From the store.
///
/// # Errors
/// When the bytes are no record of this kind, or of a later format.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    #[derive(Deserialize)]
    struct Version {
        format: u16,
    }
    let version: Version = serde_json::from_slice(bytes)?;
    if version.format > FORMAT {
        return Err(Malformed::Format(version.format));
    }
    Ok(serde_json::from_slice(bytes)?)
}

/// Who holds a name, or the leadership, while it keeps renewing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The holder's name.
    pub name: NodeName,
    /// The holder.
    pub incarnation: Incarnation,
    /// Counts the renewals, for whoever reads the bucket; the holder tells its own writes by their revisions.
    pub nonce: u64,
}

/// What a node is and runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its stable name.
    pub name: NodeName,
    /// This start of it.
    pub incarnation: Incarnation,
    /// What the operator says of it.
    pub labels: BTreeMap<String, String>,
    /// Logical processors.
    pub cpus: u32,
    /// Physical memory.
    pub memory_bytes: u64,
    /// The version of Lattice.
    pub version: String,
    /// Where its admin API answers.
    pub admin: String,
    /// Set once it has begun to stop: nothing new is placed there.
    #[serde(default)]
    pub draining: bool,
    /// What runs there now.
    #[serde(default)]
    pub actors: BTreeMap<ActorName, Running>,
}

/// How one actor fares on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The revision of its app that it runs.
    pub revision: u64,
    /// Replicas that take messages.
    pub ready: u32,
    /// What keeps it from running all that is assigned; one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How a node fares, as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Of which start of the node this speaks.
    pub incarnation: Incarnation,
    /// What the leader makes of it.
    pub state: NodeState,
    /// Milliseconds since 1970 when the leader saw the change.
    pub since_ms: u64,
}

/// What the leader makes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Takes replicas and messages.
    Ready,
    /// Keeps what it has and takes nothing new.
    Cordoned,
    /// Is being emptied.
    Draining,
    /// Stopped answering; nobody knows yet whether it is lost.
    Suspect,
    /// Lost.
    Gone,
}

impl NodeState {
    /// The word for it in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeState::Ready => "ready",
            NodeState::Cordoned => "cordoned",
            NodeState::Draining => "draining",
            NodeState::Suspect => "suspect",
            NodeState::Gone => "gone",
        }
    }
}

/// Where an actor runs and how far it is from its spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The app that owns it.
    pub app: AppName,
    /// The revision of the app that is wanted.
    pub revision: u64,
    /// Replicas that are wanted.
    pub desired: u32,
    /// Where replicas take messages.
    pub targets: Vec<Target>,
    /// Operations that a router may try again although they may have run.
    #[serde(default)]
    pub idempotent: BTreeSet<Operation>,
    /// Whether plain NATS clients may call it.
    #[serde(default)]
    pub nats: bool,
    /// What keeps it from its spec, one sentence each.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// The replicas of one actor on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The node's name.
    pub node: NodeName,
    /// The node's current start, which names its inbox.
    pub incarnation: Incarnation,
    /// The node's `zone` label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Replicas of the wanted revision that take messages.
    pub ready: u32,
    /// Replicas of an earlier revision that still take messages.
    #[serde(default)]
    pub stale: u32,
}

/// Who leads, and the how-many-eth leader that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// Grows with each taking of office.
    pub term: u64,
    /// The leader.
    pub leader: Incarnation,
}

/// What one node is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The term of the leader that decided it; lower ones are refused.
    pub term: u64,
    /// By actor.
    pub actors: BTreeMap<ActorName, Assigned>,
}

/// What one node is to run of one actor: all that it needs to know, but for the artifact's bytes. Nothing of it is kept
/// on a node's disk yet, so a node that starts without NATS waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// The app that owns it.
    pub app: AppName,
    /// The revision of the app.
    pub revision: u64,
    /// What it is.
    pub spec: Actor,
    /// Replicas on this node.
    pub replicas: u32,
    /// Why here; one sentence.
    pub reason: String,
}

/// The current revision of every app that ever was, so that revisions only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// By app.
    pub apps: BTreeMap<AppName, Head>,
}

/// The current revision of one app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The latest.
    pub revision: u64,
    /// Whether the app was deleted with it.
    #[serde(default)]
    pub deleted: bool,
}

/// One revision of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name.
    pub app: AppName,
    /// Counted from 1.
    pub revision: u64,
    /// The request that made it, so that a repeated request is recognised.
    pub request_id: String,
    /// Its actors.
    pub actors: BTreeMap<ActorName, Actor>,
}

/// One actor of one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Its bytes.
    pub digest: Digest,
    /// What the manifest asks for.
    #[serde(flatten)]
    pub settings: Settings,
    /// Operations that its artifact declares idempotent.
    #[serde(default)]
    pub idempotent: BTreeSet<Operation>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_carry_their_format() {
        let term = Term { term: 3, leader: Incarnation::generate() };
        let bytes = encode(&term);
        assert!(String::from_utf8_lossy(&bytes).starts_with("{\"format\":1,"));
        assert_eq!(decode::<Term>(&bytes).unwrap(), term);
    }

    #[test]
    fn later_formats_and_garbage_are_refused() {
        assert!(matches!(decode::<Term>(b"{\"format\":2}"), Err(Malformed::Format(2))));
        assert!(matches!(decode::<Term>(b"nonsense"), Err(Malformed::Shape(_))));
        assert!(matches!(decode::<Term>(b"{\"format\":1,\"term\":-1}"), Err(Malformed::Shape(_))));
    }

    #[test]
    fn an_app_survives_the_store() {
        let actor =
            Actor { digest: Digest::of(b"x"), settings: Settings::default(), idempotent: BTreeSet::new() };
        let app = App {
            app: "shop".parse().unwrap(),
            revision: 1,
            request_id: "r".into(),
            actors: [("cart".parse().unwrap(), actor)].into(),
        };
        assert_eq!(decode::<App>(&encode(&app)).unwrap(), app);
    }
}
