//! What a lattice of a test is made of, before it starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Lattice;
use super::node::{self, Node, Settings};
use crate::{NatsServer, Relay};

/// All nodes must see each other by then.
const JOIN_BOUND: Duration = Duration::from_secs(30);

/// Nodes to come.
#[derive(Debug)]
pub struct Builder {
    nodes: Vec<Plan>,
    env: BTreeMap<String, String>,
    args: Vec<String>,
    nats: Option<NatsServer>,
    cluster: usize,
    id: Option<String>,
}

#[derive(Debug, Clone)]
struct Plan {
    program: PathBuf,
    name: String,
    labels: Vec<String>,
    env: BTreeMap<String, String>,
    args: Vec<String>,
    /// Whether its way to NATS can be cut.
    apart: bool,
}

impl Builder {
    pub(super) fn new(nodes: usize) -> Self {
        // Where a run has an earlier version, every second node is of it.
        let program = |index: usize| if index % 2 == 1 { node::earlier_program() } else { node::program() };
        let plan = |index: usize| Plan {
            program: program(index),
            name: format!("node-{index}"),
            labels: Vec::new(),
            env: BTreeMap::new(),
            args: Vec::new(),
            apart: false,
        };
        Self {
            nodes: (0..nodes).map(plan).collect(),
            env: BTreeMap::new(),
            args: Vec::new(),
            nats: None,
            cluster: 1,
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

    /// Sets a variable for one node.
    pub fn env_of(mut self, node: usize, key: &str, value: &str) -> Self {
        self.nodes[node].env.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Lets one node reach NATS over links that [`Lattice::cut`] cuts.
    pub fn apart(mut self, node: usize) -> Self {
        self.nodes[node].apart = true;
        self
    }

    /// Uses a cluster of so many servers, each of which keeps everything.
    pub fn cluster(mut self, servers: usize) -> Self {
        self.cluster = servers;
        self
    }

    /// Gives all nodes one more argument.
    pub fn arg(mut self, word: &str) -> Self {
        self.args.push(word.to_owned());
        self
    }

    /// Gives one node one more argument.
    pub fn arg_of(mut self, node: usize, word: &str) -> Self {
        self.nodes[node].args.push(word.to_owned());
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
        let (nats, others) = match self.nats.take() {
            Some(nats) => (nats, Vec::new()),
            None if self.cluster > 1 => {
                let mut servers = NatsServer::start_cluster(self.cluster).await;
                (servers.remove(0), servers)
            }
            None => (NatsServer::start().await, Vec::new()),
        };
        let servers: Vec<&NatsServer> = std::iter::once(&nats).chain(&others).collect();
        let links = self.nodes.iter().map(async |plan| {
            let to = if plan.apart { servers.as_slice() } else { &[] };
            futures::future::join_all(to.iter().map(|server| Relay::to(server))).await
        });
        let links: Vec<Vec<Relay>> = futures::future::join_all(links).await;
        let (id, folder, settings) = self.prepare(&servers, &links);
        let nodes = futures::future::join_all(settings.into_iter().map(Node::start)).await;
        Lattice { nodes, nats, others, links, id, folder }
    }

    /// Starts the nodes without waiting for anything; [`Node::wait_until_ready`] does that.
    pub fn spawn(mut self) -> Lattice {
        let nats = self.nats.take().unwrap_or_else(NatsServer::stopped);
        let (id, folder, settings) = self.prepare(&[&nats], &[]);
        let nodes = settings.into_iter().map(Node::spawn).collect();
        Lattice { nodes, nats, others: Vec::new(), links: Vec::new(), id, folder }
    }

    fn prepare(
        self,
        servers: &[&NatsServer],
        links: &[Vec<Relay>],
    ) -> (String, tempfile::TempDir, Vec<Settings>) {
        let id = self.id.unwrap_or_else(|| format!("test-{}", uuid::Uuid::new_v4().simple()));
        let folder = tempfile::Builder::new().prefix("lattice-nodes-").tempdir().unwrap();
        let mut args = self.args;
        if servers.len() > 1 {
            let config = folder.path().join("lattice.toml");
            std::fs::write(&config, format!("nats_replicas = {}\n", servers.len())).unwrap();
            args.extend(["--config".to_owned(), config.to_str().unwrap().to_owned()]);
        }
        let direct = servers.iter().map(|server| server.url()).collect::<Vec<_>>().join(",");
        let settings = self.nodes.iter().enumerate().map(|(index, plan)| {
            let links = links.get(index).map_or(&[][..], Vec::as_slice);
            let nats = match links {
                [] => direct.clone(),
                links => links.iter().map(Relay::url).collect::<Vec<_>>().join(","),
            };
            let mut env = self.env.clone();
            env.extend(plan.env.clone());
            Settings {
                program: plan.program.clone(),
                folder: folder.path().join(&plan.name),
                name: plan.name.clone(),
                labels: plan.labels.clone(),
                lattice: id.clone(),
                nats: Some(nats),
                listen: "127.0.0.1:0".to_owned(),
                env,
                args: args.iter().chain(&plan.args).cloned().collect(),
            }
        });
        let settings = settings.collect();
        (id, folder, settings)
    }
}
