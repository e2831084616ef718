//! What happened in a lattice, as it is kept for a while and told to whoever asks.
//!
//! An event is written once and never changed. Its place in the stream is its cursor, which the stream itself counts, so
//! that no record repeats it. Like every record it carries a `format`, and readers skip fields that they do not know.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::NodeName;

/// The longest text of an event, in bytes: what a person reads in one go.
pub const MAX_TEXT: usize = 1 << 10;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970 in the time of the NATS server.
    pub at_ms: u64,
    /// Who wrote it.
    pub node: NodeName,
    /// What happened.
    pub kind: Kind,
    /// The name of the actor, the app or the node to which it happened.
    pub subject: String,
    /// The revision of the app that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// How often it happened since the last event that told of it.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub count: u64,
    /// One sentence for people, without control characters.
    pub text: String,
}

fn once() -> u64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this shape")]
fn is_once(count: &u64) -> bool {
    *count == 1
}

/// A text as an event may hold it: on one line, and not longer than [`MAX_TEXT`].
pub fn text(text: &str) -> String {
    // What guests and manifests say ends up on terminals, where control characters do more than show.
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() > MAX_TEXT {
        let end = line.floor_char_boundary(MAX_TEXT - '…'.len_utf8());
        line.truncate(end);
        line.push('…');
    }
    line
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $word:literal,)*) => {
        /// What can happen.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Kind {
            $($(#[$doc])* #[serde(rename = $word)] $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The word for it in subjects, in the API and on the command line.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)*
                }
            }
        }
    };
}

kinds! {
    /// A node is in the lattice, for the first time or again.
    NodeJoined = "node-joined",
    /// A node stopped answering; nobody knows yet whether it is lost.
    NodeSuspect = "node-suspect",
    /// A suspect answers again.
    NodeRecovered = "node-recovered",
    /// A node is lost.
    NodeLost = "node-lost",
    /// A node stopped, and said so.
    NodeLeft = "node-left",
    /// An operator lets a node take nothing new.
    NodeCordoned = "node-cordoned",
    /// An operator lets a node take replicas again.
    NodeUncordoned = "node-uncordoned",
    /// What a node runs is to go elsewhere.
    NodeDraining = "node-draining",
    /// Nothing runs any more on a node that is draining.
    NodeDrained = "node-drained",
    /// A node leads the lattice from now on.
    LeaderElected = "leader-elected",
    /// A revision of an app was declared.
    AppDeclared = "app-declared",
    /// An app was deleted.
    AppDeleted = "app-deleted",
    /// Everything of an app runs as declared.
    AppMet = "app-met",
    /// An update of an app failed.
    UpdateFailed = "update-failed",
    /// An app went back to what an earlier revision said.
    RolledBack = "rolled-back",
    /// Something keeps an actor from its spec.
    ActorDegraded = "actor-degraded",
    /// Nothing keeps it any more.
    ActorRecovered = "actor-recovered",
    /// Replicas of an actor ended by themselves.
    ActorCrashed = "actor-crashed",
    /// Somebody watches the messages of an actor, or does not any more.
    ActorTapped = "actor-tapped",
    /// The lattice itself changed the number of replicas of an actor.
    Scaled = "scaled",
    /// The record of a key cannot be read: it is left as it is, and the key is not served.
    KeyDamaged = "key-damaged",
    /// An operator overwrote or deleted what a key keeps.
    StateOverwritten = "state-overwritten",
}

/// A word that names no kind of event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kind of event; there are {all}", all = words())]
pub struct UnknownKind(String);

fn words() -> String {
    Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        let known = Self::ALL.iter().find(|kind| kind.as_str() == word);
        // Hostile text ends up in replies, so only its beginning is repeated.
        known
            .copied()
            .ok_or_else(|| UnknownKind(word.chars().take(80).flat_map(char::escape_default).collect()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{decode, encode};

    #[test]
    fn an_event_survives_the_store_and_carries_its_format() {
        let event = Event {
            at_ms: 1,
            node: "node-1".parse().unwrap(),
            kind: Kind::ActorCrashed,
            subject: "cart".into(),
            revision: None,
            count: 7,
            text: "it trapped".into(),
        };
        let bytes = encode(&event);
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert!(
            shown.starts_with("{\"format\":1,") && shown.contains("\"kind\":\"actor-crashed\""),
            "{shown}"
        );
        assert!(!shown.contains("revision"), "{shown}");
        assert_eq!(decode::<Event>(&bytes).unwrap(), event);
    }

    #[test]
    fn what_an_event_does_not_say_is_the_usual() {
        let bytes =
            br#"{"format":1,"at_ms":1,"node":"a","kind":"app-met","subject":"shop","text":"","later":true}"#;
        let event: Event = decode(bytes).unwrap();
        assert_eq!((event.count, event.revision), (1, None));
        assert!(
            decode::<Event>(br#"{"format":1,"at_ms":1,"node":"a","kind":"x","subject":"","text":""}"#)
                .is_err()
        );
    }

    #[test]
    fn every_kind_has_one_word_and_no_other_is_taken() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        let error = "node-joined ".parse::<Kind>().unwrap_err().to_string();
        assert!(error.contains("`node-joined `") && error.contains("app-met"), "{error}");
    }

    #[test]
    fn texts_are_one_line_and_bounded() {
        assert_eq!(text("a\nb\x1b[31m"), "a b [31m");
        let long = text(&"ü".repeat(MAX_TEXT));
        assert!(long.len() <= MAX_TEXT && long.ends_with("ü…"), "{}", long.len());
    }
}
