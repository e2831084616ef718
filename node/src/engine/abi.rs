//! The types of the WIT package `lattice:actor`, as Wasmtime passes them. The package itself is the documentation.

use std::sync::Arc;

use lattice_proto::fault::Rejection;
use lattice_proto::{Fault, Ran};
use wasmtime::component::{ComponentType, Lift, Lower};

pub(crate) const HANDLER: &str = "lattice:actor/handler@0.1.0";
pub(crate) const BLOCKING_HANDLER: &str = "lattice:actor/blocking-handler@0.1.0";
pub(crate) const HANDLE: &str = "handle";
pub(crate) const KEYED_HANDLER: &str = "lattice:actor/keyed-handler@0.1.0";
pub(crate) const BLOCKING_KEYED_HANDLER: &str = "lattice:actor/blocking-keyed-handler@0.1.0";
pub(crate) const ACTIVATE: &str = "activate";
pub(crate) const TURN: &str = "turn";
pub(crate) const CHECK: &str = "lattice:actor/check@0.1.0";
pub(crate) const BLOCKING_CHECK: &str = "lattice:actor/blocking-check@0.1.0";
pub(crate) const CHECK_FUNCTION: &str = "check";

#[derive(ComponentType, Lift, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum WitRan {
    #[component(name = "no")]
    No,
    #[component(name = "maybe")]
    Maybe,
    #[component(name = "yes")]
    Yes,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct WitRejection {
    code: String,
    message: String,
    details: Option<String>,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct WitTooLarge {
    limit: u64,
    size: u64,
    ran: WitRan,
}

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
pub(crate) enum Failure {
    #[component(name = "no-such-actor")]
    NoSuchActor(String),
    #[component(name = "no-such-operation")]
    NoSuchOperation(String),
    #[component(name = "no-replica")]
    NoReplica(String),
    #[component(name = "overloaded")]
    Overloaded(String),
    #[component(name = "not-here")]
    NotHere(String),
    #[component(name = "deadline")]
    Deadline(WitRan),
    #[component(name = "unknown")]
    Unknown(String),
    #[component(name = "deadlock")]
    Deadlock(String),
    #[component(name = "denied")]
    Denied(String),
    #[component(name = "trapped")]
    Trapped(String),
    #[component(name = "rejected")]
    Rejected(WitRejection),
    #[component(name = "cancelled")]
    Cancelled(WitRan),
    #[component(name = "too-large")]
    TooLarge(WitTooLarge),
    #[component(name = "malformed")]
    Malformed(String),
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Message {
    pub id: Arc<str>,
    pub operation: Arc<str>,
    pub payload: Vec<u8>,
    #[component(name = "content-type")]
    pub content_type: String,
    pub caller: Option<Arc<str>>,
    #[component(name = "remaining-ms")]
    pub remaining_ms: u64,
    pub traceparent: Option<String>,
    pub attempt: u32,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct Occurrence {
    pub id: String,
    pub due: u64,
}

#[derive(ComponentType, Lower)]
#[component(variant)]
pub(crate) enum Cause {
    #[component(name = "call")]
    Call(Option<Arc<str>>),
    #[component(name = "send")]
    Send(Option<Arc<str>>),
    #[component(name = "reminder")]
    Reminder(Occurrence),
    #[component(name = "timer")]
    Timer(String),
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct KeyedMessage {
    pub id: Arc<str>,
    pub operation: Arc<str>,
    pub payload: Vec<u8>,
    #[component(name = "content-type")]
    pub content_type: String,
    pub cause: Cause,
    #[component(name = "remaining-ms")]
    pub remaining_ms: u64,
    pub traceparent: String,
    pub attempt: u32,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Outgoing {
    pub to: String,
    pub operation: String,
    pub payload: Vec<u8>,
    #[component(name = "content-type")]
    pub content_type: String,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Schedule {
    #[component(name = "at")]
    At(u64),
    #[component(name = "after")]
    After(u64),
    #[component(name = "every")]
    Every(u64),
    #[component(name = "cron")]
    Cron(String),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Reminder {
    pub id: String,
    pub schedule: Schedule,
    pub operation: String,
    pub payload: Vec<u8>,
    #[component(name = "content-type")]
    pub content_type: String,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum ReminderChange {
    #[component(name = "set")]
    Set(Reminder),
    #[component(name = "cancel")]
    Cancel(String),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Timer {
    pub id: String,
    pub after: u64,
    pub repeats: bool,
    pub operation: String,
    pub payload: Vec<u8>,
    #[component(name = "content-type")]
    pub content_type: String,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(crate) enum TimerChange {
    #[component(name = "set")]
    Set(Timer),
    #[component(name = "cancel")]
    Cancel(String),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct WitOutcome {
    pub reply: Result<Vec<u8>, Failure>,
    pub state: Option<Vec<u8>>,
    pub sends: Vec<Outgoing>,
    pub reminders: Vec<ReminderChange>,
    pub timers: Vec<TimerChange>,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct CallOptions {
    #[component(name = "content-type")]
    pub content_type: String,
    #[component(name = "timeout-ms")]
    pub timeout_ms: Option<u64>,
}

impl From<Ran> for WitRan {
    fn from(ran: Ran) -> Self {
        match ran {
            Ran::No => WitRan::No,
            Ran::Maybe => WitRan::Maybe,
            Ran::Yes => WitRan::Yes,
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoSuchActor(text) => Failure::NoSuchActor(text),
            Fault::NoSuchOperation(text) => Failure::NoSuchOperation(text),
            Fault::NoReplica(text) => Failure::NoReplica(text),
            Fault::Overloaded(text) => Failure::Overloaded(text),
            Fault::NotHere { actor, .. } => Failure::NotHere(actor),
            Fault::Deadline(ran) => Failure::Deadline(ran.into()),
            Fault::Unknown(text) => Failure::Unknown(text),
            Fault::Deadlock(text) => Failure::Deadlock(text),
            Fault::Denied(text) => Failure::Denied(text),
            Fault::Trapped(text) => Failure::Trapped(text),
            Fault::Rejected(Rejection { code, message, details }) => {
                Failure::Rejected(WitRejection { code, message, details })
            }
            Fault::Cancelled(ran) => Failure::Cancelled(ran.into()),
            Fault::TooLarge { limit, size, ran } => {
                Failure::TooLarge(WitTooLarge { limit, size, ran: ran.into() })
            }
            Fault::Malformed(text) => Failure::Malformed(text),
        }
    }
}

/// An error's text travels in headers, traces and logs; a guest must not flood those.
const MAX_TEXT: usize = 4 << 10;
const MAX_CODE: usize = 128;
const MAX_DETAILS: usize = 64 << 10;

fn cut(mut text: String, longest: usize) -> String {
    if let Some((at, _)) = text.char_indices().find(|(at, _)| *at >= longest) {
        text.truncate(at);
    }
    text
}

impl Failure {
    /// What a guest's own answer means to its caller.
    ///
    /// A guest speaks for itself only. When it hands on the failure of a call that it made, that call did not run
    /// perhaps, but this message did: so all such cases become rejections, or a router would run the message again.
    ///
    /// Also what it says of its own message, that it could not be read or has no such operation, holds only as long as
    /// the guest has `called` nobody: after that something was done.
    pub(crate) fn into_answer(self, called: bool) -> Fault {
        let rejection = |code: &str, message: String| {
            let message = cut(message, MAX_TEXT);
            Fault::Rejected(Rejection { code: code.to_owned(), message, details: None })
        };
        match self {
            Failure::Rejected(WitRejection { code, message, details }) => Fault::Rejected(Rejection {
                code: cut(code, MAX_CODE),
                message: cut(message, MAX_TEXT),
                // Half of some JSON is none.
                details: details.filter(|details| details.len() <= MAX_DETAILS),
            }),
            Failure::NoSuchOperation(text) if called => {
                rejection("no-such-operation", Fault::NoSuchOperation(text).to_string())
            }
            Failure::Malformed(text) if called => rejection("malformed", text),
            Failure::NoSuchOperation(text) => Fault::NoSuchOperation(cut(text, MAX_TEXT)),
            Failure::Malformed(text) => Fault::Malformed(cut(text, MAX_TEXT)),
            Failure::NoSuchActor(text) => rejection("no-such-actor", Fault::NoSuchActor(text).to_string()),
            Failure::NoReplica(text) => rejection("no-replica", Fault::NoReplica(text).to_string()),
            Failure::Overloaded(text) => rejection("overloaded", Fault::Overloaded(text).to_string()),
            Failure::NotHere(text) => {
                rejection("not-here", format!("`{text}` is not on the node that was asked"))
            }
            Failure::Deadline(_) => {
                rejection("deadline", "the deadline of a call that it made passed".to_owned())
            }
            Failure::Unknown(text) => rejection("unknown", Fault::Unknown(text).to_string()),
            Failure::Deadlock(text) => rejection("deadlock", Fault::Deadlock(text).to_string()),
            Failure::Denied(text) => rejection("denied", Fault::Denied(text).to_string()),
            Failure::Trapped(text) => {
                rejection("trapped", format!("an actor that it called trapped: {text}"))
            }
            Failure::Cancelled(_) => rejection("cancelled", "a call that it made was cancelled".to_owned()),
            Failure::TooLarge(WitTooLarge { limit, size, .. }) => rejection(
                "too-large",
                format!("a payload or state of {size} bytes is over the limit of {limit} bytes"),
            ),
        }
    }
}
