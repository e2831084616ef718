//! What `lattice dev` starts ends with it, however it ends: it holds the other end of stdin, and the system lets go of that for a process that
//! can do nothing any more.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};

/// A node that has nothing to wait for stops sooner.
const PATIENCE: Duration = Duration::from_secs(1);

/// Stops this node once stdin is closed: nobody is left for whom it would have to hand over what it runs.
pub fn stop_after_stdin() {
    after_stdin(|| {
        for _ in 0..2 {
            let _ = kill_process(getpid(), Signal::TERM);
            thread::sleep(PATIENCE);
        }
    });
}

/// Ends this process once stdin is closed, and all that it has started, as they are a group.
pub fn end_group_after_stdin() {
    after_stdin(|| {
        let _ = kill_current_process_group(Signal::KILL);
    });
}

/// In a thread of its own: one that reads would hold up the end of a runtime.
fn after_stdin(end: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        end();
    });
}
