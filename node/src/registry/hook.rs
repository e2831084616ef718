//! A program of the operator's that says whether an artifact may be used, by its signature for example. It is run as it is named, by no
//! shell, with the pinned reference as its last argument: so `cosign verify --key …` is one.

use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use lattice_proto::{Digest, Reference};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::Error;

/// How long it may take. It may have to ask servers of its own.
const BOUND: Duration = Duration::from_secs(60);

/// How long what it wrote last may take to come once it has ended. What it started and left behind may write for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is repeated of what it says, in bytes and lines.
const MAX_SAID: usize = 2 << 10;
const LINES: usize = 5;

/// Asks it; who names no program admits all.
///
/// # Errors
/// When it says no, does not say anything in time, or is not there.
pub(super) async fn admit(verify: &[String], pinned: &Reference, digest: &Digest) -> Result<(), Error> {
    let Some((program, arguments)) = verify.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg(pinned.plain())
        .env("LATTICE_REFERENCE", pinned.to_string())
        .env("LATTICE_MANIFEST_DIGEST", pinned.digest().map_or("", |digest| digest.as_str()))
        .env("LATTICE_ARTIFACT_DIGEST", digest.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let failed = |reason: String| Error::Hook(format!("`{program}`, {reason}"));
    let mut child = command.spawn().map_err(|error| failed(format!("cannot be run: {error}")))?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let mut kept = Vec::new();
    let status = {
        let mut listening = pin!(listen(child.stderr.take(), &mut kept));
        let mut is_silent = false;
        let ended = tokio::time::timeout(BOUND, async {
            loop {
                tokio::select! {
                    status = child.wait() => return status,
                    () = &mut listening, if !is_silent => is_silent = true,
                }
            }
        });
        let status = ended.await.map_err(|_| failed(format!("did not end within {} s", BOUND.as_secs())))?;
        // Its number may be another's from now on.
        group.0 = None;
        if !is_silent {
            // What counts is how it ended.
            let _ = tokio::time::timeout(LAST_WORDS, listening).await;
        }
        status.map_err(|error| failed(format!("cannot be waited for: {error}")))?
    };
    let said = shown(&kept);
    match status.success() {
        true => Ok(()),
        false if said.is_empty() => Err(Error::NotAdmitted(format!("`{program}` ends with {status}"))),
        false => Err(Error::NotAdmitted(format!("`{program}` says: {said}"))),
    }
}

/// The program, with all that it has started, until it has ended by itself.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended a moment ago, which is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Keeps the beginning of what it writes. The rest is read as well, lest it wait for somebody to do so.
async fn listen(stderr: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    if let Some(mut stderr) = stderr {
        while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
            let room = MAX_SAID - kept.len();
            kept.extend_from_slice(&buffer[..read.min(room)]);
        }
    }
}

/// The first lines of it, on one.
fn shown(kept: &[u8]) -> String {
    let text = String::from_utf8_lossy(kept);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(LINES);
    lines.collect::<Vec<_>>().join("; ").replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(verify: &[&str]) -> Result<(), String> {
        let reference = "oci://a.example/b:1".parse::<Reference>().unwrap();
        let (pinned, digest) = (reference.pinned(Digest::of(b"m")), Digest::of(b"l"));
        let verify: Vec<String> = verify.iter().map(|word| (*word).to_owned()).collect();
        admit(&verify, &pinned, &digest).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn what_it_leaves_behind_is_not_waited_for() {
        // Whoever holds its standard error may go on for as long as this test has patience, and longer.
        let start = std::time::Instant::now();
        assert_eq!(asked(&["sh", "-c", "sleep 50 & exit 0"]).await, Ok(()));
        let error = asked(&["sh", "-c", "sleep 50 & echo no >&2; exit 1"]).await.unwrap_err();
        assert!(error.ends_with("says: no"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn what_it_has_started_ends_with_it_when_nobody_waits_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("child");
        let script = format!("sleep 50 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
        let words = ["sh", "-c", script.as_str()];
        let mut asking = Box::pin(asked(&words));
        let child = loop {
            // It ends only when it is told to.
            assert!(tokio::time::timeout(Duration::from_millis(10), &mut asking).await.is_err());
            if let Ok(text) = std::fs::read_to_string(&file) {
                break text.trim().to_owned();
            }
        };
        drop(asking);
        // One that has ended and that nobody waited for has no command line any more.
        let command = format!("/proc/{child}/cmdline");
        while std::fs::read(&command).is_ok_and(|line| !line.is_empty()) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn its_exit_code_decides_and_its_words_are_repeated() {
        let (manifest, layer) = (Digest::of(b"m"), Digest::of(b"l"));
        assert_eq!(asked(&[]).await, Ok(()));
        // The reference comes last, and the shell of this test calls it `$0`.
        let looks = format!(
            "[ \"$0\" = a.example/b@{manifest} ] && [ $LATTICE_REFERENCE = oci://a.example/b:1@{manifest} ] && \
             [ $LATTICE_MANIFEST_DIGEST = {manifest} ] && [ $LATTICE_ARTIFACT_DIGEST = {layer} ]"
        );
        assert_eq!(asked(&["sh", "-c", &looks]).await, Ok(()));
        let error = asked(&["sh", "-c", "echo no >&2; echo signature >&2; exit 3"]).await.unwrap_err();
        assert!(error.ends_with("`sh` says: no; signature"), "{error}");
        let error = asked(&["sh", "-c", "exit 3"]).await.unwrap_err();
        assert!(error.contains("exit status: 3"), "{error}");
        let error = asked(&["/no/such/program"]).await.unwrap_err();
        assert!(error.contains("cannot be run"), "{error}");
        let error =
            asked(&["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1"]).await.unwrap_err();
        assert!(error.len() < 2 * MAX_SAID, "{}", error.len());
    }
}
