//! Draining a node, as an operation.

use std::time::{Duration, Instant};

use lattice_proto::NodeName;
use lattice_proto::admin::Operation;
use lattice_proto::record::NodeState;

use crate::bus::{Error, Watch};
use crate::controller::Observer;

/// A drain that has made no progress for this long is reported as stuck. It goes on all the same.
const STUCK: Duration = Duration::from_secs(10);

/// How often the node is looked at though nothing was heard of it.
const LOOK: Duration = Duration::from_millis(500);

/// A node being drained.
pub(super) struct Drain {
    node: NodeName,
    observer: Observer,
    changes: Watch,
    last: Option<u32>,
    moved: Instant,
}

/// What an operation's ID for a drain looks like.
pub(super) fn id(node: &NodeName) -> String {
    format!("drain/{node}")
}

/// The node, if an ID is one of a drain.
pub(super) fn parse(id: &str) -> Option<NodeName> {
    id.strip_prefix("drain/")?.parse().ok()
}

impl Drain {
    pub(super) fn new(observer: &Observer, node: NodeName) -> Self {
        let (observer, changes) = (observer.clone(), observer.watch_node(&node));
        Self { node, observer, changes, last: None, moved: Instant::now() }
    }

    /// How far it is now.
    pub(super) async fn now(&mut self) -> Result<Operation, Error> {
        let remaining = self.observer.remaining(&self.node).await?;
        let left = remaining.map(|(left, _)| left);
        // Before the leader has seen the order something may still be on its way there.
        let seen = remaining.is_none_or(|(_, state)| state == NodeState::Draining);
        if left != self.last {
            (self.last, self.moved) = (left, Instant::now());
        }
        let stuck = left.unwrap_or(0) > 0 && self.moved.elapsed() > STUCK;
        let problem = match stuck {
            true => Some(self.problem().await?),
            false => None,
        };
        let error = problem.map(|problem| {
            format!(
                "`{0}` still has replicas that have no other place: {problem}. They go as soon as they can; `lattice \
                 uncordon {0}` lets it keep them",
                self.node
            )
        });
        Ok(Operation {
            id: id(&self.node),
            kind: "drain".to_owned(),
            node: self.node.to_string(),
            remaining: left.unwrap_or(0),
            done: seen && left.is_none_or(|left| left == 0) || error.is_some(),
            error: error.unwrap_or_default(),
            ..Operation::default()
        })
    }

    /// How far it is after the next change.
    pub(super) async fn next(&mut self) -> Result<Operation, Error> {
        loop {
            let before = self.last;
            // A look without a change is a look all the same.
            let _ = tokio::time::timeout(LOOK, self.changes.next()).await;
            let operation = self.now().await?;
            if operation.done || before != self.last {
                return Ok(operation);
            }
        }
    }

    /// What keeps something on the node; a word in any case, as it has been stuck for long.
    async fn problem(&self) -> Result<String, Error> {
        let mut names = Vec::new();
        for (_, name, route) in self.observer.actors().await? {
            let Some(route) = route else { continue };
            if route.targets.iter().any(|target| target.node == self.node) {
                let why =
                    route.problems.first().cloned().unwrap_or_else(|| "it is still finishing".to_owned());
                names.push(format!("{name}: {why}"));
            }
        }
        Ok(if names.is_empty() { "turns are still running".to_owned() } else { names.join("; ") })
    }
}
