//! Several nodes, each a real `lattice start`, in a lattice of their own.

mod builder;
mod node;

use std::time::{Duration, Instant};

use lattice_proto::admin::admin_client::AdminClient as Client;
use lattice_proto::admin::{
    Actor, ApplyRequest, CallRequest, DeadLetter, DeleteRequest, ExplainRequest, GetCountersRequest,
    GetHistoryRequest, GetOperationRequest, ListActorsRequest, ListDeadLettersRequest, ListNodesRequest,
    ListSubscriptionsRequest, Node as NodeInfo, NodeRequest, Operation, PublishRequest, Revision,
    RollbackRequest, ScaleRequest, SendRequest, Subscription, TrialRequest,
};
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::{Fault, NatsServer, Relay, artifacts, wait_until};

pub use builder::Builder;
pub use node::{Node, Ready, Settings, earlier_program, program as node_program, start_and_fail};

/// A client of one node's admin API.
pub type AdminClient = Client<Channel>;

/// What a test that asks for nothing else gives a call.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// An operation that has not ended by then is taken for stuck.
pub const OPERATION_BOUND: Duration = Duration::from_secs(60);

/// Nodes, and the nats-server that they share.
///
/// Nodes are dropped, and so killed, before their server and their folders.
#[derive(Debug)]
pub struct Lattice {
    /// By index, in the order in which they were started; a node that was killed stays in its place.
    pub nodes: Vec<Node>,
    /// Their server, or the first of a cluster.
    pub nats: NatsServer,
    /// The other servers of a cluster.
    pub others: Vec<NatsServer>,
    /// The ways to NATS that can be cut, by node.
    links: Vec<Vec<Relay>>,
    id: String,
    folder: TempDir,
}

impl Lattice {
    /// So many nodes over a server of their own, all ready and known to each other.
    pub async fn start(nodes: usize) -> Self {
        Self::builder(nodes).start().await
    }

    /// The same with labels, names, variables.
    pub fn builder(nodes: usize) -> Builder {
        Builder::new(nodes)
    }

    /// The lattice's id, which no other test uses.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// One server of the cluster.
    pub fn server(&mut self, server: usize) -> &mut NatsServer {
        match server.checked_sub(1) {
            None => &mut self.nats,
            Some(other) => &mut self.others[other],
        }
    }

    /// Cuts a node off from NATS.
    pub fn cut(&mut self, node: usize) {
        assert!(!self.links[node].is_empty(), "its way to NATS cannot be cut");
        self.links[node].iter_mut().for_each(Relay::cut);
    }

    /// Lets a node reach NATS again.
    pub async fn mend(&mut self, node: usize) {
        for link in &mut self.links[node] {
            link.mend().await;
        }
    }

    /// The admin API of one node.
    pub fn admin(&self, node: usize) -> AdminClient {
        self.nodes[node].admin()
    }

    /// Deploys a manifest through the first node, with the artifacts it names, and waits until it runs.
    pub async fn apply(&self, manifest: &str) -> Operation {
        self.try_apply(0, manifest).await.unwrap_or_else(|fault| panic!("apply: {fault}\n{manifest}"))
    }

    /// Deploys through a given node; a refusal, and an operation that ends without its goal, are faults.
    pub async fn try_apply(&self, node: usize, manifest: &str) -> Result<Operation, Fault> {
        let started = self.begin_apply(node, manifest).await?;
        self.finish(node, started).await
    }

    /// Hands a manifest and its artifacts over without waiting until it runs.
    pub async fn begin_apply(&self, node: usize, manifest: &str) -> Result<Operation, Fault> {
        let mut client = self.admin(node);
        let artifacts = artifacts::put_all(&mut client, manifest).await?;
        let request = ApplyRequest {
            manifest: manifest.to_owned(),
            file: "lattice.toml".to_owned(),
            artifacts,
            dry_run: false,
            if_revision: None,
            request_id: uuid::Uuid::new_v4().to_string(),
        };
        Ok(client.apply(request).await?.into_inner())
    }

    /// What a manifest would change, line by line.
    pub async fn dry_run(&self, node: usize, manifest: &str) -> Vec<String> {
        let mut client = self.admin(node);
        let artifacts = artifacts::put_all(&mut client, manifest).await.unwrap();
        let request = ApplyRequest {
            manifest: manifest.to_owned(),
            file: "lattice.toml".to_owned(),
            artifacts,
            dry_run: true,
            ..ApplyRequest::default()
        };
        client.apply(request).await.unwrap().into_inner().changes
    }

