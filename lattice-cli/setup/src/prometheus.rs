//! Prometheus: on PATH, in our cache folder, and at last Debian's package, of which only the files are taken: nothing is
//! installed and no service is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cache::{self, Workshop};
use crate::process::{capture, on_path};
use crate::{Error, Notice, Report, Result};

const DOWNLOAD_BOUND: Duration = Duration::from_secs(300);
const QUICK: Duration = Duration::from_secs(20);

/// A Prometheus server; gets it on the first call.
///
/// # Errors
/// When there is none and Debian's package cannot be had. Callers that only test with it say so loudly and go on.
pub fn prometheus(report: Report) -> Result<PathBuf> {
    let cached = cache::folder()?.join("prometheus");
    let found = on_path("prometheus").into_iter().chain([cached.clone()]).find(|path| usable(path));
    if let Some(path) = found {
        report(Notice::Found(format!("Prometheus ({})", path.display())));
        return Ok(path);
    }
    report(Notice::Getting("getting Prometheus from Debian's packages for the tests".to_owned()));
    let workshop = Workshop::open(&cache::folder()?)?;
    let download = || {
        capture(
            Command::new("apt-get").args(["download", "prometheus"]).current_dir(workshop.path()),
            DOWNLOAD_BOUND,
        )
    };
    if download().is_err() {
        // A machine on which nobody has asked for packages yet knows of none. Only root may have them listed.
        capture(Command::new("apt-get").args(["update", "--quiet"]), DOWNLOAD_BOUND).map_err(missing)?;
        download().map_err(missing)?;
    }
    let package = package(workshop.path())?;
    let mut unpack = Command::new("dpkg-deb");
    capture(unpack.arg("--extract").arg(package).arg(workshop.path().join("files")), DOWNLOAD_BOUND)
        .map_err(missing)?;
    let program = workshop.path().join("files/usr/bin/prometheus");
    if !usable(&program) {
        return Err(Error::NoPrometheus { reason: "the package's program does not run".to_owned() });
    }
    cache::publish_file(&program, &cached)?;
    report(Notice::Done(format!("got Prometheus ({})", cached.display())));
    Ok(cached)
}

fn missing(error: Error) -> Error {
    Error::NoPrometheus { reason: error.to_string() }
}

/// The file that was downloaded, whatever its version.
fn package(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    files.find(is_package).ok_or_else(|| Error::NoPrometheus { reason: "no package came".to_owned() })
}

fn usable(program: &Path) -> bool {
    capture(Command::new(program).arg("--version").env_remove("LD_LIBRARY_PATH"), QUICK)
        .is_ok_and(|version| version.contains("prometheus"))
}
