//! What a turn of a keyed actor wants to have done besides its reply and its state, checked before any of it is.

use std::collections::BTreeMap;
use std::time::Duration;

use lattice_cron::Cron;
use lattice_proto::envelope::ContentType;
use lattice_proto::reminder::{MAX_ID_BYTES, MAX_PATTERN_BYTES, MAX_REMINDERS};
use lattice_proto::state::{MAX_OUTBOX, MAX_SENDS};
use lattice_proto::{ActorId, Fault, Operation, Ran};

use super::{Home, abi};
use crate::keyed::{Backlog, Known, MAX_TIMERS, Timers, letter_bytes, reminder_bytes};
use crate::replica::{Outgoing, Remind, Timing, When};

/// The shortest time between two occurrences of a reminder, in milliseconds.
const SHORTEST: u64 = 1_000;

/// A timer that comes sooner comes after so long, in milliseconds.
const SHORTEST_TIMER: u64 = 10;

/// What a turn sends, if its manifest grants that. Without a home there is nothing.
pub(super) fn letters(
    home: Option<&Home>,
    sends: Vec<abi::Outgoing>,
    limit: usize,
) -> Result<Vec<Outgoing>, Fault> {
    let Some(home) = home else { return Ok(Vec::new()) };
    if sends.len() > MAX_SENDS {
        let hint = format!("a turn sends {MAX_SENDS} messages at most, and this one has {}", sends.len());
        return Err(Fault::Malformed(hint));
    }
    let one = |send: abi::Outgoing| {
        let abi::Outgoing { to, operation, payload, content_type } = send;
        let target: ActorId = to.parse().map_err(malformed)?;
        if !home.settings.grants.call.contains(&target.name) {
            let (sender, name) = (&home.actor, &target.name);
            return Err(Fault::Denied(format!(
                "`{sender}` may not send to `{name}`; add it to `grants.call` of `{sender}` in the manifest"
            )));
        }
        let (operation, content_type) = told(&operation, &content_type, payload.len(), limit)?;
        Ok(Outgoing { target, operation, payload: payload.into(), content_type })
    };
    sends.into_iter().map(one).collect()
}

/// What a turn wants to be reminded of.
pub(super) fn reminders(changes: Vec<abi::ReminderChange>, limit: usize) -> Result<Vec<Remind>, Fault> {
    if changes.len() > MAX_SENDS {
        let hint = format!("a turn sets {MAX_SENDS} reminders at most, and this one has {}", changes.len());
        return Err(Fault::Malformed(hint));
    }
    let one = |change: abi::ReminderChange| {
        let abi::Reminder { id, schedule, operation, payload, content_type } = match change {
            abi::ReminderChange::Cancel(id) => return Ok(Remind::Cancel(id)),
            abi::ReminderChange::Set(reminder) => reminder,
        };
        check_id(&id)?;
        let when = match schedule {
            abi::Schedule::At(ms) => When::At(ms),
            abi::Schedule::After(ms) => When::After(ms),
            abi::Schedule::Every(ms) if ms < SHORTEST => {
                return Err(Fault::Malformed(format!(
                    "the reminder `{id}` cannot repeat every {ms} ms, but every {SHORTEST} ms at most"
                )));
            }
            abi::Schedule::Every(ms) => When::Every(ms),
            abi::Schedule::Cron(pattern) if pattern.len() > MAX_PATTERN_BYTES => {
                return Err(Fault::Malformed(format!(
                    "the pattern of the reminder `{id}` is longer than {MAX_PATTERN_BYTES} bytes"
                )));
            }
            abi::Schedule::Cron(pattern) => {
                let parsed = pattern.parse::<Cron>();
                parsed.map_err(|error| {
                    Fault::Malformed(format!("the pattern of the reminder `{id}` cannot be read: {error}"))
                })?;
                When::Cron(pattern)
            }
        };
        let (operation, content_type) = told(&operation, &content_type, payload.len(), limit)?;
        Ok(Remind::Set { id, when, operation, payload: payload.into(), content_type })
    };
    changes.into_iter().map(one).collect()
}

