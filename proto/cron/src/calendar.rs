//! The day that so many days since 1970 are, by the Gregorian calendar.

/// One day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
    /// From 0, a Sunday.
    pub weekday: u8,
}

impl Date {
    /// The day so many days after 1 January 1970; none when it is too far to be told.
    ///
    /// Counts in eras of 400 years, whose years begin in March, so that the odd day of a leap year is the last of its
    /// year (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    pub fn of(days: u64) -> Option<Self> {
        // Days since 1 March of the year 0.
        let shifted = days.checked_add(719_468)?;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        // 1 January 1970 was a Thursday.
        let weekday = (days + 4) % 7;
        Some(Date {
            month: u8::try_from(month).ok()?,
            day: u8::try_from(day).ok()?,
            weekday: u8::try_from(weekday).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_what_the_calendar_says() {
        for (days, month, day, weekday) in [
            (0, 1, 1, 4),
            (58, 2, 28, 6),
            (59, 3, 1, 0),
            (11_016, 2, 29, 2),
            (20_782, 11, 25, 3),
            (47_540, 2, 28, 0),
            (47_541, 3, 1, 1),
        ] {
            assert_eq!(Date::of(days), Some(Date { month, day, weekday }), "{days}");
        }
    }
}
