//! Numbers as people read them at a glance.

/// A rate in a second.
pub(super) fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "–".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(rate) if rate < 0.1 => "<0.1".to_owned(),
        Some(rate) if rate < 100.0 => format!("{rate:.1}"),
        Some(rate) if rate < 10_000.0 => format!("{rate:.0}"),
        Some(rate) if rate < 1e6 => format!("{:.1}k", rate / 1e3),
        Some(rate) => format!("{:.1}M", rate / 1e6),
    }
}

/// A time in microseconds.
pub(super) fn micros(micros: Option<f64>) -> String {
    match micros {
        None => "–".to_owned(),
        Some(micros) if micros < 1_000.0 => format!("{micros:.0} µs"),
        Some(micros) if micros < 10_000.0 => format!("{:.1} ms", micros / 1e3),
        Some(micros) if micros < 1e6 => format!("{:.0} ms", micros / 1e3),
        Some(micros) => format!("{:.1} s", micros / 1e6),
    }
}

/// An amount of memory.
pub(super) fn bytes(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "an amount for people")]
    let amount = bytes as f64;
    match bytes {
        0 => "0".to_owned(),
        1..0x10_0000 => format!("{:.0} KiB", amount / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.0} MiB", amount / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", amount / f64::from(1 << 30)),
    }
}

/// A moment in UTC, to the second.
pub(super) fn moment(ms: u64) -> String {
    let moment = time::OffsetDateTime::from_unix_timestamp(i64::try_from(ms / 1_000).unwrap_or(0));
    let Ok(moment) = moment else { return ms.to_string() };
    let (date, (hour, minute, second)) = (moment.date(), moment.time().as_hms());
    let (year, month, day) = date.to_calendar_date();
    format!("{year:04}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02}", u8::from(month))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([None, Some(0.0), Some(2.34), Some(12_345.0)].map(rate), ["–", "0", "2.3", "12.3k"]);
        assert_eq!([Some(15.0), Some(1_500.0), Some(2e6)].map(micros), ["15 µs", "1.5 ms", "2.0 s"]);
        assert_eq!([0, 2048, 5 << 20].map(bytes), ["0", "2 KiB", "5 MiB"]);
        assert_eq!(moment(1_767_225_599_999), "2025-12-31 23:59:59");
    }
}
