//! A node for as long as `lattice dev` runs: `lattice start` with a NATS server of its own and everything in a temporary
//! folder.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use lattice_proto::Ran;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::last_words::LastWords;
use crate::failure::Failure;

/// Where the node listens when nobody else does.
const ADMIN: &str = "127.0.0.1:7700";
const HTTP: &str = "127.0.0.1:7780";

/// A node that has nothing to wait for stops sooner; the next signal makes it stop at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// Stopping at once includes the NATS server, to which the node gives five seconds.
const STOP: Duration = Duration::from_secs(8);

/// A node that was started.
pub struct OwnNode {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    last_words: LastWords,
    /// It stops once nobody holds this any more.
    _lifeline: ChildStdin,
    _folder: TempDir,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    pub admin: String,
    pub http: String,
}

/// The usual address, or a free one where something else has it.
pub fn admin_address() -> String {
    free(ADMIN)
}

fn free(address: &str) -> String {
    // Somebody may still come first; then the node says so.
    match TcpListener::bind(address) {
        Ok(_) => address.to_owned(),
        Err(_) => "127.0.0.1:0".to_owned(),
    }
}

impl OwnNode {
    /// Starts it. It is to be stopped; if this process cannot do that any more, it does so by itself.
    pub fn start(listen: &str) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("lattice-dev-").tempdir()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["start", "--while-stdin-is-open", "--name", "dev", "--listen", listen]);
        command.args(["--http", &free(HTTP), "--data"]).arg(folder.path().join("data"));
        // A Ctrl-C in the terminal is for us, who stop it last.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        // Out of the child, which lets go of it when it is waited for.
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(lifeline), Some(stdout), Some(stderr)) = pipes else { return Err(lost(None)) };
        let (said, last_words) = (BufReader::new(stdout).lines(), LastWords::of(stderr));
        Ok(Self { child, said, last_words, _lifeline: lifeline, _folder: folder })
    }

    /// Waits until it is ready.
    pub async fn ready(&mut self) -> Result<Ready, Failure> {
        while let Some(line) = self.said.next_line().await? {
            if let Some(ready) = Ready::find(&line) {
                return Ok(ready);
            }
        }
        Err(lost(self.last_words.line().await))
    }

    /// Returns when it ended by itself, with the reason. Cancel safe.
    pub async fn ended(&mut self) -> Failure {
        let _ = self.child.wait().await;
        lost(self.last_words.line().await)
    }

    /// Stops it, and removes what it kept.
    pub async fn stop(mut self) {
        for patience in [PATIENCE, STOP] {
            self.terminate();
            if tokio::time::timeout(patience, self.child.wait()).await.is_ok() {
                return;
            }
        }
        let _ = self.child.kill().await;
    }

    fn terminate(&self) {
        // None once it has ended and was waited for.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Ready {
    /// Reads the line with which a node says it.
    fn find(line: &str) -> Option<Self> {
        let words = line.strip_prefix("ready ")?;
        let word = |key: &str| {
            let mut words = words.split_whitespace().filter_map(|word| word.split_once('='));
            words.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
        };
        Some(Self { admin: word("admin")?, http: word("http")? })
    }
}

/// Its last word, which is the reason.
fn lost(last: Option<String>) -> Failure {
    let last = last.unwrap_or_else(|| "it said nothing".to_owned());
    let last = last.strip_prefix("error: ").unwrap_or(&last);
    Failure::new("node", Ran::Maybe, format!("the node that was started here ended: {last}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_node_is_stands_in_its_ready_line() {
        let line = "ready name=dev id=0f lattice=default admin=http://127.0.0.1:7700 http=http://127.0.0.1:7780 nats=x";
        let ready = Ready { admin: "http://127.0.0.1:7700".into(), http: "http://127.0.0.1:7780".into() };
        assert_eq!(Ready::find(line), Some(ready));
        assert_eq!(Ready::find("waiting for NATS"), None);
    }

    #[test]
    fn an_address_that_is_taken_is_left_to_whoever_has_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(free(&taken.local_addr().unwrap().to_string()), "127.0.0.1:0");
    }
}
