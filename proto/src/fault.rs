//! The closed set of ways in which a message fails, on the wire and in the API.
//!
//! Each says whether the message surely did not run, which alone decides whether it may be tried again.

use serde::{Deserialize, Serialize};

/// Whether a message was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ran {
    /// Surely not: trying again is safe.
    No,
    /// Nobody can say.
    Maybe,
    /// It was, at least in part.
    Yes,
}

impl Ran {
    /// `no`, `maybe` or `yes`.
    pub fn as_str(self) -> &'static str {
        match self {
            Ran::No => "no",
            Ran::Maybe => "maybe",
            Ran::Yes => "yes",
        }
    }
}

/// An actor's own error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// A stable word that callers match.
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// More for programs, as JSON.
    pub details: Option<String>,
}

/// Why a message got no reply of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No actor of that name is deployed.
    #[error("no actor named `{0}` is deployed in this lattice")]
    NoSuchActor(String),
    /// The actor has no operation of that name.
    #[error("the actor has no operation `{0}`")]
    NoSuchOperation(String),
    /// The actor is deployed, but no replica can be reached now.
    #[error("no replica can be reached: {0}")]
    NoReplica(String),
    /// Every mailbox tried is full.
    #[error("`{}` is overloaded: {}", with_reason(.0, "its mailbox is full").0, with_reason(.0, "its mailbox is full").1)]
    Overloaded(String),
    /// The message reached a node that does not run the actor.
    #[error("`{actor}` is not on the node that was asked")]
    NotHere {
        /// The actor that was asked for.
        actor: String,
        /// The revision of the answering node's own table.
        revision: u64,
    },
    /// The deadline passed.
    #[error("the deadline passed{}", if *.0 == Ran::No { " before the message ran" } else { " before a reply came" })]
    Deadline(Ran),
    /// No reply came, and the message may have been handled.
    #[error("no reply came and the message may have run: {0}")]
    Unknown(String),
    /// The call chain came back to an activation that is already in it.
    #[error("the call cannot be answered: `{}`: {}", with_reason(.0, CAME_BACK).0, with_reason(.0, CAME_BACK).1)]
    Deadlock(String),
    /// The manifest grants no such call.
    #[error("denied: {0}")]
    Denied(String),
    /// The guest trapped while it handled the message.
    #[error("the actor trapped: {0}")]
    Trapped(String),
    /// The actor answered with an error of its own.
    #[error("{}", .0.message)]
    Rejected(Rejection),
    /// The caller gave up.
    #[error("the caller gave up")]
    Cancelled(Ran),
    /// A payload is over the limit.
    #[error("a payload or state of {size} bytes is over the limit of {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: u64,
        /// In bytes.
        size: u64,
        /// No for a request, yes for a reply.
        ran: Ran,
    },
    /// The message or its arguments could not be read.
    #[error("malformed message: {0}")]
    Malformed(String),
}

/// What is said of a deadlock where nothing more is known.
const CAME_BACK: &str = "the chain of calls came back to it, and it waits for them already";

/// A name with the reason in brackets that may follow it; and what is said where there is none.
fn with_reason<'a>(text: &'a str, usual: &'a str) -> (&'a str, &'a str) {
    let reason = text.split_once(" (").and_then(|(name, reason)| Some((name, reason.strip_suffix(')')?)));
    reason.unwrap_or((text, usual))
}

impl Fault {
    /// Whether the message was handled.
    pub fn ran(&self) -> Ran {
        match self {
            Fault::NoSuchActor(_)
            | Fault::NoSuchOperation(_)
            | Fault::NoReplica(_)
            | Fault::Overloaded(_)
            | Fault::NotHere { .. }
            | Fault::Deadlock(_)
            | Fault::Denied(_)
            | Fault::Malformed(_) => Ran::No,
            Fault::Unknown(_) => Ran::Maybe,
            Fault::Trapped(_) | Fault::Rejected(_) => Ran::Yes,
            Fault::Deadline(ran) | Fault::Cancelled(ran) | Fault::TooLarge { ran, .. } => *ran,
        }
    }

    /// The stable word for this kind of fault, in the API, the CLI and traces.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::NoSuchActor(_) => "no-such-actor",
            Fault::NoSuchOperation(_) => "no-such-operation",
            Fault::NoReplica(_) => "no-replica",
            Fault::Overloaded(_) => "overloaded",
            Fault::NotHere { .. } => "not-here",
            Fault::Deadline(_) => "deadline",
            Fault::Unknown(_) => "unknown",
            Fault::Deadlock(_) => "deadlock",
            Fault::Denied(_) => "denied",
            Fault::Trapped(_) => "trapped",
            Fault::Rejected(_) => "rejected",
            Fault::Cancelled(_) => "cancelled",
            Fault::TooLarge { .. } => "too-large",
            Fault::Malformed(_) => "malformed",
        }
    }
}
