//! Times that repeat by a pattern, as in crontab(5): reads patterns, and tells which time is the next.
//!
//! A node arms reminders by it, and an actor refuses by it, before anything is stored, what a node could not arm; so both
//! must read a pattern in one way. It has no dependency because it becomes part of guests, and it never reads a clock.
//!
//! 1. Five fields: minute (0 to 59), hour (0 to 23), day of the month (1 to 31), month (1 to 12 or `jan` to `dec`) and day
//!    of the week (0 to 7 or `sun` to `sat`; 0 and 7 are Sunday). All in UTC, so no hour is there twice or never.
//! 2. A field is a list, with commas, of `*`, a number, or a range (`1-5`); a range or `*` may have a step (`*/15`).
//! 3. A day must fit both of its fields. Where neither of them has a `*`, it must fit one of them.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail on what it did not expect"))]
#![deny(missing_docs)]

mod calendar;
mod field;

use std::fmt;
use std::str::FromStr;

use calendar::Date;
use field::Field;

/// A pattern that some time fits.
///
/// # Examples
/// ```
/// use lattice_cron::Cron;
///
/// let at_three: Cron = "0 3 * * *".parse()?;
/// assert_eq!(at_three.next(0), Some(3 * 3_600_000));
/// assert_eq!(at_three.next(3 * 3_600_000), Some(27 * 3_600_000));
///
/// let error = "0 25 * * *".parse::<Cron>().unwrap_err();
/// assert_eq!(error.to_string(), "the hour `25` is not within 0 to 23");
/// # Ok::<(), lattice_cron::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cron {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

const MINUTE: u64 = 60_000;
const MINUTES_PER_DAY: u64 = 24 * 60;

/// How far ahead to look, in days: the rarest day, a 29 February on a given weekday, comes again after 40 years at most.
const HORIZON: u64 = 41 * 366;

impl Cron {
    /// The first time that fits and is later than `after`, both in milliseconds since 1970.
    ///
    /// None when that is too far for the calendar, which no real clock comes near to.
    pub fn next(&self, after: u64) -> Option<u64> {
        let first = after / MINUTE + 1;
        let today = first / MINUTES_PER_DAY;
        let day = (today..today.checked_add(HORIZON)?).find_map(|day| {
            let start = if day == today { first % MINUTES_PER_DAY } else { 0 };
            if !self.fits_day(Date::of(day)?) {
                return None;
            }
            Some((day, self.next_minute(start)?))
        });
        let (day, minute) = day?;
        day.checked_mul(MINUTES_PER_DAY)?.checked_add(minute)?.checked_mul(MINUTE)
    }

    fn fits_day(&self, date: Date) -> bool {
        let (day, weekday) = (self.days.has(date.day), self.weekdays.has(date.weekday));
        let fits = if self.days.star || self.weekdays.star { day && weekday } else { day || weekday };
        self.months.has(date.month) && fits
    }

    /// The first fitting minute of a day, from this one on.
    fn next_minute(&self, start: u64) -> Option<u64> {
        let fits = |minute: &u64| {
            self.hours.has(u8::try_from(minute / 60).unwrap_or(u8::MAX))
                && self.minutes.has(u8::try_from(minute % 60).unwrap_or(u8::MAX))
        };
        (start..MINUTES_PER_DAY).find(fits)
    }
}

