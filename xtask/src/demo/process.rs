//! One process of the demo: started, listened to, stopped. It knows nothing of lattices.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::guard::Guard;

/// The slowest start compiles Wasm on a busy machine.
const START_BOUND: Duration = Duration::from_secs(60);
/// A node drains for less.
const STOP_BOUND: Duration = Duration::from_secs(15);

/// A process that writes to `NAME.out` and `NAME.log` in the run's folder. It lives on when this is dropped; the guard
/// sees to it in the end.
pub struct Process {
    pub name: String,
    /// Its admin address, if it is a node.
    pub admin: Option<String>,
    child: Child,
    output: PathBuf,
}

impl Process {
    pub fn start(name: &str, command: &mut Command, guard: &Guard) -> Result<Process> {
        let output = guard.folder().join(format!("{name}.out"));
        guard.mark(command);
        let child = command
            .stdin(Stdio::null())
            .stdout(create(&output)?)
            .stderr(create(&guard.folder().join(format!("{name}.log")))?)
            // Ctrl-C is for the demo alone; its guard stops the others.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", Path::new(command.get_program()).display()))?;
        Ok(Process { name: name.to_owned(), admin: None, child, output })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `find` has an answer; it is given all of the output so far.
    pub fn wait_for(&mut self, find: impl Fn(&str) -> Option<String>) -> Result<String> {
        let start = Instant::now();
        loop {
            if let Some(answer) = find(&fs::read_to_string(&self.output).unwrap_or_default()) {
                return Ok(answer);
            }
            if let Some(status) = self.child.try_wait().with_context(|| format!("lost {}", self.name))? {
                bail!("{} ended with {status} before it was ready: its log stands above", self.name);
            }
            if start.elapsed() > START_BOUND {
                bail!("{} was not ready within {} s: its log stands above", self.name, START_BOUND.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(())
    }

    /// SIGTERM.
    pub fn ask_to_stop(&self) {
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(id, Signal::TERM);
        }
    }

    /// Whether it ended in time. One that did not is killed.
    pub fn wait_until_stopped(mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < STOP_BOUND {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.kill();
        false
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}
