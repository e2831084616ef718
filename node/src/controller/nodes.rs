//! What an operator wants of nodes: kept apart from what they say of themselves, so that it outlives their restarts.

use std::collections::BTreeMap;

use lattice_proto::NodeName;
use lattice_proto::manifest::{Label, bound};
use lattice_proto::record::{self, NodeOrder};
use lattice_proto::subject::{Control, Subjects};

use super::declare::Error;
use super::observe;
use crate::bus::{self, Bus};
use crate::membership::node_key;

/// How often an order that collides with others is made anew.
const TRIES: u32 = 10;

/// Takes orders for nodes.
#[derive(Clone)]
pub struct NodeOrders {
    bus: Bus,
    subjects: Subjects,
}

impl NodeOrders {
    /// Over this store.
    pub fn new(bus: Bus, subjects: Subjects) -> Self {
        Self { bus, subjects }
    }

    /// It takes nothing new from now on.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn cordon(&self, node: &NodeName) -> Result<NodeOrder, Error> {
        self.change(node, |order| order.cordoned = true).await
    }

    /// It takes replicas again.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn uncordon(&self, node: &NodeName) -> Result<NodeOrder, Error> {
        self.change(node, |order| (order.cordoned, order.draining) = (false, false)).await
    }

    /// What it has is to go elsewhere, and nothing new comes.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn drain(&self, node: &NodeName) -> Result<NodeOrder, Error> {
        self.change(node, |order| (order.cordoned, order.draining) = (true, true)).await
    }

    /// Changes labels.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn label(&self, node: &NodeName, set: &[Label], remove: &[String]) -> Result<NodeOrder, Error> {
        self.change(node, |order| {
            let set = set.iter().map(|label| (label.key.clone(), Some(label.value.clone())));
            let remove = remove.iter().map(|key| (key.clone(), None));
            let changes: BTreeMap<String, Option<String>> = set.chain(remove).collect();
            order.labels.extend(changes);
        })
        .await
    }

    /// What is ordered of a node.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn get(&self, node: &NodeName) -> Result<NodeOrder, Error> {
        Ok(self.read(node).await?.0)
    }

    async fn read(&self, node: &NodeName) -> Result<(NodeOrder, u64), Error> {
        let stored = self.bus.decisions.get(&self.subjects.control(&Control::Node(node.clone()))).await?;
        Ok(match stored {
            Some(entry) if entry.value.is_some() => (observe::decode(&entry)?, entry.revision),
            Some(entry) => (NodeOrder::default(), entry.revision),
            None => (NodeOrder::default(), 0),
        })
    }

    async fn change(&self, node: &NodeName, change: impl Fn(&mut NodeOrder)) -> Result<NodeOrder, Error> {
        let known = self.bus.nodes.get(&node_key(node)).await?.is_some_and(|entry| entry.value.is_some());
        for _ in 0..TRIES {
            let (mut order, revision) = self.read(node).await?;
            if !known && revision == 0 {
                return Err(Error::NoNode(node.clone()));
            }
            let before = order.clone();
            change(&mut order);
            if order == before {
                return Ok(order);
            }
            if order.labels.len() > bound::LABELS {
                return Err(Error::Invalid(format!(
                    "at most {} labels of a node can be changed at run time; set others with `lattice start --label`",
                    bound::LABELS
                )));
            }
            let key = self.subjects.control(&Control::Node(node.clone()));
            match self.bus.decisions.put_if(&key, record::encode(&order), revision).await {
                Ok(_) => return Ok(order),
                Err(bus::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }
}
