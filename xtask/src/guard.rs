//! Nothing is left behind: a second process that outlives a run and clears up after it.
//!
//! A run may end by Ctrl-C, by a failure or by SIGKILL, and then cannot clear up by itself. So it starts a guard in a
//! process group of its own, which reads from a pipe that only the run holds. The pipe closes when the run ends, however
//! it ends; then the guard ends every process that carries the run's mark and removes the run's folder. A run that
//! wants its processes to live on (`demo --keep`) writes one byte first.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, process};

use anyhow::{Context, Result};
use clap::Args;

use crate::processes::{self, Marked};

/// What a node needs to drain, and a bit more.
const PATIENCE: Duration = Duration::from_secs(3);

/// The guard of one run.
pub struct Guard {
    mark: String,
    folder: PathBuf,
    watcher: Child,
}

impl Guard {
    /// Starts the guard, and makes a folder for the run's temporary files.
    pub fn start() -> Result<Guard> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mark = format!("{}-{}", process::id(), now.as_millis());
        let folder = env::temp_dir().join(format!("lattice-run-{mark}"));
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let watcher = Command::new(env::current_exe()?)
            .arg("guard")
            .args(["--mark", &mark, "--folder"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start the guard process")?;
        Ok(Guard { mark, folder, watcher })
    }

    /// For the run's temporary files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Marks a command, and with it everything that it starts.
    pub fn mark(&self, command: &mut Command) {
        command.env(processes::MARK, &self.mark).env("TMPDIR", &self.folder);
    }

    /// Ends what lives, and returns what that was.
    pub fn clear(&self) -> Vec<Marked> {
        processes::end_marked(&self.mark, PATIENCE)
    }

    /// Lets the run's processes and its folder outlive it.
    pub fn keep(mut self) -> Result<()> {
        let pipe = self.watcher.stdin.as_mut().context("the guard has no pipe")?;
        pipe.write_all(b"k").context("cannot reach the guard process")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        // Waited for, so that all is quiet when the run's own process is gone.
        let _ = self.watcher.wait();
    }
}

/// What a run tells its guard.
#[derive(Args)]
pub struct Options {
    #[arg(long)]
    mark: String,
    #[arg(long)]
    folder: PathBuf,
}

/// The guard's own process.
pub fn watch(options: &Options) -> Result<()> {
    let mut words = Vec::new();
    std::io::stdin().read_to_end(&mut words).context("lost the pipe to the run")?;
    if !words.is_empty() {
        return Ok(());
    }
    for process in processes::end_marked(&options.mark, PATIENCE) {
        eprintln!("   stopped {} ({})", process.name, process.id);
    }
    if options.folder.exists() {
        fs::remove_dir_all(&options.folder)
            .with_context(|| format!("cannot remove {}", options.folder.display()))?;
    }
    Ok(())
}
