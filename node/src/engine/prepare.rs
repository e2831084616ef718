//! What is done with a message for a key before the guest is entered, and in its place where the guest has no part in it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lattice_proto::envelope::Overwrite;
use lattice_proto::fault::Rejection;
use lattice_proto::letter::Letter;
use lattice_proto::reminder::Reminder;
use lattice_proto::{Fault, Ran};
use tokio::sync::watch;

use super::keyed::Ended;
use super::links;
use crate::keyed::{Backlog, Known, reminder_bytes};
use crate::replica::{Cause, Message, Turn};

/// What is to be done with a turn before the guest is entered.
pub(super) enum Prepared {
    /// The guest is to run it.
    Run(Turn),
    /// It had its effect before, or is of no account.
    Answered,
    /// Nothing is known of the reminder of this id that it is about.
    Unknown(Turn, String),
    /// It takes effect without the guest.
    Skipped(Ended),
    /// The same, and this is the state from now on.
    Overwritten(Ended, Option<Bytes>),
}

/// What that is decided by.
pub(super) struct Desk<'a> {
    /// What is committed of letters and reminders.
    pub known: &'a Mutex<Known>,
    /// What waits to be posted.
    pub backlog: &'a Backlog,
    /// What the state and all that waits may have together, in bytes.
    pub room: usize,
    pub committed: &'a watch::Receiver<u64>,
    /// How many turns with effects there were before.
    pub made: u64,
}

/// Whether nothing is to be looked at before the guest runs it.
pub(super) fn is_for_guest(turn: &Turn) -> bool {
    matches!(turn.message.cause, Cause::Call | Cause::Timer(_))
}

/// Looks at a turn that is no call: whether it had its effect before, and what it tells.
pub(super) async fn prepare(mut turn: Turn, desk: Desk<'_>) -> Prepared {
    let known = desk.known;
    let due = match &turn.message.cause {
        Cause::Call | Cause::Topic(_) | Cause::Timer(_) => return Prepared::Run(turn),
        Cause::Http(_) => {
            turn.waiting.answer(Err(no_http()));
            return Prepared::Answered;
        }
        Cause::Link(link) => {
            let name = links::named(&link.interface, &turn.message.operation);
            turn.waiting
                .answer(Err(Fault::NoSuchOperation(format!("{name} (a keyed actor answers no links)"))));
            return Prepared::Answered;
        }
        Cause::Letter(_) | Cause::GiveUp(..) | Cause::Overwrite(_) => None,
        Cause::Reminder(due) | Cause::Show(due) | Cause::Skip(due) => Some(due.clone()),
    };
    // An earlier turn may have cancelled it; or have been this very one, and its commit is on its way.
    if desk.committed.clone().wait_for(|committed| *committed >= desk.made).await.is_err() {
        turn.waiting.answer(Err(turn.context.undone()));
        return Prepared::Answered;
    }
    let Some(due) = due else {
        return match &turn.message.cause {
            Cause::Letter(stamp) | Cause::GiveUp(stamp, _) if lock(known).marks.have(stamp) => {
                // Whoever gave it up may not have come to keep it.
                let given_up = lock(known).marks.why_given_up(stamp).map(given_up);
                turn.waiting.answer(given_up.map_or_else(|| Ok(Bytes::new()), Err));
                Prepared::Answered
            }
            Cause::GiveUp(..) => Prepared::Skipped(without_guest(turn, None)),
            Cause::Overwrite(overwrite) => {
                let overwrite = overwrite.clone();
                desk.overwrite(turn, &overwrite)
            }
            _ => Prepared::Run(turn),
        };
    };
    let reminder = lock(known).reminder(&due);
    let Some(Reminder { operation, payload, content_type, due_ms, .. }) = reminder else {
        return Prepared::Unknown(turn, due.id);
    };
    match turn.message.cause {
        Cause::Show(_) => {
            let actor = &turn.context.actor;
            let letter = Letter {
                id: turn.context.id.clone(),
                target: actor.clone(),
                operation,
                payload,
                content_type,
                sender: Some(actor.shared()),
                number: None,
                trace: None,
                sent_ms: due_ms,
                topic: None,
            };
            turn.waiting.answer(Ok(letter.encode()));
            Prepared::Answered
        }
        Cause::Skip(_) => Prepared::Skipped(without_guest(turn, None)),
        _ => {
            turn.message = Message { operation, payload, content_type, ..turn.message };
            Prepared::Run(turn)
        }
    }
}

impl Desk<'_> {
    fn overwrite(&self, turn: Turn, overwrite: &Overwrite) -> Prepared {
        let Some(turn) = turn.begin() else { return Prepared::Answered };
        let revision = lock(self.known).revision;
        let refused = match overwrite.if_revision {
            Some(wanted) if wanted != revision => Some(conflict(wanted, revision)),
            _ => None,
        };
        let reminders = overwrite.reminders.as_deref().unwrap_or_default();
        let added: usize = reminders.iter().map(|reminder| reminder_bytes(reminder.payload.len())).sum();
        // All turns before are committed, so what is known is what is replaced.
        let replaced = match overwrite.delete || overwrite.reminders.is_some() {
            true => lock(self.known).reminder_bytes(),
            false => 0,
        };
        let there = self.backlog.letter_bytes() + self.backlog.reminder_bytes().saturating_sub(replaced);
        let size = turn.message.payload.len() + added + there;
        // A record that only gets smaller always fits.
        let shrinks = overwrite.delete && reminders.is_empty();
        let (limit, too_large) = (self.room as u64, size > self.room && !shrinks);
        let too_large = too_large.then_some(Fault::TooLarge { limit, size: size as u64, ran: Ran::No });
        if let Some(fault) = refused.or(too_large) {
            turn.waiting.answer(Err(fault));
            return Prepared::Answered;
        }
        for reminder in reminders {
            self.backlog.add_reminder(reminder.payload.len());
        }
        let state = (!overwrite.delete).then(|| turn.message.payload.clone());
        Prepared::Overwritten(without_guest(turn, state.clone()), state)
    }
}

/// What a request is told that came to an actor that was not built for HTTP.
pub(super) fn no_http() -> Fault {
    Fault::NoSuchOperation("an HTTP request (it was not built for HTTP)".to_owned())
}

/// A turn that takes effect without the guest.
fn without_guest(turn: Turn, state: Option<Bytes>) -> Ended {
    let Turn { context, message, waiting } = turn;
    Ended {
        waiting,
        answer: Ok(Bytes::new()),
        state,
        cause: message.cause,
        sends: Vec::new(),
        reminders: Vec::new(),
        number: 0,
        context,
    }
}

/// What an operator is told whose knowledge of a record is out of date.
fn conflict(wanted: u64, revision: u64) -> Fault {
    let message = format!(
        "its record is at revision {revision} and not {wanted}; look at its state once more, and then decide"
    );
    Fault::Rejected(Rejection { code: "revision-conflict".to_owned(), message, details: None })
}

/// What is told of a letter that was given up.
fn given_up(reason: &str) -> Fault {
    Fault::Rejected(Rejection { code: GIVEN_UP.to_owned(), message: reason.to_owned(), details: None })
}

/// The code of that rejection.
pub const GIVEN_UP: &str = "given-up";

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