    /// Sets the number of replicas through a given node and waits until it is so.
    pub async fn scale(&self, node: usize, actor: &str, replicas: u32) -> Result<Operation, Fault> {
        let request = ScaleRequest { actor: actor.to_owned(), replicas, request_id: String::new() };
        let started = self.admin(node).scale(request).await?.into_inner();
        self.finish(node, started).await
    }

    /// What an app was, revision by revision.
    pub async fn history(&self, node: usize, app: &str) -> Vec<Revision> {
        let request = GetHistoryRequest { app: app.to_owned(), ..GetHistoryRequest::default() };
        self.admin(node).get_history(request).await.unwrap().into_inner().revisions
    }

    /// Goes back to a revision, or to the last good one, and waits until it runs.
    pub async fn roll_back(&self, node: usize, app: &str, to: Option<u64>) -> Result<Operation, Fault> {
        let request = RollbackRequest { app: app.to_owned(), to_revision: to, ..RollbackRequest::default() };
        let started = self.admin(node).rollback(request).await?.into_inner();
        self.finish(node, started).await
    }

    /// Gives all calls to what is on trial, and waits until it serves them.
    pub async fn promote(&self, node: usize, app: &str) -> Result<Operation, Fault> {
        let request = TrialRequest { app: app.to_owned(), ..TrialRequest::default() };
        let started = self.admin(node).promote(request).await?.into_inner();
        self.finish(node, started).await
    }

    /// Takes back what is on trial, and waits until what was before serves all calls.
    pub async fn abort(&self, node: usize, app: &str) -> Result<Operation, Fault> {
        let request = TrialRequest { app: app.to_owned(), ..TrialRequest::default() };
        let started = self.admin(node).abort(request).await?.into_inner();
        self.finish(node, started).await
    }

    /// Empties a node through another one, and waits until nothing runs there.
    pub async fn drain(&self, via: usize, node: &str) -> Result<Operation, Fault> {
        let started = self.admin(via).drain(NodeRequest { node: node.to_owned() }).await?.into_inner();
        self.finish(via, started).await
    }

    /// Why an actor is where it is: the reason by node.
    pub async fn explain(&self, via: usize, actor: &str) -> std::collections::BTreeMap<String, String> {
        let request = ExplainRequest { actor: actor.to_owned() };
        let explained = self.admin(via).explain(request).await.unwrap().into_inner();
        explained.nodes.into_iter().map(|node| (node.node, node.reason)).collect()
    }

    /// Removes an app and waits until it is gone.
    pub async fn delete(&self, node: usize, app: &str) -> Result<Operation, Fault> {
        let request = DeleteRequest { app: app.to_owned(), request_id: String::new() };
        let started = self.admin(node).delete(request).await?.into_inner();
        self.finish(node, started).await
    }

    /// Follows an operation until it is done.
    pub async fn finish(&self, node: usize, started: Operation) -> Result<Operation, Fault> {
        let watched = tokio::time::timeout(OPERATION_BOUND, watch(self.admin(node), started.clone())).await;
        let ended = watched
            .unwrap_or_else(|_| panic!("operation not done within {OPERATION_BOUND:?}: {started:#?}"))?;
        if ended.error.is_empty() { Ok(ended) } else { Err(not_reached(ended)) }
    }

    /// Calls through a given node; arguments and reply are JSON, `Value::Null` stands for none.
    pub async fn call(
        &self,
        node: usize,
        target: &str,
        operation: &str,
        arguments: Value,
    ) -> Result<Value, Fault> {
        self.call_within(node, target, operation, arguments, CALL_TIMEOUT).await
    }

    /// The same with a deadline.
    pub async fn call_within(
        &self,
        node: usize,
        target: &str,
        operation: &str,
        arguments: Value,
        timeout: Duration,
    ) -> Result<Value, Fault> {
        let payload = if arguments.is_null() { Vec::new() } else { arguments.to_string().into_bytes() };
        call(self.admin(node), target, operation, payload, timeout).await
    }

    /// Calls and tells the id of the call's trace.
    pub async fn call_traced(
        &self,
        node: usize,
        target: &str,
        operation: &str,
        arguments: Value,
    ) -> (Value, String) {
        let request = call_request(target, operation, arguments.to_string().into_bytes(), CALL_TIMEOUT);
        let reply = self.admin(node).call(request).await.unwrap().into_inner();
        (serde_json::from_slice(&reply.payload).unwrap(), reply.trace_id)
    }

    /// Sends through a given node, and returns the message's id when it is stored.
    pub async fn send(
        &self,
        node: usize,
        target: &str,
        operation: &str,
        arguments: Value,
    ) -> Result<String, Fault> {
        self.send_as("", node, target, operation, arguments).await
    }

