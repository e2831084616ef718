//! A run of several steps: a headline and a time for each, and a summary at the end, also after a failure.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

/// The steps so far.
pub struct Steps {
    start: Instant,
    done: Vec<Step>,
}

struct Step {
    title: String,
    took: Duration,
    passed: bool,
}

impl Steps {
    pub fn new() -> Self {
        Self { start: Instant::now(), done: Vec::new() }
    }

    /// Does one step. Whoever gets an error back ends the run with it.
    pub fn step<T>(&mut self, title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("\n== {title}");
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        eprintln!("== {title}: {} after {}", if result.is_ok() { "done" } else { "FAILED" }, seconds(took));
        self.done.push(Step { title: title.to_owned(), took, passed: result.is_ok() });
        result
    }

    /// Prints the summary.
    pub fn summarize(&self) {
        eprintln!("\n{}", summary(&self.done, self.start.elapsed()));
    }
}

fn summary(done: &[Step], total: Duration) -> String {
    let width = done.iter().map(|step| step.title.chars().count()).max().unwrap_or(0).max("total".len());
    let mut text = String::new();
    for step in done {
        let verdict = if step.passed { "ok" } else { "FAILED" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:width$}  {:>9}  {verdict}", step.title, seconds(step.took));
    }
    let _ = write!(text, "{:width$}  {:>9}", "total", seconds(total));
    text
}

/// `3.2 s`, `4 min 07 s`.
pub fn seconds(time: Duration) -> String {
    let whole = time.as_secs();
    if whole < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people() {
        let table = [(3_240, "3.2 s"), (59_900, "59.9 s"), (60_000, "1 min 00 s"), (247_400, "4 min 07 s")];
        for (milliseconds, text) in table {
            assert_eq!(seconds(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn the_summary_names_the_step_that_failed() {
        let step = |title: &str, passed| Step { title: title.into(), took: Duration::from_secs(1), passed };
        let text = summary(&[step("format", true), step("clippy", false)], Duration::from_secs(2));
        assert_eq!(text, "format      1.0 s  ok\nclippy      1.0 s  FAILED\ntotal       2.0 s");
    }

    #[test]
    fn a_failed_step_is_recorded_and_handed_on() {
        let mut steps = Steps::new();
        assert!(steps.step("one", || Ok(())).is_ok());
        assert!(steps.step("two", || anyhow::Result::<()>::Err(anyhow::anyhow!("no"))).is_err());
        assert_eq!(steps.done.iter().map(|step| step.passed).collect::<Vec<_>>(), [true, false]);
    }
}
