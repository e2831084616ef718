//! Reminders: when they are due, and which the lattice can keep.

use std::time::{Duration, SystemTime};

use lattice_cron::Cron;

use crate::{Rejection, Result};

/// The code of the rejection of a reminder that cannot be.
pub(crate) const REJECTED: &str = "bad-reminder";

/// What the WIT package says of an id, in bytes.
const LONGEST_ID: usize = 128;

/// The lattice counts in seconds.
const SHORTEST: Duration = Duration::from_secs(1);

/// When a reminder is due, by the clock of the lattice, which counts in whole seconds here and rounds up.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use lattice_actor::Schedule;
///
/// let soon = Schedule::after(Duration::from_secs(30));
/// let hourly = Schedule::every(Duration::from_secs(3600));
/// let on_work_days = Schedule::cron("30 8 * * mon-fri");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// Once, at this time; at once, when it has passed.
    At(SystemTime),
    /// Once, so long after the turn.
    After(Duration),
    /// Again and again, with so long between, a second at least; for the first time so long after the turn.
    Every(Duration),
    /// Whenever this pattern says, in UTC: minute, hour, day of the month, month and day of the week, as in crontab(5).
    Cron(String),
}

impl Schedule {
    /// Once, at this time; at once, when it has passed.
    pub fn at(time: SystemTime) -> Self {
        Schedule::At(time)
    }

    /// Once, so long after the turn.
    pub fn after(delay: Duration) -> Self {
        Schedule::After(delay)
    }

    /// Again and again, with so long between, a second at least; for the first time so long after the turn.
    pub fn every(interval: Duration) -> Self {
        Schedule::Every(interval)
    }

    /// Whenever this pattern says, in UTC; see [`Schedule::Cron`]. Whether it is one shows when it is used.
    pub fn cron(pattern: impl Into<String>) -> Self {
        Schedule::Cron(pattern.into())
    }
}

/// A reminder on its way to the node.
#[derive(Debug)]
pub(crate) struct Reminder {
    pub id: String,
    pub schedule: Schedule,
    pub operation: String,
    pub payload: Vec<u8>,
    pub content_type: &'static str,
}

/// What a turn says about its reminders.
#[derive(Debug)]
pub(crate) enum Change {
    Set(Reminder),
    Cancel(String),
}

/// Refuses, while the operation can still act on it, what the node would have to refuse.
pub(crate) fn check(id: &str, schedule: &Schedule) -> Result<()> {
    check_id(id)?;
    let refuse = |problem: String| Err(Rejection::new(REJECTED, problem).into());
    match schedule {
        Schedule::Every(interval) if *interval < SHORTEST => {
            refuse(format!("`{id}` cannot repeat every {interval:?}, but every second at most"))
        }
        Schedule::Cron(pattern) => match pattern.parse::<Cron>() {
            Ok(_) => Ok(()),
            Err(error) => refuse(format!("the pattern of `{id}` cannot be read: {error}")),
        },
        Schedule::At(_) | Schedule::After(_) | Schedule::Every(_) => Ok(()),
    }
}

/// The same of an id, be it a reminder's or a timer's.
pub(crate) fn check_id(id: &str) -> Result<()> {
    if id.is_empty() || id.len() > LONGEST_ID {
        let problem = format!("an id has 1 to {LONGEST_ID} bytes, and this one has {}", id.len());
        return Err(Rejection::new(REJECTED, problem).into());
    }
    Ok(())
}

/// Milliseconds since 1970, as they travel; 0 for what was before, which is past in any case.
pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    whole_millis(since)
}

/// A length of time as it travels, never shorter than it is.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The time of so many milliseconds since 1970; the last that can be told, where it is too far.
pub(crate) fn time(millis: u64) -> SystemTime {
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX));
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(far)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CallError;

    #[test]
    fn what_the_lattice_cannot_keep_is_refused_at_once() {
        let long = "a".repeat(129);
        for (id, schedule) in [
            ("", Schedule::after(SHORTEST)),
            (long.as_str(), Schedule::after(SHORTEST)),
            ("a", Schedule::every(Duration::from_millis(999))),
            ("a", Schedule::cron("every day")),
        ] {
            let error = check(id, &schedule).expect_err("it cannot be");
            assert!(
                matches!(&error, CallError::Rejected(rejection) if rejection.code == REJECTED),
                "{error}"
            );
        }
        for schedule in [
            Schedule::at(SystemTime::UNIX_EPOCH),
            Schedule::after(Duration::ZERO),
            Schedule::every(SHORTEST),
            Schedule::cron("0 3 * * *"),
        ] {
            assert_eq!(check("a", &schedule), Ok(()), "{schedule:?}");
        }
    }

    #[test]
    fn times_survive_the_way_and_never_become_earlier() {
        assert_eq!(millis(time(1_234)), 1_234);
        assert_eq!(whole_millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(SystemTime::UNIX_EPOCH - SHORTEST), 0);
        assert!(time(u64::MAX) > time(0));
    }
}
