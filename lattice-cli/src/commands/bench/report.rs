//! What came of the calls: percentiles of their latency, and faults by kind.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// The percentiles that are told.
const PERCENTILES: [(&str, f64); 6] =
    [("p50", 50.0), ("p75", 75.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99)];

/// What came of one call.
pub(super) struct Said {
    /// When it was due.
    pub due: Instant,
    /// From then to its end.
    pub took: Duration,
    /// The kind of fault that ended it.
    pub fault: Option<String>,
}

/// What came of all of them so far.
pub(super) struct Report {
    rate: f64,
    wanted: Duration,
    /// From when the first measured call was due to the last answer.
    took: Duration,
    from: Instant,
    /// In microseconds, of calls that were answered.
    latencies: Histogram<u64>,
    faults: BTreeMap<String, u64>,
}

/// The report for programs.
#[derive(Debug, Serialize)]
pub(super) struct Numbers {
    rate: f64,
    duration_ms: u64,
    calls: u64,
    answered: u64,
    answered_per_second: f64,
    failed: BTreeMap<String, u64>,
    latency_us: BTreeMap<&'static str, u64>,
}

impl Report {
    pub fn new(rate: f64, wanted: Duration, from: Instant) -> Self {
        // Three digits of everything from a microsecond on.
        let latencies = Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are allowed"));
        Self { rate, wanted, took: Duration::ZERO, from, latencies, faults: BTreeMap::new() }
    }

    pub fn add(&mut self, said: &Said) {
        match &said.fault {
            None => {
                let micros = u64::try_from(said.took.as_micros()).unwrap_or(u64::MAX);
                // It grows with what it is given, up to hours.
                let _ = self.latencies.record(micros);
                let answered = said.due + said.took;
                self.took = self.took.max(answered.saturating_duration_since(self.from));
            }
            Some(kind) => *self.faults.entry(kind.clone()).or_default() += 1,
        }
    }

    fn failed(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Where it is, on a line.
    pub fn line(&self) -> String {
        let (answered, failed) = (self.latencies.len(), self.failed());
        let p99 = Duration::from_micros(self.latencies.value_at_percentile(99.0));
        format!("{answered} answered, {failed} failed, p99 {p99:.1?}")
    }

    pub fn numbers(&self) -> Numbers {
        let value = |percentile| self.latencies.value_at_percentile(percentile);
        let mut latency_us: BTreeMap<&'static str, u64> =
            PERCENTILES.iter().map(|(name, percentile)| (*name, value(*percentile))).collect();
        latency_us.insert("min", self.latencies.min());
        latency_us.insert("max", self.latencies.max());
        Numbers {
            rate: self.rate,
            duration_ms: u64::try_from(self.wanted.as_millis()).unwrap_or(u64::MAX),
            calls: self.latencies.len() + self.failed(),
            answered: self.latencies.len(),
            answered_per_second: self.per_second(),
            failed: self.faults.clone(),
            latency_us,
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "no run makes so many calls")]
    fn per_second(&self) -> f64 {
        let seconds = self.took.max(self.wanted).as_secs_f64();
        if seconds > 0.0 { self.latencies.len() as f64 / seconds } else { 0.0 }
    }

    pub fn text(&self, title: &str) -> String {
        let (answered, failed) = (self.latencies.len(), self.failed());
        let mut text = format!(
            "{title} for {:?}: {} calls, {answered} answered ({:.1}/s), {failed} failed\n",
            self.wanted,
            answered + failed,
            self.per_second()
        );
        if answered > 0 {
            text.push_str("\nlatency, from when each call was due\n");
            let time = |micros| format!("{:.1?}", Duration::from_micros(micros));
            text.push_str(&format!("  {:<7} {:>10}\n", "min", time(self.latencies.min())));
            for (name, percentile) in PERCENTILES {
                let value = time(self.latencies.value_at_percentile(percentile));
                text.push_str(&format!("  {name:<7} {value:>10}\n"));
            }
            text.push_str(&format!("  {:<7} {:>10}\n", "max", time(self.latencies.max())));
        }
        if failed > 0 {
            text.push_str("\nfailed\n");
            for (kind, count) in &self.faults {
                text.push_str(&format!("  {kind:<20} {count:>10}\n"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_percentiles_and_kinds_of_faults() {
        let due = Instant::now();
        let mut report = Report::new(10.0, Duration::from_secs(1), due);
        for micros in 1..=100 {
            report.add(&Said { due, took: Duration::from_micros(micros * 10), fault: None });
        }
        report.add(&Said { due, took: Duration::from_secs(5), fault: Some("deadline".into()) });
        let numbers = report.numbers();
        assert_eq!((numbers.calls, numbers.answered, numbers.failed["deadline"]), (101, 100, 1));
        assert_eq!((numbers.latency_us["p50"], numbers.latency_us["max"]), (500, 1_000));
        assert!((numbers.answered_per_second - 100.0).abs() < 0.01, "not faster than what was asked for");
        let text = report.text("x");
        assert!(text.contains("deadline") && text.contains("p99.9"), "{text}");
    }

    #[test]
    fn nothing_answered_is_told_as_such() {
        let text = Report::new(10.0, Duration::from_secs(1), Instant::now()).text("x");
        assert!(text.contains("0 answered") && !text.contains("latency"), "{text}");
    }
}
