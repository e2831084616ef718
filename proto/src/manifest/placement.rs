//! Where the replicas of an actor run.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::ActorName;

/// What an operator says of a node: `key=value`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label {
    /// Such as `zone`.
    pub key: String,
    /// Such as `a`.
    pub value: String,
}

/// What a manifest says of the nodes for one actor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// Labels that a node must have, all of them.
    pub require: BTreeSet<Label>,
    /// Labels that a node should have. Nodes with more of them are filled first.
    pub prefer: BTreeSet<Label>,
    /// Labels that a node must not have, any of them.
    pub forbid: BTreeSet<Label>,
    /// The key of a label: no value of it has two replicas more than another. `node` means each node by itself.
    pub spread: Option<String>,
    /// Actors that must not be on the same node. Its own name means one replica on a node at most.
    pub apart: BTreeSet<ActorName>,
}

/// The word of [`Placement::spread`] for each node by itself.
pub const EACH_NODE: &str = "node";

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.to_string()
    }
}

impl TryFrom<String> for Label {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Reads `key=value`, as nodes and manifests write labels.
impl FromStr for Label {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str =
            "expected a label `key=value` of letters, digits, `-`, `_`, `.` and `/`, 63 characters each";
        match text.split_once('=') {
            Some((key, value)) if is_word(key) && is_word(value) => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err(RULE),
        }
    }
}

/// Whether a text can be the key or the value of a label.
pub(super) fn is_word(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'))
}
