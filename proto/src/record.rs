//! What is kept in the shared store, as JSON, so that an operator can read it with ordinary NATS tools.
//!
//! | record | where | written by |
//! |---|---|---|
//! | [`Lease`] | leases bucket, `node.<name>` and `leader` | the holder |
//! | [`Node`] | nodes bucket, `node.<name>` | the node itself, on change |
//! | [`NodeStatus`] | nodes bucket, `state.<name>` | the leader |
//! | [`Route`] | routes bucket, `<actor>` | the leader |
//! | [`Term`], [`Assignment`], [`Shards`] | control stream | the leader, guarded by its term |
//! | [`NodeOrder`] | control stream | any node, for an operator |
//! | [`Catalog`], [`App`] | control stream | any node, guarded by the catalog's sequence |
//! | [`Event`](crate::event::Event) | events stream | whoever saw it happen |
//!
//! Records carry a `format`; fields may be added, and readers skip those that they do not know.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::id::{ActorName, AppName, Digest, Incarnation, NodeName, Operation};
use crate::manifest::{Percent, Settings};
use crate::reference::Reference;
use crate::shard::Shard;

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
    /// Where its HTTP gateway answers, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// Set once it has begun to stop: nothing new is placed there.
    #[serde(default)]
    pub draining: bool,
    /// What runs there now.
    #[serde(default)]
    pub actors: BTreeMap<ActorName, Running>,
    /// Keys that are awake there, as of a few moments ago.
    #[serde(default)]
    pub activations: u32,
    /// Shards that it let go of, with the epoch in which it owned them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub released: BTreeMap<Shard, u64>,
}

/// How one actor fares on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Of which app it is: another one may have the actor's name by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// By version; those that still finish what they have are there with none ready.
    #[serde(default)]
    pub versions: BTreeMap<u64, Health>,
    /// What keeps it from running all that is assigned; one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How the replicas of one version fare on one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Replicas that take messages.
    pub ready: u32,
    /// Instances that trapped or were given up, and replicas that could not be started, since the leader asked for the
    /// count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub crashes: u64,
    /// Turns that ended, in the same time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub handled: u64,
    /// Those of them that ended with their instance.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// For how long its replicas have taken messages on this node, in milliseconds, while the leader wants to know: the
    /// counts are as old as this at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_ms: Option<u64>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this shape")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Running {
    /// Replicas of all versions that take messages.
    pub fn ready(&self) -> u32 {
        self.versions.values().map(|health| health.ready).sum()
    }
}

/// What an operator wants of a node, whatever the node itself says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeOrder {
    /// It takes nothing new.
    #[serde(default)]
    pub cordoned: bool,
    /// What it has is to go elsewhere.
    #[serde(default)]
    pub draining: bool,
    /// Labels that were changed at run time; none takes one away.
    #[serde(default)]
    pub labels: BTreeMap<String, Option<String>>,
}

impl NodeOrder {
    /// Changes labels as the operator wants.
    pub fn relabel(&self, labels: &mut BTreeMap<String, String>) {
        for (key, value) in &self.labels {
            match value {
                Some(value) => labels.insert(key.clone(), value.clone()),
                None => labels.remove(key),
            };
        }
    }
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
    /// The version of the actor that is wanted.
    #[serde(default)]
    pub version: u64,
    /// Replicas that are wanted.
    pub desired: u32,
    /// Those of them that have a place.
    #[serde(default)]
    pub placed: u32,
    /// Where replicas take messages.
    pub targets: Vec<Target>,
    /// Operations that a router may try again although they may have run.
    #[serde(default)]
    pub idempotent: BTreeSet<Operation>,
    /// Whether plain NATS clients may call it.
    #[serde(default)]
    pub nats: bool,
    /// Whether HTTP clients may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub http: bool,
    /// Whether it is a keyed actor: each message goes to the owner of its key's shard.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keyed: bool,
    /// Whether another version is taking its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub updating: bool,
    /// Set while a new version gets a part of the calls only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Whether a call is held, and the leader asked for a replica, while none runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_demand: bool,
    /// What keeps it from its spec, one sentence each.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// A new version that gets a part of the calls, until somebody promotes it or takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// The new version; all others are what it is tried beside.
    pub version: u64,
    /// Its part of the calls.
    pub share: Percent,
    /// Its replicas in the whole lattice.
    pub replicas: u32,
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
    /// Replicas of the wanted version that take messages.
    pub ready: u32,
    /// Replicas of other versions that still take messages.
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

/// Who owns the shards of keyed actors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shards {
    /// The term of the leader that decided it; lower ones are refused.
    pub term: u64,
    /// The nodes that own any, or are to.
    pub owners: Vec<Owner>,
    /// By number. How many there are never changes.
    pub shards: Vec<Owned>,
}

/// A node that owns shards.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// Its name.
    pub name: NodeName,
    /// The start of it that owns them; another start owns nothing yet.
    pub incarnation: Incarnation,
}

/// Who owns one shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// Grows with each change of the owner.
    pub epoch: u64,
    /// The owner, as its place among the owners; none while nobody could have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u16>,
    /// Who is to have it as soon as the owner has let go of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u16>,
    /// Whether the owner before this one was lost, and did not say that it had let go of it: until its lease has run out it
    /// may go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

impl Shards {
    /// The owner of a shard, with its epoch.
    pub fn owner(&self, shard: Shard) -> Option<(&Owner, u64)> {
        let owned = self.shards.get(usize::from(shard.0))?;
        Some((self.owners.get(usize::from(owned.owner?))?, owned.epoch))
    }

