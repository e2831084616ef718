//! What this leader tells of nodes and actors: each change once, though plans are made again and again.
//!
//! It keeps what an earlier change was; what happened before this leader took office was told by another one.

use std::collections::{BTreeMap, BTreeSet};

use lattice_proto::event::Kind;
use lattice_proto::record::{NodeState, NodeStatus, Route};
use lattice_proto::{ActorName, Incarnation, NodeName};

use super::Seen;
use crate::bus::Entry;
use crate::events::{Events, node_change};

/// What was told, and what the next change is told apart by.
pub(super) struct Chronicle {
    events: Events,
    /// What was told last of each node: its echo may not have come yet when the next plan is made.
    told: BTreeMap<NodeName, (Incarnation, NodeState)>,
    /// Nodes that gave their leases back: they ended in good order.
    left: BTreeSet<NodeName>,
    /// Nodes that are being emptied, and were not told of as empty.
    emptying: BTreeSet<NodeName>,
    /// Whether something keeps an actor from its spec, for those of which this leader wrote a route.
    degraded: BTreeMap<ActorName, bool>,
}

impl Chronicle {
    pub(super) fn new(events: Events) -> Self {
        let (told, left) = (BTreeMap::new(), BTreeSet::new());
        Self { events, told, left, emptying: BTreeSet::new(), degraded: BTreeMap::new() }
    }

    /// A lease was taken, renewed, given back, or has ended.
    pub(super) fn lease(&mut self, node: &NodeName, entry: &Entry) {
        if entry.value.is_some() {
            self.left.remove(node);
        } else if !entry.expired {
            self.left.insert(node.clone());
        }
    }

    /// A node's state was written, as revision `written`; what was known before had revision `over`, if anything was.
    pub(super) fn node(&mut self, seen: &Seen, before: Option<&NodeStatus>, over: Option<u64>, written: u64) {
        let (record, now) = (&seen.record, seen.state);
        let tells = (record.incarnation.clone(), now);
        if self.told.insert(record.name.clone(), tells.clone()) == Some(tells) {
            return;
        }
        let same_start = before.filter(|before| before.incarnation == record.incarnation);
        let stops = record.draining || self.left.contains(&record.name);
        let (kind, text) = node_change(same_start.map(|before| before.state), now, stops);
        let text = match kind {
            Kind::NodeJoined => {
                format!("{text} (version {}, incarnation {})", record.version, record.incarnation)
            }
            _ => text.to_owned(),
        };
        // Two leaders in a row may write over the same state, and both tell of it.
        let once = over.unwrap_or(written).to_string();
        self.events.node(kind, &record.name, Some(&once), &text);
        if now == NodeState::Draining {
            self.emptying.insert(record.name.clone());
        }
    }

    /// Looks for nodes that have become empty.
    pub(super) fn look(&mut self, seen: &BTreeMap<NodeName, Seen>) {
        for seen in seen.values() {
            let (record, draining) = (&seen.record, seen.state == NodeState::Draining);
            match (draining, record.actors.is_empty()) {
                (true, false) => drop(self.emptying.insert(record.name.clone())),
                (true, true) if self.emptying.remove(&record.name) => {
                    self.events.node(Kind::NodeDrained, &record.name, None, "runs nothing any more");
                }
                (true, true) => {}
                (false, _) => drop(self.emptying.remove(&record.name)),
            }
        }
    }

    /// A route is written over the one that is stored, which has revision `over`.
    pub(super) fn route(
        &mut self,
        actor: &ActorName,
        stored: Option<&Route>,
        over: u64,
        next: Option<&Route>,
    ) {
        let Some(next) = next else {
            self.degraded.remove(actor);
            return;
        };
        let now = !next.problems.is_empty();
        // Of an earlier app of that name nothing is left to recover from.
        let stored = stored.is_some_and(|stored| stored.app == next.app && !stored.problems.is_empty());
        let before = self.degraded.insert(actor.clone(), now).unwrap_or(stored);
        if before != now && next.desired > 0 {
            self.events.actor(actor, next.revision, &next.problems, over);
        }
    }
}
