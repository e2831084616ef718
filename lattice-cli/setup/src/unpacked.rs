//! Servers for tests: on PATH, in our cache folder, and at last out of Debian's packages, of which only the files are taken: nothing is
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

/// A program with nothing else around it. It tells its version when it is asked to.
struct Server {
    /// For people.
    name: &'static str,
    /// The program, and its package.
    program: &'static str,
    /// What the cache has it as. It is another name when what is taken changes.
    cached: &'static str,
}

/// A Prometheus server; gets it on the first call.
///
/// # Errors
/// When there is none and Debian's package cannot be had. Callers that only test with it say so loudly and go on.
pub fn prometheus(report: Report) -> Result<PathBuf> {
    Server { name: "Prometheus", program: "prometheus", cached: "prometheus" }.get(report)
}

/// A registry of artifacts; gets it on the first call.
///
/// # Errors
/// When there is none and Debian's package cannot be had. Callers that only test with it say so loudly and go on.
pub fn registry(report: Report) -> Result<PathBuf> {
    Server { name: "a registry", program: "docker-registry", cached: "docker-registry-1" }.get(report)
}

impl Server {
    fn get(&self, report: Report) -> Result<PathBuf> {
        let Self { name, program, .. } = self;
        let cached = cache::folder()?.join(self.cached);
        let found = on_path(program).into_iter().chain([cached.clone()]).find(|path| self.runs(path));
        if let Some(path) = found {
            report(Notice::Found(format!("{name} ({})", path.display())));
            return Ok(path);
        }
        report(Notice::Getting(format!("getting {name} from Debian's packages for the tests")));
        let workshop = Workshop::open(&cache::folder()?)?;
        let download = || {
            capture(
                Command::new("apt-get").args(["download", program]).current_dir(workshop.path()),
                DOWNLOAD_BOUND,
            )
        };
        if download().is_err() {
            // A machine on which nobody has asked for packages yet knows of none. Only root may have them listed.
            let update = capture(Command::new("apt-get").args(["update", "--quiet"]), DOWNLOAD_BOUND);
            update.and_then(|_| download()).map_err(|error| self.missing(&error))?;
        }
        let package = self.package(workshop.path())?;
        let mut unpack = Command::new("dpkg-deb");
        capture(unpack.arg("--extract").arg(package).arg(workshop.path().join("files")), DOWNLOAD_BOUND)
            .map_err(|error| self.missing(&error))?;
        let unpacked = workshop.path().join("files/usr/bin").join(program);
        if !self.runs(&unpacked) {
            return Err(self.missing(&"the package's program does not run"));
        }
        cache::publish_file(&unpacked, &cached)?;
        report(Notice::Done(format!("got {name} ({})", cached.display())));
        Ok(cached)
    }

    fn missing(&self, reason: &dyn ToString) -> Error {
        Error::NoPackage { program: self.program, package: self.program, reason: reason.to_string() }
    }

    /// The file that was downloaded, whatever its version.
    fn package(&self, folder: &Path) -> Result<PathBuf> {
        let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
        let mut files = entries.flatten().map(|entry| entry.path());
        let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
        files.find(is_package).ok_or_else(|| self.missing(&"no package came"))
    }

    fn runs(&self, program: &Path) -> bool {
        capture(Command::new(program).arg("--version").env_remove("LD_LIBRARY_PATH"), QUICK)
            .is_ok_and(|version| version.contains(self.program))
    }
}