    /// The shards of one owner, with their epochs.
    pub fn of<'a>(&'a self, owner: &'a Owner) -> impl Iterator<Item = (Shard, u64)> + 'a {
        let owned = (0..self.count()).map(Shard).filter_map(|shard| Some((shard, self.owner(shard)?)));
        owned.filter(move |(_, (its, _))| *its == owner).map(|(shard, (_, epoch))| (shard, epoch))
    }

    /// Who is to have a shard next.
    pub fn next(&self, shard: Shard) -> Option<&Owner> {
        self.owners.get(usize::from(self.shards.get(usize::from(shard.0))?.next?))
    }

    /// How many shards there are.
    pub fn count(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }
}

/// What one node is to run of one actor. What a version is stands in the revision of the app with the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// The app that owns it.
    pub app: AppName,
    /// Replicas on this node, by version.
    pub versions: BTreeMap<u64, u32>,
    /// Replicas that are to stay on this node. There are more while others are on their way to elsewhere, or while one
    /// version takes the place of another.
    pub placed: u32,
    /// Whether crashes and failures are to be counted and reported: an update is going on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observed: bool,
    /// Whether the leader is to be told how busy they are: it decides how many there are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub measured: bool,
    /// Set while a new version gets a part of the calls only, wherever it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Why here; one sentence.
    pub reason: String,
}

impl Assigned {
    /// Replicas of all versions.
    pub fn replicas(&self) -> u32 {
        self.versions.values().sum()
    }
}

/// The current revision of every app that ever was, so that revisions only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// By app.
    pub apps: BTreeMap<AppName, Head>,
}

/// The current revision of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The latest.
    pub revision: u64,
    /// Whether the app was deleted with it.
    #[serde(default)]
    pub deleted: bool,
    /// The last revision of which everything ran as declared: what an update that fails goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<u64>,
    /// Earlier ones of the same kind, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<u64>,
}

impl Head {
    /// How many earlier good revisions are remembered; as many as are kept.
    const EARLIER: usize = 10;

    /// The latest revision came true.
    pub fn came_true(&mut self) {
        let before = self.good.replace(self.revision);
        self.earlier.extend(before.filter(|before| *before != self.revision));
        let forgotten = self.earlier.len().saturating_sub(Self::EARLIER);
        self.earlier.drain(..forgotten);
    }

    /// Revisions of which everything ran as declared, the latest first.
    pub fn good_ones(&self) -> impl Iterator<Item = u64> {
        self.good.into_iter().chain(self.earlier.iter().rev().copied())
    }
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
    /// How it came to be.
    #[serde(default)]
    pub origin: Origin,
    /// Milliseconds since 1970 when it was declared.
    #[serde(default)]
    pub declared_ms: u64,
    /// Its actors.
    pub actors: BTreeMap<ActorName, Actor>,
}

impl App {
    /// Whether both revisions ask for the same.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let same = |(actor, one): (&ActorName, &Actor)| {
            other.actors.get(actor).is_some_and(|other| one.says_the_same_as(other))
        };
        self.actors.len() == other.actors.len() && self.actors.iter().all(same)
    }

    /// Whether a new version of any of its actors is on trial.
    pub fn is_on_trial(&self) -> bool {
        self.actors.values().any(|actor| actor.beside.is_some())
    }
}

/// How a revision came to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Origin {
    /// A manifest was applied.
    #[default]
    Apply,
    /// An actor was scaled.
    Scale,
    /// The app was deleted.
    Delete,
    /// What was tried with a part of the calls is to get them all.
    Promote,
    /// What was tried with a part of the calls is to go.
    Abort,
    /// Somebody, or the leader, went back.
    Rollback {
        /// From this revision.
        from: u64,
        /// To what this one says.
        to: u64,
        /// Why, where nobody asked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// One actor of one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The revision that changed last what a running replica is made of. Its replicas need not be made anew while this
    /// stays the same.
    #[serde(default)]
    pub version: u64,
    /// The revision since which that has been the current version without a break: a later one than the version itself where it was
    /// gone back to. Not said by earlier versions of Lattice.
    #[serde(default)]
    pub since: u64,
    /// The version that serves most calls while this one is on trial with a part of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<u64>,
    /// Its bytes.
    pub digest: Digest,
    /// Where they were got, pinned to what the registry had then; none where they were handed over. Nobody asks there again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Reference>,
    /// What the manifest asks for.
    #[serde(flatten)]
    pub settings: Settings,
    /// Operations that its artifact declares idempotent.
    #[serde(default)]
    pub idempotent: BTreeSet<Operation>,
}

impl Actor {
    /// Whether a running replica of one is a replica of the other: only what it is made of counts.
    pub fn is_made_like(&self, other: &Self) -> bool {
        let made_of = |actor: &Self| {
            let Settings { replicas: _, placement: _, update: _, .. } = &actor.settings;
            let settings = Settings {
                replicas: Settings::default().replicas,
                placement: crate::manifest::Placement::default(),
                update: crate::manifest::Update::default(),
                ..actor.settings.clone()
            };
            (actor.digest.clone(), settings)
        };
        made_of(self) == made_of(other)
    }

    /// Whether both ask for the same, whatever their versions are.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.digest == other.digest && self.settings == other.settings
    }
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
        let actor = Actor {
            version: 1,
            since: 1,
            beside: None,
            digest: Digest::of(b"x"),
            from: Some("oci://ghcr.io/acme/cart:1".parse().unwrap()),
            settings: Settings::default(),
            idempotent: BTreeSet::new(),
        };
        let app = App {
            app: "shop".parse().unwrap(),
            revision: 1,
            request_id: "r".into(),
            origin: Origin::Rollback { from: 2, to: 1, reason: None },
            declared_ms: 1,
            actors: [("cart".parse().unwrap(), actor)].into(),
        };
        assert_eq!(decode::<App>(&encode(&app)).unwrap(), app);
    }
}
