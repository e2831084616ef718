//! What this node was last told to run, on its own disk, so that it can run it again while NATS is away.
//!
//! Rules:
//! 1. The file is whole or not there: a new one is written beside it, synced, and renamed.
//! 2. What is damaged, of a later format, or of another node or lattice is told and not used. It stops nothing.
//! 3. It says what is to run, and never with which bytes: artifacts are verified by their digests, as ever.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use lattice_proto::record::{self, Actor, Assignment};
use lattice_proto::{ActorName, AppName, LatticeId, NodeName};
use serde::{Deserialize, Serialize};

/// What each version of each actor is.
pub type Versions = BTreeMap<ActorName, BTreeMap<u64, Actor>>;

/// What a node was told to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// In which lattice.
    pub lattice: LatticeId,
    /// Which node.
    pub node: NodeName,
    /// What.
    pub assignment: Assignment,
    /// And what that is.
    pub versions: Versions,
}

impl Orders {
    /// One version of an actor of this app.
    pub fn version(&self, app: &AppName, actor: &ActorName, version: u64) -> Option<&Actor> {
        self.assignment.actors.get(actor).filter(|assigned| assigned.app == *app)?;
        self.versions.get(actor)?.get(&version)
    }
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    /// From the system.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// No such record.
    #[error("it is damaged or of a later version: {0}")]
    Damaged(#[from] record::Malformed),
    /// Not this node's.
    #[error("it is of node `{node}` in lattice `{lattice}`")]
    Other {
        /// Its lattice.
        lattice: LatticeId,
        /// Its node.
        node: NodeName,
    },
}

/// The file of one node.
#[derive(Debug, Clone)]
pub struct Last {
    folder: PathBuf,
    lattice: LatticeId,
    node: NodeName,
}

impl Last {
    /// The file in this folder, which need not be there.
    pub fn new(folder: PathBuf, lattice: LatticeId, node: NodeName) -> Self {
        Self { folder, lattice, node }
    }

    /// Orders to this node to run nothing.
    pub fn empty(&self, term: u64) -> Orders {
        let assignment = Assignment { term, actors: BTreeMap::new() };
        Orders {
            lattice: self.lattice.clone(),
            node: self.node.clone(),
            assignment,
            versions: Versions::new(),
        }
    }

    /// What it says; none when there is nothing to run by it.
    pub fn read(&self) -> Option<Orders> {
        match self.try_read() {
            // A node with nothing to do has nothing to begin before NATS is there.
            Ok(orders) => orders.filter(|orders| !orders.assignment.actors.is_empty()),
            Err(unusable) => {
                let file = self.file();
                tracing::warn!(
                    file = %file.display(),
                    "what this node ran last is not used: {unusable}; it starts when NATS can be reached"
                );
                None
            }
        }
    }

    fn try_read(&self) -> Result<Option<Orders>, Unusable> {
        let bytes = match fs::read(self.file()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let orders: Orders = record::decode(&bytes)?;
        if orders.lattice != self.lattice || orders.node != self.node {
            return Err(Unusable::Other { lattice: orders.lattice, node: orders.node });
        }
        Ok(Some(orders))
    }

    /// Writes it anew. Blocks.
    ///
    /// # Errors
    /// From the system; what was there before is there still.
    pub fn write(&self, orders: &Orders) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&record::encode(orders))?;
        file.as_file().sync_all()?;
        file.persist(self.file()).map_err(|error| error.error)?;
        // Without this a loss of power could bring the old one back.
        File::open(&self.folder)?.sync_all()
    }

    fn file(&self) -> PathBuf {
        self.folder.join("assignment.json")
    }
}

#[cfg(test)]
mod tests {
    use lattice_proto::Digest;
    use lattice_proto::manifest::Settings;
    use lattice_proto::record::Assigned;

    use super::*;

    fn last(folder: &std::path::Path, node: &str) -> Last {
        Last::new(folder.join("last"), "test".parse().unwrap(), node.parse().unwrap())
    }

    fn orders(last: &Last) -> Orders {
        let actor: ActorName = "greeter".parse().unwrap();
        let assigned = Assigned {
            app: "hello".parse().unwrap(),
            versions: [(3, 2)].into(),
            placed: 2,
            observed: false,
            measured: false,
            canary: None,
            reason: "declared".into(),
        };
        let spec = Actor {
            version: 3,
            since: 3,
            beside: None,
            digest: Digest::of(b"x"),
            from: None,
            settings: Settings::default(),
            idempotent: ["hello".parse().unwrap()].into(),
        };
        let mut orders = last.empty(7);
        orders.assignment.actors.insert(actor.clone(), assigned);
        orders.versions.insert(actor, [(3, spec)].into());
        orders
    }

    #[test]
    fn what_was_written_is_read_by_the_same_node_of_the_same_lattice_only() {
        let folder = tempfile::tempdir().unwrap();
        let edge = last(folder.path(), "edge");
        assert_eq!(edge.read(), None, "nothing was written");
        edge.write(&orders(&edge)).unwrap();
        assert_eq!(edge.read(), Some(orders(&edge)));
        let other = last(folder.path(), "other");
        assert!(matches!(other.try_read(), Err(Unusable::Other { .. })));
        assert_eq!(other.read(), None);
        let elsewhere = Last { lattice: "elsewhere".parse().unwrap(), ..edge };
        assert!(matches!(elsewhere.try_read(), Err(Unusable::Other { .. })));
    }

    #[test]
    fn a_version_belongs_to_its_app() {
        let folder = tempfile::tempdir().unwrap();
        let orders = orders(&last(folder.path(), "edge"));
        let (hello, other, actor) =
            ("hello".parse().unwrap(), "other".parse().unwrap(), "greeter".parse().unwrap());
        assert!(orders.version(&hello, &actor, 3).is_some());
        assert!(orders.version(&hello, &actor, 2).is_none());
        assert!(orders.version(&other, &actor, 3).is_none());
    }

    #[test]
    fn a_damaged_file_is_not_used_and_may_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let edge = last(folder.path(), "edge");
        edge.write(&orders(&edge)).unwrap();
        let whole = fs::read(edge.file()).unwrap();
        fs::write(edge.file(), &whole[..whole.len() / 2]).unwrap();
        assert!(matches!(edge.try_read(), Err(Unusable::Damaged(record::Malformed::Shape(_)))));
        fs::write(edge.file(), b"{\"format\":99}").unwrap();
        assert!(matches!(edge.try_read(), Err(Unusable::Damaged(record::Malformed::Format(99)))));
        assert_eq!(edge.read(), None);
        edge.write(&orders(&edge)).unwrap();
        assert!(edge.read().is_some());
    }

    #[test]
    fn an_empty_assignment_is_nothing_to_begin_with() {
        let folder = tempfile::tempdir().unwrap();
        let edge = last(folder.path(), "edge");
        edge.write(&edge.empty(1)).unwrap();
        assert_eq!(edge.read(), None);
    }
}
