//! What the leader makes of the nodes, for others to read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lattice_proto::NodeName;
use lattice_proto::record::{self, Node, NodeOrder, NodeState, NodeStatus};
use lattice_proto::subject::Control;

use super::entry::{Decision, NodeEntry};
use super::{Office, Seen};
use crate::bus::Error;
use crate::clock::wall_ms;
use crate::membership::state_key;

/// How long a lost node stays in the list.
const REMEMBER: Duration = Duration::from_secs(60);

impl Office<'_> {
    /// Every node with a record, and what is to be made of it.
    pub(super) fn see(&mut self, now: Instant) -> BTreeMap<NodeName, Seen> {
        let mut seen = BTreeMap::new();
        let records: Vec<Arc<Node>> = self
            .nodes
            .entries()
            .values()
            .filter_map(|entry| match &entry.value {
                NodeEntry::Record(record) => Some(record.clone()),
                _ => None,
            })
            .collect();
        for record in records {
            let (record, order) = self.with_order(record);
            let told = self.status(&record.name).filter(|status| status.incarnation == record.incarnation);
            let told = told.map(|status| status.state);
            match told {
                None => self.liveness.newcomer(&record.name, &record.incarnation, now),
                Some(NodeState::Gone) => {}
                Some(_) => self.liveness.expect(&record.name, &record.incarnation, now),
            }
            let state = match self.liveness.state(&record.name, &record.incarnation, now) {
                Some(NodeState::Ready) if record.draining || order.draining => NodeState::Draining,
                Some(NodeState::Ready) if order.cordoned => NodeState::Cordoned,
                Some(state) => state,
                // While nothing can be said, what was said before stands.
                None => told.unwrap_or(NodeState::Ready),
            };
            seen.insert(record.name.clone(), Seen { record, state });
        }
        self.lost.retain(|name, (incarnation, _)| {
            seen.get(name)
                .is_some_and(|seen| seen.record.incarnation == *incarnation && seen.state == NodeState::Gone)
        });
        for (name, seen) in seen.iter().filter(|(_, seen)| seen.state == NodeState::Gone) {
            self.lost.entry(name.clone()).or_insert_with(|| (seen.record.incarnation.clone(), now));
        }
        seen
    }

    fn status(&self, name: &NodeName) -> Option<&NodeStatus> {
        match &self.nodes.get(&state_key(name))?.value {
            NodeEntry::Status(status) => Some(status),
            NodeEntry::Record(_) | NodeEntry::Unreadable => None,
        }
    }

    /// Tells everybody what became of the nodes, and forgets those that were lost long ago.
    pub(super) async fn write_states(
        &mut self,
        seen: &BTreeMap<NodeName, Seen>,
        now: Instant,
    ) -> Result<(), Error> {
        let mut forget = BTreeSet::new();
        for (name, seen) in seen {
            let before = self.status(name).cloned();
            let same = before.as_ref().is_some_and(|status| {
                status.incarnation == seen.record.incarnation && status.state == seen.state
            });
            if !same {
                tracing::info!(node = %name, state = seen.state.as_str(), "a node's state changed");
                let status = NodeStatus {
                    incarnation: seen.record.incarnation.clone(),
                    state: seen.state,
                    since_ms: u64::try_from(wall_ms()).unwrap_or(0),
                };
                let over = self.nodes.get(&state_key(name)).map(|entry| entry.revision);
                let written = self.context.bus.nodes.put(&state_key(name), record::encode(&status)).await?;
                self.chronicle.node(seen, before.as_ref(), over, written);
            }
            if self.lost.get(name).is_some_and(|(_, since)| now.duration_since(*since) > REMEMBER) {
                forget.insert(name.clone());
            }
        }
        for name in forget {
            let record_key = crate::membership::node_key(&name);
            if let Some(entry) = self.nodes.get(&record_key) {
                // Only if it is still the record of the lost one: the node may be starting again right now.
                self.context.bus.nodes.remove_if(&record_key, entry.revision).await?;
            }
            self.context.bus.nodes.remove(&state_key(&name)).await?;
            self.liveness.forget(&name);
        }
        Ok(())
    }

    /// Whether a lost node has been listed for long enough.
    pub(super) fn forgets(&self, now: Instant) -> bool {
        self.lost.values().any(|(_, since)| now.duration_since(*since) > REMEMBER)
    }

    /// A record with the labels that an operator changed, and what else was ordered. The same record is given out as long
    /// as neither changes, so that nothing is planned anew for it.
    fn with_order(&mut self, record: Arc<Node>) -> (Arc<Node>, NodeOrder) {
        let key = self.subjects.control(&Control::Node(record.name.clone()));
        let order = match self.decisions.get(&key).map(|entry| &entry.value) {
            Some(Decision::Node(order)) => order.clone(),
            _ => return (record, NodeOrder::default()),
        };
        if let Some((before, known, relabelled)) = self.relabelled.get(&record.name)
            && Arc::ptr_eq(before, &record)
            && *known == order
        {
            return (relabelled.clone(), order);
        }
        let mut relabelled = Node::clone(&record);
        order.relabel(&mut relabelled.labels);
        let relabelled = Arc::new(relabelled);
        self.relabelled.insert(record.name.clone(), (record, order.clone(), relabelled.clone()));
        (relabelled, order)
    }
}
