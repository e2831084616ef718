//! Programs of Debian's packages that are installed as a whole: as root with apt-get, otherwise by whoever reads the message.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::{on_path, show};
use crate::{Error, Notice, Report, Result};

const INSTALL_BOUND: Duration = Duration::from_secs(900);

/// The terminal in which full-screen programs are tested.
///
/// # Errors
/// When it is not there and cannot be installed. Callers that only test with it say so loudly and go on.
pub fn tmux(report: Report) -> Result<PathBuf> {
    program("tmux", &["tmux"], report)
}

/// What HTTP is measured with.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn wrk(report: Report) -> Result<PathBuf> {
    program("wrk", &["wrk"], report)
}

/// The browser in which the web page is tested, with what drives it and something to write with.
pub(crate) fn chromium(report: Report) -> Result<()> {
    let packages = &["chromium", "chromium-driver", "fonts-dejavu-core"];
    program("chromium", packages, report)?;
    program("chromedriver", packages, report).map(drop)
}

fn program(name: &'static str, packages: &'static [&'static str], report: Report) -> Result<PathBuf> {
    if let Some(path) = on_path(name).into_iter().next() {
        report(Notice::Found(format!("{name} ({})", path.display())));
        return Ok(path);
    }
    install(name, packages, report)
}

/// A Python that makes virtual environments.
pub(crate) fn python(report: Report) -> Result<PathBuf> {
    install("python3", &["python3", "python3-venv"], report)
}

/// Installs packages for a program that is in them.
fn install(name: &'static str, packages: &'static [&'static str], report: Report) -> Result<PathBuf> {
    let package = packages[0];
    let missing = |reason: String| Error::NoPackage { program: name, package, reason };
    if on_path("apt-get").is_empty() {
        return Err(missing("this system has no apt-get".to_owned()));
    }
    if !is_root() {
        return Err(missing("only root may install packages".to_owned()));
    }
    report(Notice::Getting(format!("installing {} with apt-get", packages.join(", "))));
    let run = |arguments: &[&str]| {
        show(&mut apt_get(arguments), INSTALL_BOUND).map_err(|error| missing(error.to_string()))
    };
    run(&["update", "--quiet"])?;
    run(&[&["install", "--yes", "--quiet", "--no-install-recommends"], packages].concat())?;
    let path = on_path(name).into_iter().next();
    let path = path.ok_or_else(|| missing("the package does not have it".to_owned()))?;
    report(Notice::Done(format!("got {name} ({})", path.display())));
    Ok(path)
}

pub(crate) fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