    /// The same under an id of the caller's.
    pub async fn send_as(
        &self,
        id: &str,
        node: usize,
        target: &str,
        operation: &str,
        arguments: Value,
    ) -> Result<String, Fault> {
        let payload = if arguments.is_null() { Vec::new() } else { arguments.to_string().into_bytes() };
        let request = SendRequest {
            target: target.to_owned(),
            operation: operation.to_owned(),
            payload: payload.into(),
            timeout_ms: u64::try_from(CALL_TIMEOUT.as_millis()).unwrap(),
            request_id: id.to_owned(),
            ..SendRequest::default()
        };
        Ok(self.admin(node).send(request).await?.into_inner().id)
    }

    /// Publishes through a given node, and returns the message's id when it is stored.
    pub async fn publish(&self, node: usize, topic: &str, message: Value) -> Result<String, Fault> {
        let request = PublishRequest {
            topic: topic.to_owned(),
            payload: message.to_string().into_bytes().into(),
            timeout_ms: u64::try_from(CALL_TIMEOUT.as_millis()).unwrap(),
            ..PublishRequest::default()
        };
        Ok(self.admin(node).publish(request).await?.into_inner().id)
    }

    /// What an actor subscribes to, and what waits for it, as a given node lists it.
    pub async fn subscriptions(&self, node: usize, actor: &str) -> Vec<Subscription> {
        let request =
            ListSubscriptionsRequest { actor: actor.to_owned(), ..ListSubscriptionsRequest::default() };
        self.admin(node).list_subscriptions(request).await.unwrap().into_inner().subscriptions
    }

    /// The messages that nobody could handle, as a given node lists them.
    pub async fn dead_letters(&self, node: usize) -> Result<Vec<DeadLetter>, Fault> {
        let listed = self.admin(node).list_dead_letters(ListDeadLettersRequest::default()).await?;
        Ok(listed.into_inner().letters)
    }

    /// The actors as a given node reports them.
    pub async fn actors(&self, node: usize) -> Result<Vec<Actor>, Fault> {
        Ok(self.admin(node).list_actors(ListActorsRequest::default()).await?.into_inner().actors)
    }

    /// One actor; fails the test when it is not listed.
    pub async fn actor(&self, node: usize, name: &str) -> Actor {
        let actors = self.actors(node).await.unwrap();
        let found = actors.iter().find(|actor| actor.actor == name).cloned();
        found.unwrap_or_else(|| panic!("no actor {name} among {actors:#?}"))
    }

    /// Node name and replicas of one actor, sorted by name; empty when it cannot be told.
    pub async fn placements(&self, node: usize, actor: &str) -> Vec<(String, u32)> {
        let actors = self.actors(node).await.unwrap_or_default();
        let found = actors.into_iter().find(|one| one.actor == actor);
        let mut places: Vec<_> = found
            .into_iter()
            .flat_map(|one| one.placements)
            .map(|place| (place.node, place.replicas))
            .collect();
        places.sort();
        places
    }

    /// The nodes as a given node reports them.
    pub async fn list_nodes(&self, node: usize) -> Result<Vec<NodeInfo>, Fault> {
        Ok(self.admin(node).list_nodes(ListNodesRequest::default()).await?.into_inner().nodes)
    }

    /// The state of the node with index `whom` as node `via` sees it; `none` when it is not listed.
    pub async fn state(&self, via: usize, whom: usize) -> String {
        let id = &self.nodes[whom].ready().id;
        let nodes = self.list_nodes(via).await.unwrap_or_default();
        nodes.into_iter().find(|node| node.id == *id).map_or_else(|| "none".to_owned(), |node| node.state)
    }

    /// The index of the node that leads, as a given node sees it.
    pub async fn leader(&self, via: usize) -> Option<usize> {
        let nodes = self.list_nodes(via).await.ok()?;
        let leader = nodes.into_iter().find(|node| node.leader && node.state != "gone")?;
        self.nodes.iter().position(|node| node.ready().id == leader.id)
    }

    /// What one node counted.
    pub async fn counters(&self, node: usize) -> std::collections::HashMap<String, u64> {
        self.admin(node).get_counters(GetCountersRequest {}).await.unwrap().into_inner().counters
    }

