//! What a key has room for, and what a turn is told that wants more.

use std::sync::{Mutex, PoisonError};

use lattice_proto::fault::Rejection;
use lattice_proto::reminder::MAX_REMINDERS;
use lattice_proto::{Fault, Ran};

use super::super::effects::{self, Misfit};
use crate::keyed::{Backlog, Known, MAX_TIMERS, Timers};
use crate::replica::{Outgoing, Remind, Timing, TurnContext};

/// What a key has room for.
pub(super) struct Room<'a> {
    /// The bytes of the state before the turn.
    pub kept: usize,
    /// What state, letters and reminders may take together, in bytes.
    pub room: usize,
    /// Whether all that was made before is committed.
    pub settled: bool,
    pub backlog: &'a Backlog,
    pub known: &'a Mutex<Known>,
    pub timers: &'a Timers,
}

impl Room<'_> {
    /// # Errors
    /// Why it has no room for what a turn wants.
    pub fn fits(
        &self,
        state: usize,
        sends: &[Outgoing],
        reminders: &[Remind],
        timers: &[Timing],
        context: &TurnContext,
    ) -> Result<(), Fault> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = effects::fits(sends, reminders, state, self.backlog, (&known, self.settled), self.room)
            .and_then(|()| effects::timers_fit(timers, self.timers, self.room));
        let too_many = |code: &str, message| {
            Fault::Rejected(Rejection { code: code.to_owned(), message, details: None })
        };
        fits.map_err(|misfit| match misfit {
            Misfit::TooLarge(size) => {
                Fault::TooLarge { limit: self.room as u64, size: size as u64, ran: Ran::Yes }
            }
            Misfit::TooManyReminders => too_many(
                "too-many-reminders",
                format!("a key has {MAX_REMINDERS} reminders at most; cancel some"),
            ),
            Misfit::TooManyTimers => {
                too_many("too-many-timers", format!("a key has {MAX_TIMERS} timers at most; cancel some"))
            }
            // Nothing of it is left, so it may be tried again, unless it called others.
            Misfit::Later => match context.has_called() {
                false => Fault::Overloaded(format!(
                    "{} (its letters wait for mailboxes that have no room)",
                    context.actor
                )),
                true => Fault::Unknown(format!(
                    "{} (its letters wait for mailboxes that have no room)",
                    context.actor
                )),
            },
        })
    }
}
