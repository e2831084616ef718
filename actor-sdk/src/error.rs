//! How a call fails: the closed set of failures that the lattice knows, and what may be done about each.
//!
//! Nothing here retries. The node's router already tried again wherever that was surely safe.

use std::error::Error;
use std::fmt;

use crate::Rejection;

/// What an operation returns: by default the error of a call, so that `?` works on calls to other actors.
pub type Result<T, E = CallError> = std::result::Result<T, E>;

/// Whether the message that an error speaks of was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ran {
    /// Surely not: trying again is safe.
    No,
    /// Nobody can say.
    Maybe,
    /// It was, at least in part.
    Yes,
}

impl fmt::Display for Ran {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Ran::No => "no",
            Ran::Maybe => "maybe",
            Ran::Yes => "yes",
        })
    }
}

/// Why a call got no reply.
///
/// # Examples
/// ```
/// use lattice_actor::{CallError, Ran, Rejection};
///
/// let full = CallError::Overloaded("inventory".into());
/// assert_eq!(full.ran(), Ran::No);
/// assert!(full.is_retryable());
///
/// let lost = CallError::Unknown("the node of `inventory` was lost".into());
/// assert_eq!(lost.ran(), Ran::Maybe);
/// assert!(!lost.is_retryable());
///
/// let refused: CallError = Rejection::new("out-of-stock", "no tea is left").into();
/// assert!(matches!(&refused, CallError::Rejected(rejection) if rejection.code == "out-of-stock"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// No actor of that name is deployed.
    NoSuchActor(String),
    /// The actor has no operation of that name.
    NoSuchOperation(String),
    /// The actor is deployed, but no replica runs anywhere now.
    NoReplica(String),
    /// Every mailbox tried is full.
    Overloaded(String),
    /// The message reached a node that does not run the actor.
    NotHere(String),
    /// The deadline passed.
    Deadline(Ran),
    /// No reply came; the message may have been handled.
    Unknown(String),
    /// The call chain came back to an activation that is already in it.
    Deadlock(String),
    /// The manifest grants no such call.
    Denied(String),
    /// The guest trapped while it handled the message.
    Trapped(String),
    /// The actor answered with an error of its own.
    Rejected(Rejection),
    /// The caller gave up.
    Cancelled(Ran),
    /// A payload is over the limit.
    TooLarge {
        /// In bytes.
        limit: u64,
        /// In bytes.
        size: u64,
        /// No for a request, yes for a reply.
        ran: Ran,
    },
    /// The message, its arguments or its reply could not be read.
    Malformed(String),
}

impl CallError {
    /// Whether the message was handled.
    pub fn ran(&self) -> Ran {
        match self {
            CallError::NoSuchActor(_)
            | CallError::NoSuchOperation(_)
            | CallError::NoReplica(_)
            | CallError::Overloaded(_)
            | CallError::NotHere(_)
            | CallError::Deadlock(_)
            | CallError::Denied(_)
            | CallError::Malformed(_) => Ran::No,
            CallError::Unknown(_) => Ran::Maybe,
            CallError::Trapped(_) | CallError::Rejected(_) => Ran::Yes,
            CallError::Deadline(ran) | CallError::Cancelled(ran) | CallError::TooLarge { ran, .. } => *ran,
        }
    }

    /// Whether the same call is safe and may do better a moment later: it surely did not run, and the reason passes.
    pub fn is_retryable(&self) -> bool {
        matches!(self, CallError::NoReplica(_) | CallError::Overloaded(_) | CallError::NotHere(_))
    }

    /// The stable word for this kind of failure, the one that the lattice's own tools print.
    pub fn kind(&self) -> &'static str {
        match self {
            CallError::NoSuchActor(_) => "no-such-actor",
            CallError::NoSuchOperation(_) => "no-such-operation",
            CallError::NoReplica(_) => "no-replica",
            CallError::Overloaded(_) => "overloaded",
            CallError::NotHere(_) => "not-here",
            CallError::Deadline(_) => "deadline",
            CallError::Unknown(_) => "unknown",
            CallError::Deadlock(_) => "deadlock",
            CallError::Denied(_) => "denied",
            CallError::Trapped(_) => "trapped",
            CallError::Rejected(_) => "rejected",
            CallError::Cancelled(_) => "cancelled",
            CallError::TooLarge { .. } => "too-large",
            CallError::Malformed(_) => "malformed",
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::NoSuchActor(actor) => {
                write!(out, "no actor named `{actor}` is deployed in this lattice")
            }
            CallError::NoSuchOperation(operation) => write!(out, "the actor has no operation `{operation}`"),
            // A node says it in a sentence, a test perhaps by the name alone.
            CallError::NoReplica(reason) if reason.contains(' ') => out.write_str(reason),
            CallError::NoReplica(actor) => {
                write!(out, "no replica of `{actor}` is running anywhere at the moment")
            }
            CallError::Overloaded(actor) => {
                let (actor, reason) = with_reason(actor, "its mailbox is full");
                write!(out, "`{actor}` is overloaded: {reason}")
            }
            CallError::NotHere(actor) => write!(out, "`{actor}` is not on the node that was asked"),
            CallError::Deadline(Ran::No) => write!(out, "the deadline passed before the message ran"),
            CallError::Deadline(_) => write!(out, "the deadline passed before a reply came"),
            CallError::Unknown(reason) => write!(out, "no reply came and the message may have run: {reason}"),
            CallError::Deadlock(actor) => {
                let usual = "the chain of calls came back to it, and it waits for them already";
                let (actor, reason) = with_reason(actor, usual);
                write!(out, "the call cannot be answered: `{actor}`: {reason}")
            }
            CallError::Denied(reason) => write!(out, "denied: {reason}"),
            CallError::Trapped(reason) => write!(out, "the actor trapped: {reason}"),
            CallError::Rejected(rejection) => rejection.fmt(out),
            CallError::Cancelled(_) => write!(out, "the caller gave up"),
            CallError::TooLarge { limit, size, .. } => {
                write!(out, "a payload or state of {size} bytes is over the limit of {limit} bytes")
            }
            CallError::Malformed(reason) => write!(out, "malformed message: {reason}"),
        }
    }
}

impl Error for CallError {}

/// A name with the reason in brackets that may follow it; and what is said where there is none.
fn with_reason<'a>(text: &'a str, usual: &'a str) -> (&'a str, &'a str) {
    let reason = text.split_once(" (").and_then(|(name, reason)| Some((name, reason.strip_suffix(')')?)));
    reason.unwrap_or((text, usual))
}
