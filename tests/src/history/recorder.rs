//! Records operations while clients run them: it reads the clock before a request leaves and after its answer came.
//!
//! Both readings are on the safe side: the recorded span holds the real one, so a busy machine can make operations look
//! concurrent that were not, never the other way round.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::{Client, History, Key, Operation, Outcome};

/// Where all clients of a test write their operations; clones write to the same history.
#[derive(Debug)]
pub struct Recorder<I, O> {
    shared: Arc<Shared<I, O>>,
}

#[derive(Debug)]
struct Shared<I, O> {
    start: Instant,
    // Clients on several threads push for a moment each; a test makes a few thousand entries, not millions.
    operations: Mutex<Vec<Operation<I, O>>>,
}

/// An operation that is under way. Whoever drops it leaves its outcome unknown, so a client that is aborted or panics
/// in the middle still leaves a true history.
#[derive(Debug)]
#[must_use = "an operation whose outcome is not told counts as unknown"]
pub struct Call<I, O> {
    shared: Arc<Shared<I, O>>,
    index: usize,
}

impl<I, O> Default for Recorder<I, O> {
    fn default() -> Self {
        Self { shared: Arc::new(Shared { start: Instant::now(), operations: Mutex::default() }) }
    }
}

impl<I, O> Clone for Recorder<I, O> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<I, O> Recorder<I, O> {
    /// Notes that a client is about to ask; to be called before the request leaves.
    pub fn invoke(&self, client: Client, key: &Key, input: I) -> Call<I, O> {
        let invoked = self.shared.start.elapsed();
        let mut operations = self.shared.lock();
        operations.push(Operation { client, key: key.clone(), input, invoked, outcome: Outcome::Unknown });
        Call { shared: Arc::clone(&self.shared), index: operations.len() - 1 }
    }

    /// The moment on the clock of the history, to say when a fault was injected.
    pub fn now(&self) -> std::time::Duration {
        self.shared.start.elapsed()
    }

    /// What was recorded so far. What is still under way is unknown in it, and stays so.
    pub fn history(&self) -> History<I, O>
    where
        I: Clone,
        O: Clone,
    {
        self.shared.lock().iter().cloned().collect()
    }
}

impl<I, O> Call<I, O> {
    /// It was answered; to be called after the answer came.
    pub fn ok(self, output: O) {
        let completed = self.shared.start.elapsed();
        self.end(Outcome::Ok { output, completed });
    }

    /// It surely did not run and never will.
    pub fn failed(self) {
        self.end(Outcome::Failed);
    }

    /// Nobody knows whether it ran or will run.
    pub fn unknown(self) {
        self.end(Outcome::Unknown);
    }

    fn end(self, outcome: Outcome<O>) {
        self.shared.lock()[self.index].outcome = outcome;
    }
}

impl<I, O> Shared<I, O> {
    fn lock(&self) -> MutexGuard<'_, Vec<Operation<I, O>>> {
        self.operations.lock().expect("nothing panics while it holds the history")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_told_or_unknown() {
        let recorder = Recorder::default();
        let key = Key::new("a");
        let open = recorder.invoke(Client(0), &key, "open");
        recorder.invoke(Client(1), &key, "ok").ok(1);
        recorder.invoke(Client(2), &key, "failed").failed();
        recorder.invoke(Client(3), &key, "unknown").unknown();
        drop(recorder.invoke(Client(4), &key, "dropped"));
        let history = recorder.history();
        // What ends after the history was taken no longer changes it.
        open.ok(2);
        assert_eq!(history.to_string(), "5 operations on 1 keys: 1 ok, 1 failed, 3 unknown");
        assert_eq!(recorder.history().to_string(), "5 operations on 1 keys: 2 ok, 1 failed, 2 unknown");
    }

    #[test]
    fn operations_that_follow_each_other_do_so_in_the_history() {
        let recorder = Recorder::default();
        let key = Key::new("a");
        for value in 0..100 {
            let clone = recorder.clone();
            let key = key.clone();
            std::thread::spawn(move || clone.invoke(Client(value), &key, value).ok(value)).join().unwrap();
        }
        let history = recorder.history();
        let spans: Vec<_> = history.operations().iter().map(span).collect();
        assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{spans:?}");

        fn span(operation: &Operation<u32, u32>) -> (std::time::Duration, std::time::Duration) {
            let Outcome::Ok { completed, .. } = operation.outcome else { panic!("{operation:?}") };
            (operation.invoked, completed)
        }
    }
}
