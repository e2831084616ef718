//! What the leader's watched spaces hold, parsed. What cannot be read is kept as such: it must not pass for deleted.

use std::sync::Arc;

use lattice_proto::NodeName;
use lattice_proto::record::{self, App, Assignment, Catalog, Node, NodeOrder, NodeStatus, Shards};
use lattice_proto::subject::{Control, Subjects};

use crate::bus::Entry;

/// What the control stream holds.
pub(super) enum Decision {
    Catalog(Catalog),
    App(App),
    Assignment(NodeName, Assignment),
    Node(NodeOrder),
    Shards(Shards),
    Other,
    /// Damaged, or written by a later version. It must not be taken for deleted.
    Unreadable,
}

/// What the nodes bucket holds.
pub(super) enum NodeEntry {
    Record(Arc<Node>),
    Status(NodeStatus),
    /// Damaged, or written by a later version. The node lives on, and is left alone.
    Unreadable,
}

/// None only for what was removed.
pub(super) fn parse_decision(subjects: &Subjects, entry: &Entry) -> Option<Decision> {
    let bytes = entry.value.as_deref()?;
    let parsed = match subjects.parse_control(&entry.key) {
        Ok(Control::Catalog) => record::decode(bytes).map(Decision::Catalog).ok(),
        Ok(Control::Spec(..)) => record::decode(bytes).map(Decision::App).ok(),
        Ok(Control::Assign(node)) => {
            record::decode(bytes).map(|record| Decision::Assignment(node, record)).ok()
        }
        Ok(Control::Node(_)) => record::decode(bytes).map(Decision::Node).ok(),
        Ok(Control::Shards) => record::decode(bytes).map(Decision::Shards).ok(),
        Ok(Control::Term) | Err(_) => Some(Decision::Other),
    };
    Some(parsed.unwrap_or(Decision::Unreadable))
}

/// None only for what was removed.
pub(super) fn parse_node(entry: &Entry) -> Option<NodeEntry> {
    let bytes = entry.value.as_deref()?;
    let parsed = match entry.key.split_once('.').map(|(kind, _)| kind) {
        Some("node") => record::decode(bytes).map(|node| NodeEntry::Record(Arc::new(node))).ok(),
        Some("state") => record::decode(bytes).map(NodeEntry::Status).ok(),
        _ => None,
    };
    Some(parsed.unwrap_or(NodeEntry::Unreadable))
}
