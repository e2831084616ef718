//! What a lattice of a test is made of, before it starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Lattice;
use super::node::{self, Node, Settings};
use crate::NatsServer;

/// All nodes must see each other by then.
const JOIN_BOUND: Duration = Duration::from_secs(30);

/// Nodes to come.
#[derive(Debug)]
pub struct Builder {
    nodes: Vec<Plan>,
    env: BTreeMap<String, String>,
    args: Vec<String>,
    nats: Option<NatsServer>,
    id: Option<String>,
}

#[derive(Debug, Clone)]
struct Plan {
    program: PathBuf,
    name: String,
    labels: Vec<String>,
}

impl Builder {
    pub(super) fn new(nodes: usize) -> Self {
        // Where a run has an earlier version, every second node is of it.
        let program = |index: usize| if index % 2 == 1 { node::earlier_program() } else { node::program() };
        let plan = |index: usize| Plan {
            program: program(index),
            name: format!("node-{index}"),
            labels: Vec::new(),
        };
        Self {
            nodes: (0..nodes).map(plan).collect(),
            env: BTreeMap::new(),
            args: Vec::new(),
            nats: None,
            id: None,
        }
    }

    /// Gives one node a label, such as `tier=edge`.
    pub fn label(mut self, node: usize, label: &str) -> Self {
        self.nodes[node].labels.push(label.to_owned());
        self
    }

    /// Names one node; without, they are `node-0`, `node-1` and so on.
    pub fn name(mut self, node: usize, name: &str) -> Self {
        name.clone_into(&mut self.nodes[node].name);
        self
    }

    /// Runs this `lattice` on one node.
    pub fn program(mut self, node: usize, program: PathBuf) -> Self {
        self.nodes[node].program = program;
        self
    }

    /// Sets a variable for all nodes.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Gives all nodes one more argument.
    pub fn arg(mut self, word: &str) -> Self {
        self.args.push(word.to_owned());
        self
    }

    /// Names the lattice; without, it has a name that no other test uses.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Uses this server, which may be stopped still; without, a new one is started.
    pub fn nats(mut self, nats: NatsServer) -> Self {
        self.nats = Some(nats);
        self
    }

    /// Starts everything, and returns when all nodes see each other.
    pub async fn start(self) -> Lattice {
        let lattice = self.start_apart().await;
        lattice.wait_until_joined(JOIN_BOUND).await;
        lattice
    }

    /// Starts everything, and returns when each node has said that it is ready.
    pub async fn start_apart(mut self) -> Lattice {
        let nats = match self.nats.take() {
            Some(nats) => nats,
            None => NatsServer::start().await,
        };
        let (id, folder, settings) = self.prepare(&nats);
        let nodes = futures::future::join_all(settings.into_iter().map(Node::start)).await;
        Lattice { nodes, nats, id, folder }
    }

    /// Starts the nodes without waiting for anything; [`Node::wait_until_ready`] does that.
    pub fn spawn(mut self) -> Lattice {
        let nats = self.nats.take().unwrap_or_else(NatsServer::stopped);
        let (id, folder, settings) = self.prepare(&nats);
        let nodes = settings.into_iter().map(Node::spawn).collect();
        Lattice { nodes, nats, id, folder }
    }

    fn prepare(self, nats: &NatsServer) -> (String, tempfile::TempDir, Vec<Settings>) {
        let id = self.id.unwrap_or_else(|| format!("test-{}", uuid::Uuid::new_v4().simple()));
        let folder = tempfile::Builder::new().prefix("lattice-nodes-").tempdir().unwrap();
        let settings = self.nodes.iter().map(|plan| Settings {
            program: plan.program.clone(),
            folder: folder.path().join(&plan.name),
            name: plan.name.clone(),
            labels: plan.labels.clone(),
            lattice: id.clone(),
            nats: Some(nats.url()),
            listen: "127.0.0.1:0".to_owned(),
            env: self.env.clone(),
            args: self.args.clone(),
        });
        let settings = settings.collect();
        (id, folder, settings)
    }
}
