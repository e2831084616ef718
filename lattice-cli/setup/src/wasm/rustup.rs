//! The ordinary way: the toolchain has the target, or rustup adds it.
//!
//! Any compiler that has the target counts, also one that rustup did not install.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{TARGET, environment};
use crate::process::{capture, on_path, show};
use crate::{Notice, Report};

/// Adding the target took 1.5 s where it was tried; where its server is out of reach rustup keeps trying for long.
const BOUND: Duration = Duration::from_secs(120);

/// Whether the compiler that is meant in `project` has the target.
pub fn is_installed(project: &Path) -> bool {
    let mut rustc = environment::tool("rustc", project);
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    // The command succeeds also without the target, so the folder decides.
    capture(&mut rustc, BOUND).is_ok_and(|folder| PathBuf::from(folder.trim()).is_dir())
}

/// Adds the target; an error is the reason, as part of a sentence.
pub fn install(project: &Path, report: Report) -> Result<(), String> {
    if on_path("rustup").is_empty() {
        return Err("rustup is not on PATH".into());
    }
    report(Notice::Getting(format!("adding {TARGET} with rustup")));
    let mut rustup = environment::tool("rustup", project);
    show(rustup.args(["target", "add", TARGET]), BOUND).map_err(|error| error.to_string())?;
    if is_installed(project) {
        return Ok(());
    }
    Err(format!("rustup added {TARGET}, but not to the compiler that is on PATH here"))
}
