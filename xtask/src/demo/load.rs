//! Calls in the background while something happens to the lattice, and the count of how they ended.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::shell::Shell;

/// Callers that call until they are told to stop.
pub struct Load {
    shared: Arc<Shared>,
    callers: Vec<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    /// Locked for a moment after each call; the callers spend their time in the calls.
    counts: Mutex<Counts>,
}

/// How the calls ended.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    answered: u32,
    /// By kind.
    failed: BTreeMap<String, u32>,
    slowest: Duration,
}

impl Load {
    /// One caller for each of these nodes.
    pub fn start(shell: &Shell, admins: &[String]) -> Load {
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), counts: Mutex::default() });
        let caller = |admin: &String| {
            let (shell, admin, shared) = (shell.clone(), admin.clone(), Arc::clone(&shared));
            thread::spawn(move || call_on_and_on(&shell, &admin, &shared))
        };
        let callers = admins.iter().map(caller).collect();
        Load { shared, callers }
    }

    /// How many calls were answered so far.
    pub fn answered(&self) -> u32 {
        self.shared.counts().answered
    }

    /// Ends the calls and tells how they went.
    pub fn stop(mut self) -> Counts {
        self.shared.stop.store(true, Ordering::Relaxed);
        for caller in self.callers.drain(..) {
            let _ = caller.join();
        }
        self.shared.counts().clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn call_on_and_on(shell: &Shell, admin: &str, shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let outcome = shell.call(admin, &["greeter", "hello", "\"Ada\"", "--timeout", "2s"]);
        let outcome = match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(fault)) => Err(fault.kind),
            Err(error) => Err(format!("untyped: {error:#}")),
        };
        shared.counts().add(outcome, start.elapsed());
    }
}

impl Counts {
    fn add(&mut self, outcome: Result<(), String>, took: Duration) {
        match outcome {
            Ok(()) => self.answered += 1,
            Err(kind) => *self.failed.entry(kind).or_default() += 1,
        }
        self.slowest = self.slowest.max(took);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed: u32 = self.failed.values().sum();
        writeln!(
            f,
            "{} calls meanwhile: {} answered, {failed} failed",
            self.answered + failed,
            self.answered
        )?;
        for (kind, count) in &self.failed {
            writeln!(f, "  {count} x {kind}")?;
        }
        write!(
            f,
            "the slowest took {} ms, with the start of its `lattice call` process",
            self.slowest.as_millis()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_tell_kinds_and_the_slowest() {
        let mut counts = Counts::default();
        counts.add(Ok(()), Duration::from_millis(20));
        counts.add(Err("unknown".into()), Duration::from_millis(450));
        counts.add(Err("unknown".into()), Duration::from_millis(30));
        let text = counts.to_string();
        assert!(text.starts_with("3 calls meanwhile: 1 answered, 2 failed\n  2 x unknown\n"), "{text}");
        assert!(text.contains("450 ms"), "{text}");
    }
}
