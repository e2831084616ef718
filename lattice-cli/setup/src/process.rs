//! Running other programs: with a time bound, and with what they wrote kept for the error message.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use crate::{Error, Result};

/// Runs a program quietly and returns what it wrote on stdout; a failure carries the last line of stderr.
pub fn capture(command: &mut Command, bound: Duration) -> Result<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::Start { program: name(command), source })?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    match wait(&mut child, bound) {
        Ended::In(status) if status.success() => Ok(join(stdout)),
        Ended::In(status) => {
            let errors = join(stderr);
            let last =
                errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message").trim();
            Err(Error::Failed { command: line(command), outcome: format!("failed with {status}: {last}") })
        }
        // The readers are left alone: a grandchild may hold the pipes open for ever.
        Ended::Late => Err(late(command, bound)),
    }
}

/// Runs a program whose output goes where ours does.
pub fn show(command: &mut Command, bound: Duration) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .spawn()
        .map_err(|source| Error::Start { program: name(command), source })?;
    match wait(&mut child, bound) {
        Ended::In(status) if status.success() => Ok(()),
        Ended::In(status) => {
            Err(Error::Failed { command: line(command), outcome: format!("failed with {status}") })
        }
        Ended::Late => Err(late(command, bound)),
    }
}

/// Runs a program whose messages go where ours do, and returns what it wrote on stdout.
pub fn tell(command: &mut Command, bound: Duration) -> Result<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| Error::Start { program: name(command), source })?;
    let stdout = collect(child.stdout.take());
    match wait(&mut child, bound) {
        Ended::In(status) if status.success() => Ok(join(stdout)),
        Ended::In(status) => {
            Err(Error::Failed { command: line(command), outcome: format!("failed with {status}") })
        }
        Ended::Late => Err(late(command, bound)),
    }
}

/// Every executable file of that name on PATH, in PATH's order.
pub fn on_path(program: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(program)).filter(|file| is_executable(file)).collect()
}

pub fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The command as somebody would type it, for messages.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

enum Ended {
    In(ExitStatus),
    Late,
}

fn wait(child: &mut std::process::Child, bound: Duration) -> Ended {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ended::In(status),
            Ok(None) if start.elapsed() < bound => {
                thread::sleep(pause);
                // Quick programs are noticed at once, slow ones cost nothing.
                pause = (pause * 2).min(Duration::from_millis(100));
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Ended::Late;
            }
        }
    }
}

fn late(command: &Command, bound: Duration) -> Error {
    Error::Failed { command: line(command), outcome: format!("did not end within {} s", bound.as_secs()) }
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn join(reader: thread::JoinHandle<String>) -> String {
    reader.join().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failure_carries_the_last_line_of_stderr() {
        let error =
            capture(&mut shell("echo one >&2; echo two >&2; echo >&2; exit 3"), Duration::from_secs(5));
        let text = error.unwrap_err().to_string();
        assert!(text.ends_with("two"), "{text}");
        assert!(text.contains('3'), "{text}");
    }

    #[test]
    fn output_larger_than_a_pipe_does_not_block() {
        let text = capture(&mut shell("head -c 300000 /dev/zero"), Duration::from_secs(20)).unwrap();
        assert_eq!(text.len(), 300_000);
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let start = Instant::now();
        let error = capture(&mut shell("exec sleep 60"), Duration::from_millis(200)).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = capture(&mut Command::new("no-such-program-here"), Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("no-such-program-here"), "{error}");
    }
}
