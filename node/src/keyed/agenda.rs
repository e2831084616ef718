//! What a commit makes of a key's reminders. Pure: time is an argument.
//!
//! 1. An occurrence has a generation of its own, which is never given again: what is due is known by it, and what was
//!    replaced or cancelled is not.
//! 2. What comes after an occurrence is counted from when it was due. Those that were missed meanwhile are left out: they
//!    are one with the occurrence that was handled.

use lattice_cron::Cron;
use lattice_proto::reminder::{Due, MAX_REMINDERS, Reminder, Repeat};
use lattice_proto::state::State;

use super::Backlog;
use crate::replica::{Remind, When};

/// Takes in that an occurrence was handled, or given up.
pub(super) fn handled(record: &mut State, due: &Due, now_ms: u64, backlog: &Backlog) {
    let of_due = |reminder: &Reminder| reminder.id == due.id && reminder.generation == due.generation;
    let Some(at) = record.reminders.iter().position(of_due) else { return };
    let reminder = &mut record.reminders[at];
    match following(&reminder.repeat, reminder.due_ms, now_ms) {
        Some(next) => {
            record.generation += 1;
            (reminder.generation, reminder.due_ms, reminder.armed) = (record.generation, next, false);
        }
        None => {
            backlog.remove_reminder(reminder.payload.len());
            record.reminders.remove(at);
        }
    }
}

/// Takes in that an operator says which reminders there are.
pub(super) fn replace(record: &mut State, reminders: &[Reminder], backlog: &Backlog) {
    for reminder in record.reminders.drain(..) {
        backlog.remove_reminder(reminder.payload.len());
    }
    for reminder in reminders {
        record.generation += 1;
        let generation = record.generation;
        record.reminders.push(Reminder { generation, armed: false, ..reminder.clone() });
    }
}

/// Takes in what a turn says. One reminder more than there may be is not taken.
pub(super) fn change(record: &mut State, change: Remind, now_ms: u64, backlog: &Backlog) -> bool {
    let (id, when, operation, payload, content_type) = match change {
        Remind::Cancel(id) => {
            forget(record, &id, backlog);
            return true;
        }
        Remind::Set { id, when, operation, payload, content_type } => {
            (id, when, operation, payload, content_type)
        }
    };
    let (due_ms, repeat) = match when {
        When::At(ms) => (ms, Repeat::Never),
        When::After(ms) => (now_ms.saturating_add(ms), Repeat::Never),
        When::Every(ms) => (now_ms.saturating_add(ms), Repeat::Every(ms)),
        // A pattern that no time fits any more is never due.
        When::Cron(pattern) => {
            let next = pattern.parse::<Cron>().ok().and_then(|cron| cron.next(now_ms));
            (next.unwrap_or(u64::MAX), Repeat::Cron(pattern))
        }
    };
    forget(record, &id, backlog);
    if record.reminders.len() >= MAX_REMINDERS {
        backlog.remove_reminder(payload.len());
        return false;
    }
    record.generation += 1;
    let generation = record.generation;
    record.reminders.push(Reminder {
        id,
        generation,
        due_ms,
        repeat,
        operation,
        payload,
        content_type,
        armed: false,
    });
    true
}

fn forget(record: &mut State, id: &str, backlog: &Backlog) {
    record.reminders.retain(|reminder| {
        let goes = reminder.id == id;
        if goes {
            backlog.remove_reminder(reminder.payload.len());
        }
        !goes
    });
}

/// When the next occurrence is due, if there is one.
fn following(repeat: &Repeat, due_ms: u64, now_ms: u64) -> Option<u64> {
    match repeat {
        Repeat::Never => None,
        Repeat::Every(ms) => {
            let ms = (*ms).max(1);
            let missed = now_ms.saturating_sub(due_ms) / ms;
            Some(due_ms.saturating_add((missed + 1).saturating_mul(ms)))
        }
        Repeat::Cron(pattern) => pattern.parse::<Cron>().ok()?.next(due_ms.max(now_ms)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lattice_proto::Incarnation;
    use lattice_proto::envelope::ContentType;
    use lattice_proto::state::WriteId;

    use super::*;

    fn record() -> State {
        State::new(1, Incarnation::generate(), WriteId::new([0; 16]))
    }

    fn set(record: &mut State, id: &str, when: When, now_ms: u64) -> bool {
        let backlog = Backlog::default();
        // More than are taken away.
        (0..2).for_each(|_| backlog.add_reminder(2));
        let set = Remind::Set {
            id: id.to_owned(),
            when,
            operation: "ring".parse().unwrap(),
            payload: Bytes::from_static(b"12"),
            content_type: ContentType::Json,
        };
        change(record, set, now_ms, &backlog)
    }

    fn due(record: &State, id: &str) -> Due {
        record.reminders.iter().find(|reminder| reminder.id == id).unwrap().due()
    }

    #[test]
    fn a_reminder_is_due_once_and_then_gone() {
        let mut record = record();
        assert!(set(&mut record, "a", When::After(500), 1_000));
        let due = due(&record, "a");
        assert_eq!((due.due_ms, due.generation), (1_500, 1));
        let backlog = Backlog::default();
        backlog.add_reminder(2);
        handled(&mut record, &Due { generation: 7, ..due.clone() }, 2_000, &backlog);
        assert_eq!(record.reminders.len(), 1, "another generation is another occurrence");
        handled(&mut record, &due, 2_000, &backlog);
        assert_eq!((record.reminders.len(), backlog.reminder_bytes()), (0, 0));
    }

    #[test]
    fn what_repeats_is_counted_from_when_it_was_due_and_leaves_out_what_was_missed() {
        let mut record = record();
        assert!(set(&mut record, "a", When::Every(1_000), 0));
        let first = due(&record, "a");
        handled(&mut record, &first, 1_100, &Backlog::default());
        let second = due(&record, "a");
        assert_eq!((second.due_ms, second.generation), (2_000, 2));
        handled(&mut record, &second, 7_400, &Backlog::default());
        let third = due(&record, "a");
        assert_eq!((third.due_ms, third.generation), (8_000, 3));
        assert!(!record.reminders[0].armed);
        assert!(set(&mut record, "b", When::Cron("0 3 * * *".into()), 1));
        assert_eq!(due(&record, "b").due_ms, 3 * 3_600_000);
        let night = due(&record, "b");
        handled(&mut record, &night, 3 * 3_600_000 + 7, &Backlog::default());
        assert_eq!(due(&record, "b").due_ms, 27 * 3_600_000);
    }

    #[test]
    fn the_last_word_on_an_id_counts() {
        let mut record = record();
        assert!(set(&mut record, "a", When::At(5), 0) && set(&mut record, "a", When::At(9), 0));
        assert_eq!(
            (record.reminders.len(), due(&record, "a").due_ms, due(&record, "a").generation),
            (1, 9, 2)
        );
        let backlog = Backlog::default();
        backlog.add_reminder(2);
        assert!(change(&mut record, Remind::Cancel("a".into()), 0, &backlog));
        assert!(change(&mut record, Remind::Cancel("none".into()), 0, &backlog));
        assert_eq!(record.reminders.len(), 0);
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let mut record = record();
        for n in 0..MAX_REMINDERS {
            assert!(set(&mut record, &n.to_string(), When::At(5), 0));
        }
        assert!(!set(&mut record, "one more", When::At(5), 0));
        assert!(set(&mut record, "7", When::At(6), 0), "one that is replaced makes room");
        assert_eq!(record.reminders.len(), MAX_REMINDERS);
        assert!(State::decode(record.encode()).is_ok());
    }
}
