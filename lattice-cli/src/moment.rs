//! Moments as people read them.

use time::OffsetDateTime;

/// A moment in UTC, to the millisecond.
pub fn utc(ms: u64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let Ok(moment) = moment else { return ms.to_string() };
    let (date, (hour, minute, second, milli)) = (moment.date(), moment.time().as_hms_milli());
    let (year, month, day) = date.to_calendar_date();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", u8::from(month))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(1_767_225_599_999), "2025-12-31T23:59:59.999Z");
        assert_eq!(utc(u64::MAX), u64::MAX.to_string());
    }
}
