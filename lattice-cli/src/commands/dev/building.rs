//! Compiling in a process of its own, `lattice build --quick`, that is ended with all that it started when nobody waits for
//! it any more.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::Stdio;

use lattice_proto::Ran;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::commands::build::Built;
use crate::failure::Failure;

/// A build that goes on.
pub struct Building {
    child: Child,
    /// Its group, until it has ended by itself.
    group: Option<Pid>,
    /// It ends once nobody holds this any more.
    _lifeline: Option<ChildStdin>,
}

impl Building {
    /// Begins to compile these actors. The first time is worth to be told of all along.
    pub fn start(manifest: &Path, actors: &[String], is_first: bool) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--output", "json", "build", "--quick", "--while-stdin-is-open"]);
        command.args(actors.iter().flat_map(|actor| ["--actor", actor])).arg("--").arg(manifest);
        if !is_first {
            command.env("CARGO_TERM_QUIET", "true");
        }
        let has_colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        if has_colour && std::env::var_os("CARGO_TERM_COLOR").is_none() {
            // Cargo sees the pipe in between.
            command.env("CARGO_TERM_COLOR", "always");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        // Out of the child, which lets go of it when it is waited for.
        let lifeline = child.stdin.take();
        Ok(Self { child, group, _lifeline: lifeline })
    }

    /// Waits for its end. Messages of compilers go to stderr as they come.
    pub async fn finish(mut self) -> Result<Vec<Built>, Failure> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let result = async {
            let mut text = String::new();
            match stdout {
                Some(mut stdout) => stdout.read_to_string(&mut text).await.map(|_| text),
                None => Ok(text),
            }
        };
        let messages = async {
            let mut failure = None;
            let Some(stderr) = stderr else { return failure };
            let mut lines = BufReader::new(stderr).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                match told(&line) {
                    Some(told) => failure = Some(told),
                    // A closed stderr is no reason to stop.
                    None => drop(std::io::stderr().write_all(&[&line[..], b"\n"].concat())),
                }
            }
            failure
        };
        let (result, failure) = tokio::join!(result, messages);
        let status = self.child.wait().await?;
        // Its number may be another's from now on.
        self.group = None;
        match failure {
            _ if status.success() => Ok(serde_json::from_str(&result?).map_err(anyhow::Error::from)?),
            Some(failure) => Err(failure),
            None => Err(Failure::new("setup", Ran::No, format!("`lattice build` ended with {status}"))),
        }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // It may have ended a moment ago, which is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The failure, if this is the line in which the build tells it.
fn told(line: &[u8]) -> Option<Failure> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let error = line.get("error")?;
    Some(Failure::new(error["kind"].as_str()?, Ran::No, error["message"].as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builds_own_failure_is_told_from_what_compilers_say() {
        let failure = told(br#"{"error":{"kind":"setup","message":"no project","ran":"no"}}"#).unwrap();
        assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("setup", "no project"));
        for line in ["error: expected `;`", "{\"reason\":\"build-finished\"}", "", "{"] {
            assert!(told(line.as_bytes()).is_none(), "{line}");
        }
    }
}
