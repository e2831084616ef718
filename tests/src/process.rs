//! One child process, and the certainty that it ends.
//!
//! A child is killed when its handle is dropped, which a panic does as well. Should the test process itself be killed,
//! the kernel kills the child: the small `guard` program asks for that and then becomes the child. Its output goes to
//! a file, whose end is printed when the test fails.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// How much of a log is worth reading when a test has failed.
const TAIL_LINES: usize = 60;

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
    // Until it is, its number belongs to nobody else, and neither does that of its group.
    reaped: bool,
}

impl Process {
    /// Starts a program in a process group of its own; stdout and stderr are appended to `log`.
    pub fn start(name: &str, program: &Path, configure: impl FnOnce(&mut Command), log: &Path) -> Self {
        let mut command = guarded(program);
        configure(&mut command);
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
        let child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        Self { name: name.to_owned(), child, log: log.to_owned(), ended: None, reaped: false }
    }

    /// The operating system's number for it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, without a chance to say goodbye, and waits until the kernel has buried it and what it started.
    pub fn kill(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
            let status = self.child.wait().ok();
            self.ended = self.ended.or(status);
            self.reaped = true;
        }
    }

    /// Freezes it: connections stay open, nothing answers. Returns when it stands still.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        // The signal is sent and not yet obeyed when `kill` returns: threads that run on other processors go on for
        // a moment, long enough to answer once more. The kernel tells the parent when the last of them has stopped.
        if let Some(pid) = self.number().filter(|_| !self.reaped) {
            let look = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            // It sends SIGCHLD as well, which must not end the waiting.
            retry_on_intr(|| waitid(WaitId::Pid(pid), look)).unwrap();
        }
    }

    /// Lets a frozen one go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to stop cleanly.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// How it ended, when it has. What it started itself may still run.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let seen = self.number().and_then(|pid| waitid(WaitId::Pid(pid), look).unwrap());
            self.ended = seen.map(|seen| match seen.terminating_signal() {
                Some(signal) => ExitStatus::from_raw(signal),
                None => ExitStatus::from_raw(seen.exit_status().unwrap_or_default() << 8),
            });
        }
        self.ended
    }

    /// Waits until it ends by itself; fails the test when it does not.
    pub async fn wait(&mut self, bound: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                start.elapsed() < bound,
                "{} still runs after {bound:?}; its log ends:\n{}",
                self.name,
                tail(&self.log)
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// All that it has written so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.number().filter(|_| !self.reaped) {
            // It may have ended by itself a moment ago, which is as good.
            let _ = kill_process_group(pid, signal);
        }
    }

    fn number(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let early = self.ended();
        self.kill();
        if std::thread::panicking() {
            let how = match early {
                Some(status) => match status.signal() {
                    Some(signal) => format!("killed by signal {signal}"),
                    None => status.to_string(),
                },
                None => "was running".to_owned(),
            };
            eprintln!("--- {} ({how}), end of {}:\n{}", self.name, self.log.display(), tail(&self.log));
        }
    }
}

/// Between two looks at something that has no notification.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// A program of this workspace: named by a variable, or beside the test that runs.
pub fn workspace_program(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let path = beside_tests(name);
    assert!(
        path.exists(),
        "{} is not there: `cargo build -p lattice-cli` makes it, or set {variable}",
        path.display()
    );
    path
}

fn beside_tests(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap();
    // Tests stand in `deps/`, one below the programs.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap() } else { folder };
    folder.join(name)
}

fn guarded(program: &Path) -> Command {
    let guard = beside_tests("guard");
    if !guard.exists() {
        return Command::new(program);
    }
    let mut command = Command::new(guard);
    command.arg(program);
    command
}

fn tail(log: &Path) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