/// What a turn wants to be told while the key is awake.
pub(super) fn timers(changes: Vec<abi::TimerChange>, limit: usize) -> Result<Vec<Timing>, Fault> {
    if changes.len() > MAX_SENDS {
        let hint = format!("a turn sets {MAX_SENDS} timers at most, and this one has {}", changes.len());
        return Err(Fault::Malformed(hint));
    }
    let one = |change: abi::TimerChange| {
        let abi::Timer { id, after, repeats, operation, payload, content_type } = match change {
            abi::TimerChange::Cancel(id) => return Ok(Timing::Cancel(id)),
            abi::TimerChange::Set(timer) => timer,
        };
        check_id(&id)?;
        let (operation, content_type) = told(&operation, &content_type, payload.len(), limit)?;
        let after = Duration::from_millis(after.max(SHORTEST_TIMER));
        Ok(Timing::Set { id, after, repeats, operation, payload: payload.into(), content_type })
    };
    changes.into_iter().map(one).collect()
}

fn check_id(id: &str) -> Result<(), Fault> {
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Err(Fault::Malformed(format!(
            "the id of a reminder or a timer has 1 to {MAX_ID_BYTES} bytes, and this one has {}",
            id.len()
        )));
    }
    Ok(())
}

/// Whether a key may have so many timers, beside those that it has.
pub(super) fn timers_fit(changes: &[Timing], there: &Timers, room: usize) -> Result<(), Misfit> {
    if changes.is_empty() {
        return Ok(());
    }
    let (count, bytes) = there.with(changes);
    if count > MAX_TIMERS {
        return Err(Misfit::TooManyTimers);
    }
    if bytes > room { Err(Misfit::TooLarge(bytes)) } else { Ok(()) }
}

/// Whether a key has room for it, beside what is there already and not done with. `settled` says that there is nothing which is
/// not committed yet.
pub(super) fn fits(
    sends: &[Outgoing],
    reminders: &[Remind],
    state: usize,
    there: &Backlog,
    (known, settled): (&Known, bool),
    room: usize,
) -> Result<(), Misfit> {
    // Of two changes of the same id the last one counts.
    let last: BTreeMap<&str, &Remind> = reminders.iter().map(|change| (change.id(), change)).collect();
    let sets = last.values().filter_map(|change| match change {
        Remind::Set { payload, .. } => Some(reminder_bytes(payload.len())),
        Remind::Cancel(_) => None,
    });
    let (added, added_bytes) = sets.fold((0, 0), |(count, sum), size| (count + 1, sum + size));
    let letters: usize = sends.iter().map(|send| letter_bytes(send.payload.len())).sum();
    let own = state + letters + added_bytes;
    if own > room {
        return Err(Misfit::TooLarge(own));
    }
    // What goes may be gone already by a turn that is not committed yet.
    let (gone, gone_bytes) = if settled { known.of_ids(last.keys().copied()) } else { (0, 0) };
    if there.reminders() + added > MAX_REMINDERS + gone {
        return Err(if settled { Misfit::TooManyReminders } else { Misfit::Later });
    }
    // Letters that are posted make room, and so does a commit; reminders stay.
    let stays = own + there.reminder_bytes().saturating_sub(gone_bytes);
    if stays > room {
        return Err(if settled { Misfit::TooLarge(stays) } else { Misfit::Later });
    }
    let many = !sends.is_empty() && there.letters() + sends.len() > MAX_OUTBOX;
    if many || stays + there.letter_bytes() > room { Err(Misfit::Later) } else { Ok(()) }
}

/// Why a key has no room for what a turn did.
pub(super) enum Misfit {
    /// It never has, with so many bytes.
    TooLarge(usize),
    /// It would have more than it may.
    TooManyReminders,
    /// The same.
    TooManyTimers,
    /// It has when earlier letters were posted.
    Later,
}

