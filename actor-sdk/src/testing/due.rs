//! When a reminder or a timer of a test is due, by the rules of the WIT package.

use std::time::Duration;

use lattice_cron::Cron;

use crate::reminder::{self, Schedule, whole_millis};

/// How long it is until a timer comes that is to come after so long, in milliseconds. The WIT package has the least.
pub fn tick_millis(after: Duration) -> u64 {
    whole_millis(after).max(10)
}

/// When a reminder that is set now comes for the first time, in milliseconds since 1970.
pub fn first_due(schedule: &Schedule, now: u64) -> u64 {
    let due = match schedule {
        Schedule::At(time) => reminder::millis(*time),
        Schedule::After(delay) => now.saturating_add(whole_millis(*delay)),
        Schedule::Every(_) | Schedule::Cron(_) => return next_due(schedule, now).unwrap_or(u64::MAX),
    };
    whole_seconds(due)
}

/// When a repeating reminder comes again.
pub fn next_due(schedule: &Schedule, last: u64) -> Option<u64> {
    let next = match schedule {
        Schedule::At(_) | Schedule::After(_) => return None,
        Schedule::Every(interval) => last.saturating_add(whole_millis(*interval)),
        Schedule::Cron(pattern) => pattern.parse::<Cron>().ok()?.next(last)?,
    };
    Some(whole_seconds(next))
}

/// Rounded up, as in a lattice.
fn whole_seconds(millis: u64) -> u64 {
    millis.div_ceil(1_000).saturating_mul(1_000)
}