impl FromStr for Cron {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            let count = fields.len();
            return Err(Error(format!(
                "a pattern has five fields (minute, hour, day, month, day of the week), and `{text}` has {count}"
            )));
        };
        let mut weekdays = Field::read(weekdays, &field::WEEKDAY)?;
        weekdays.fold(7, 0);
        let cron = Cron {
            minutes: Field::read(minutes, &field::MINUTE)?,
            hours: Field::read(hours, &field::HOUR)?,
            days: Field::read(days, &field::DAY)?,
            months: Field::read(months, &field::MONTH)?,
            weekdays,
        };
        match cron.next(0) {
            Some(_) => Ok(cron),
            None => Err(Error(format!("there is no day that fits `{text}`"))),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds since 1970.
    fn at(year: u64, month: u8, day: u8, hour: u64, minute: u64) -> u64 {
        let length = |year: u64| {
            365 + u64::from(year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)))
        };
        let new_year: u64 = (1970..year).map(length).sum();
        let wanted = |days: &u64| Date::of(*days).is_some_and(|date| (date.month, date.day) == (month, day));
        let days = (new_year..new_year + length(year)).find(wanted).unwrap();
        ((days * 24 + hour) * 60 + minute) * MINUTE
    }

    fn next(pattern: &str, after: u64) -> u64 {
        pattern.parse::<Cron>().unwrap().next(after).unwrap()
    }

    #[test]
    fn the_next_time_is_the_first_that_fits_and_is_later() {
        // 25 November 2026 is a Wednesday.
        let now = at(2026, 11, 25, 22, 14) + 29_000;
        for (pattern, expected) in [
            ("* * * * *", at(2026, 11, 25, 22, 15)),
            ("*/15 * * * *", at(2026, 11, 25, 22, 15)),
            ("14 22 * * *", at(2026, 11, 26, 22, 14)),
            ("0 3 * * *", at(2026, 11, 26, 3, 0)),
            ("30 9-17/4 * * 1-5", at(2026, 11, 26, 9, 30)),
            ("0 0 * * sun", at(2026, 11, 29, 0, 0)),
            ("0 0 * * 7", at(2026, 11, 29, 0, 0)),
            ("0 0 1 * *", at(2026, 12, 1, 0, 0)),
            ("0 0 31 * *", at(2026, 12, 31, 0, 0)),
            ("0 0 1 JAN,Jul *", at(2027, 1, 1, 0, 0)),
            ("0 0 29 2 *", at(2028, 2, 29, 0, 0)),
            // Either of the two days, because neither field has a star.
            ("0 0 1 * 5", at(2026, 11, 27, 0, 0)),
            ("0 0 */31 * 5", at(2027, 1, 1, 0, 0)),
        ] {
            assert_eq!(next(pattern, now), expected, "{pattern}");
        }
    }

    #[test]
    fn a_time_that_fits_is_not_its_own_successor() {
        let noon = at(2026, 11, 25, 12, 0);
        assert_eq!(next("0 12 * * *", noon), at(2026, 11, 26, 12, 0));
        assert_eq!(next("0 12 * * *", noon - 1), noon);
    }

    #[test]
    fn the_rarest_day_is_found() {
        assert_eq!(next("0 0 29 2 */7", at(2088, 3, 1, 0, 0)), at(2128, 2, 29, 0, 0));
    }

    #[test]
    fn no_minute_is_left_out() {
        let cron: Cron = "*/7 1-23/2 * * *".parse().unwrap();
        let start = at(2028, 2, 28, 0, 0);
        let fits = |time: &u64| {
            let minute = time / MINUTE % MINUTES_PER_DAY;
            (minute / 60) % 2 == 1 && (minute % 60).is_multiple_of(7)
        };
        let all = (1..4 * MINUTES_PER_DAY).map(|minutes| start + minutes * MINUTE).filter(fits);
        let mut last = start;
        for time in all {
            last = cron.next(last).unwrap();
            assert_eq!(last, time);
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        for (text, part) in [
            ("", "and `` has 0"),
            ("* * * *", "has 4"),
            ("* * * * * *", "has 6"),
            ("60 * * * *", "the minute `60` is not within 0 to 59"),
            ("* * 0 * *", "the day `0` is not within 1 to 31"),
            ("* * * 13 *", "the month `13` is not within 1 to 12"),
            ("* * * * 8", "the day of the week `8` is not within 0 to 7"),
            ("* * * * mon-", "the day of the week `` is no number"),
            ("x * * * *", "the minute `x` is no number"),
            ("+1 * * * *", "the minute `+1` is no number"),
            ("5-1 * * * *", "the range `5-1` of the minute ends before it begins"),
            ("*/0 * * * *", "the step `0` of the minute"),
            ("*/x * * * *", "the step `x` of the minute"),
            ("5/2 * * * *", "a step follows a range or `*`"),
            ("1,, * * * *", "the minute `` is no number"),
            ("0 0 30 2 *", "no day that fits"),
        ] {
            let error = text.parse::<Cron>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_clock_at_the_end_of_its_numbers_is_no_panic() {
        assert_eq!("* * * * *".parse::<Cron>().unwrap().next(u64::MAX), None);
    }
}