fn told(
    operation: &str,
    content_type: &str,
    size: usize,
    limit: usize,
) -> Result<(Operation, ContentType), Fault> {
    let operation = operation.parse().map_err(malformed)?;
    let content_type = ContentType::parse(content_type).map_err(malformed)?;
    if size > limit {
        return Err(Fault::TooLarge { limit: limit as u64, size: size as u64, ran: Ran::Yes });
    }
    Ok((operation, content_type))
}

fn malformed(error: impl std::fmt::Display) -> Fault {
    Fault::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use lattice_proto::Incarnation;
    use lattice_proto::reminder::{Reminder, Repeat};
    use lattice_proto::state::{State, WriteId};

    use super::*;

    const ROOM: usize = 100_000;

    fn set(id: &str, bytes: usize) -> Remind {
        Remind::Set {
            id: id.to_owned(),
            when: When::After(1_000),
            operation: "ring".parse().unwrap(),
            payload: vec![0; bytes].into(),
            content_type: ContentType::Json,
        }
    }

    /// A key with one committed reminder of so many bytes.
    fn with(id: &str, bytes: usize) -> (Known, Backlog) {
        let mut record = State::new(1, Incarnation::generate(), WriteId::new([0; 16]));
        record.reminders.push(Reminder {
            id: id.to_owned(),
            generation: 1,
            due_ms: 0,
            repeat: Repeat::Never,
            operation: "ring".parse().unwrap(),
            payload: vec![0; bytes].into(),
            content_type: ContentType::Json,
            armed: true,
        });
        let (mut known, backlog) = (Known::default(), Backlog::default());
        known.update(&record);
        backlog.add_reminder(bytes);
        (known, backlog)
    }

    fn fit(
        (known, backlog): &(Known, Backlog),
        changes: &[Remind],
        state: usize,
        settled: bool,
    ) -> &'static str {
        match fits(&[], changes, state, backlog, (known, settled), ROOM) {
            Ok(()) => "fits",
            Err(Misfit::TooLarge(_)) => "too large",
            Err(Misfit::TooManyReminders | Misfit::TooManyTimers) => "too many",
            Err(Misfit::Later) => "later",
        }
    }

    #[test]
    fn a_reminder_that_is_replaced_or_cancelled_makes_room() {
        let key = with("x", 50_000);
        assert_eq!(fit(&key, &[set("x", 50_000)], 40_000, true), "fits");
        assert_eq!(fit(&key, &[Remind::Cancel("x".into()), set("y", 50_000)], 40_000, true), "fits");
        assert_eq!(
            fit(&key, &[set("x", 60_000), set("x", 50_000)], 40_000, true),
            "fits",
            "the last one counts"
        );
        assert_eq!(fit(&key, &[set("y", 50_000)], 40_000, true), "too large", "no waiting makes it fit");
        assert_eq!(
            fit(&key, &[set("y", 50_000)], 40_000, false),
            "later",
            "what is not committed may be less"
        );
        assert_eq!(fit(&key, &[], 60_000, true), "too large");
    }

    #[test]
    fn of_reminders_there_are_so_many_and_not_more() {
        let (known, backlog) = with("x", 1);
        for _ in 1..MAX_REMINDERS {
            backlog.add_reminder(1);
        }
        let room = |changes: &[Remind]| fits(&[], changes, 0, &backlog, (&known, true), usize::MAX).is_ok();
        assert!(room(&[set("x", 1)]));
        assert!(room(&[Remind::Cancel("x".into()), set("y", 1)]));
        assert!(!room(&[set("y", 1)]));
    }

    #[test]
    fn letters_that_wait_make_room_later() {
        let key = (Known::default(), Backlog::default());
        key.1.add_letter(60_000);
        assert_eq!(fit(&key, &[], 50_000, true), "later");
        assert_eq!(fit(&key, &[], ROOM + 1, true), "too large");
        key.1.remove_letter(60_000);
        assert_eq!(fit(&key, &[], 50_000, true), "fits");
    }
}
