//! What the leader's watched spaces hold, parsed. What cannot be read is kept as such: it must not pass for deleted.

use lattice_proto::NodeName;
use lattice_proto::record::{self, App, Assignment, Catalog, Node, NodeStatus};

use crate::bus::Entry;

/// What the control stream holds.
pub(super) enum Decision {
    Catalog(Catalog),
    App(App),
    Assignment(NodeName, Assignment),
    Other,
    /// Damaged, or written by a later version. It must not be taken for deleted.
    Unreadable,
}

/// What the nodes bucket holds.
pub(super) enum NodeEntry {
    Record(Box<Node>),
    Status(NodeStatus),
    /// Damaged, or written by a later version. The node lives on, and is left alone.
    Unreadable,
}

/// None only for what was removed.
pub(super) fn parse_decision(entry: &Entry) -> Option<Decision> {
    let bytes = entry.value.as_deref()?;
    // The key is a whole subject; its tail says what it is, whatever the lattice is called.
    let tail = entry.key.split_once(".control.").map_or("", |(_, tail)| tail);
    let parsed = match tail.split_once('.') {
        None if tail == "catalog" => record::decode(bytes).map(Decision::Catalog).ok(),
        Some(("spec", _)) => record::decode(bytes).map(Decision::App).ok(),
        Some(("assign", node)) => node
            .parse()
            .ok()
            .zip(record::decode(bytes).ok())
            .map(|(node, record)| Decision::Assignment(node, record)),
        _ => Some(Decision::Other),
    };
    Some(parsed.unwrap_or(Decision::Unreadable))
}

/// None only for what was removed.
pub(super) fn parse_node(entry: &Entry) -> Option<NodeEntry> {
    let bytes = entry.value.as_deref()?;
    let parsed = match entry.key.split_once('.').map(|(kind, _)| kind) {
        Some("node") => record::decode(bytes).map(|node| NodeEntry::Record(Box::new(node))).ok(),
        Some("state") => record::decode(bytes).map(NodeEntry::Status).ok(),
        _ => None,
    };
    Some(parsed.unwrap_or(NodeEntry::Unreadable))
}