    /// Waits until the named actor has all its replicas, spread over nodes in these numbers (in any order); returns
    /// how long that took.
    pub async fn wait_for_spread(
        &self,
        via: usize,
        actor: &str,
        spread: &[u32],
        bound: Duration,
    ) -> Duration {
        let mut wanted = spread.to_vec();
        wanted.sort_unstable();
        let what = format!("{actor} spread as {wanted:?}");
        let observe =
            async || self.actors(via).await.map(|all| all.into_iter().find(|one| one.actor == actor));
        wait_until(&what, bound, observe, |seen| match seen {
            Ok(Some(seen)) => {
                let mut counts: Vec<u32> = seen.placements.iter().map(|place| place.replicas).collect();
                counts.retain(|count| *count > 0);
                counts.sort_unstable();
                counts == wanted && seen.ready == wanted.iter().sum::<u32>() && seen.ready == seen.desired
            }
            _ => false,
        })
        .await
    }

    /// Waits until every node that runs sees all of those that run as ready, and one leader.
    pub async fn wait_until_joined(&self, bound: Duration) {
        let running: Vec<usize> =
            (0..self.nodes.len()).filter(|index| self.nodes[*index].is_running()).collect();
        let ids: Vec<&str> = running.iter().map(|index| self.nodes[*index].ready().id.as_str()).collect();
        for via in &running {
            let observe = async || self.list_nodes(*via).await;
            wait_until(&format!("node {via} sees {} ready nodes", ids.len()), bound, observe, |seen| {
                let Ok(nodes) = seen else { return false };
                let ready = |id: &&str| nodes.iter().any(|node| node.id == *id && node.state == "ready");
                ids.iter().all(ready) && nodes.iter().filter(|node| node.leader).count() == 1
            })
            .await;
        }
    }

    /// Has so many leaders killed and started again, one after the other; each new one begins a later term.
    pub async fn replace_leaders(&mut self, times: usize, bound: Duration) {
        for _ in 0..times {
            let leader = self.leader(0).await.unwrap();
            self.nodes[leader].kill();
            self.restart_node(leader).await;
            self.wait_until_joined(bound).await;
        }
    }

    /// Starts the node with this index again: the same name, labels and folder, another incarnation.
    pub async fn restart_node(&mut self, node: usize) {
        self.nodes[node].restart().await;
    }

    /// Kills all nodes and their server at once, and starts everything again.
    pub async fn restart_everything(&mut self, bound: Duration) {
        for node in &mut self.nodes {
            node.kill();
        }
        self.nats.kill();
        self.nats.restart().await;
        for node in 0..self.nodes.len() {
            self.restart_node(node).await;
        }
        self.wait_until_joined(bound).await;
    }

    /// Starts one more node, like the others.
    pub async fn add_node(&mut self, name: &str, labels: &[&str]) -> usize {
        let mut settings = self.nodes[0].settings().clone();
        settings.name = name.to_owned();
        settings.labels = labels.iter().map(|label| (*label).to_owned()).collect();
        settings.folder = self.folder.path().join(name);
        self.nodes.push(Node::start(settings).await);
        self.nodes.len() - 1
    }
}

/// One call over one client.
pub async fn call(
    mut client: AdminClient,
    target: &str,
    operation: &str,
    payload: Vec<u8>,
    timeout: Duration,
) -> Result<Value, Fault> {
    let start = Instant::now();
    let request = call_request(target, operation, payload, timeout);
    let reply = match client.call(request).await {
        Ok(reply) => reply.into_inner().payload,
        Err(status) => return Err(Fault::from(status).after(start.elapsed())),
    };
    if reply.is_empty() {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_slice(&reply)
        .unwrap_or_else(|error| panic!("{target} {operation}: {error}: {reply:?}")))
}

fn call_request(target: &str, operation: &str, payload: Vec<u8>, timeout: Duration) -> CallRequest {
    CallRequest {
        target: target.to_owned(),
        operation: operation.to_owned(),
        payload: payload.into(),
        content_type: String::new(),
        timeout_ms: u64::try_from(timeout.as_millis()).unwrap(),
        traceparent: String::new(),
    }
}

async fn watch(mut client: AdminClient, mut operation: Operation) -> Result<Operation, Fault> {
    while !operation.done {
        let request = GetOperationRequest { id: operation.id.clone() };
        let mut changes = client.watch_operation(request).await?.into_inner();
        while let Some(next) = changes.message().await? {
            operation = next;
        }
    }
    Ok(operation)
}

fn not_reached(operation: Operation) -> Fault {
    Fault {
        kind: Some("not-reached".to_owned()),
        message: format!("{} {:?}", operation.error, operation.actors),
        ran: lattice_proto::Ran::Yes,
        code: String::new(),
        details: String::new(),
        elapsed: Duration::ZERO,
    }
}
