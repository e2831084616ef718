//! The Wasm toolchain: what on this machine compiles Rust to a component.
//!
//! Two ways are known. An *installed target*: the toolchain has the standard library for `wasm32-wasip2`, from rustup as
//! a rule. *Debian*: the distribution's own compiler, which has the standard library's source and builds it along. What
//! is there already is used before anything is fetched, and `LATTICE_WASM_TOOLCHAIN` forces a way. The choice is made
//! for a project's folder, as a `rust-toolchain.toml` there decides which compiler is meant.

mod debian;
mod environment;
mod rustup;

pub use environment::forget_package;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt};

use crate::{Error, Notice, Report, Result};

/// The target: it gives a component at once.
pub const TARGET: &str = "wasm32-wasip2";

/// A way that somebody insists on, by `LATTICE_WASM_TOOLCHAIN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// The toolchain's own target, and `rustup target add` where it is missing.
    Rustup,
    /// Debian's packages.
    Debian,
}

impl Force {
    /// Reads the variable's value; unset and empty mean that nothing is forced.
    fn parse(value: Option<&str>) -> Result<Option<Force>> {
        match value {
            None | Some("") => Ok(None),
            Some("rustup") => Ok(Some(Force::Rustup)),
            Some("debian") => Ok(Some(Force::Debian)),
            Some(other) => Err(Error::BadForce(other.to_owned())),
        }
    }

    fn from_environment() -> Result<Option<Force>> {
        Force::parse(
            env::var_os("LATTICE_WASM_TOOLCHAIN").as_deref().map(|value| value.to_string_lossy()).as_deref(),
        )
    }
}

/// A toolchain that was found complete.
#[derive(Debug, Clone)]
pub struct WasmToolchain(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Installed,
    Debian(debian::BuildStd),
}

impl fmt::Display for WasmToolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Installed => write!(f, "Wasm target {TARGET} of the installed Rust toolchain"),
            Kind::Debian(_) => {
                write!(f, "Debian's Rust, which builds the standard library for {TARGET} along")
            }
        }
    }
}

impl WasmToolchain {
    /// Cargo, to be run in `folder`, with an environment in which nothing of the caller's own build misleads it.
    pub(crate) fn cargo(&self, folder: &Path) -> Command {
        match &self.0 {
            Kind::Installed => environment::tool("cargo", folder),
            Kind::Debian(build_std) => build_std.cargo(folder),
        }
    }

    /// What `cargo build` needs besides.
    pub(crate) fn build_arguments(&self) -> &'static [&'static str] {
        match self.0 {
            Kind::Installed => &["--target", TARGET],
            Kind::Debian(_) => &["--target", TARGET, "-Zbuild-std=std,panic_abort"],
        }
    }

    /// The folder to build in, given the workspace's own. Two compilers in one folder would undo each other's work.
    pub(crate) fn target_folder(&self, workspaces_own: &Path) -> PathBuf {
        match self.0 {
            Kind::Installed => workspaces_own.to_owned(),
            Kind::Debian(_) => workspaces_own.join("debian"),
        }
    }
}

/// Looks for a toolchain that compiles what lies at `project`, a folder or a file in it, and gets none.
///
/// # Errors
/// When there is no such folder, or `LATTICE_WASM_TOOLCHAIN` holds an unknown word.
pub fn find_wasm_toolchain(project: &Path) -> Result<Option<WasmToolchain>> {
    Ok(look(&folder_of(project)?, Force::from_environment()?))
}

/// Looks for a toolchain that compiles what lies at `project`, a folder or a file in it, and installs what is missing:
/// with rustup, else, as root on Debian, with apt-get.
///
/// # Errors
/// When there is no such folder, or neither way works here; the message says what was tried and which command helps.
pub fn wasm_toolchain(project: &Path, report: Report) -> Result<WasmToolchain> {
    let (folder, force) = (folder_of(project)?, Force::from_environment()?);
    if let Some(toolchain) = look(&folder, force) {
        report(Notice::Found(toolchain.to_string()));
        return Ok(toolchain);
    }
    let toolchain = get(&folder, force, report)?;
    report(Notice::Done(format!("got {toolchain}")));
    Ok(toolchain)
}

/// Programs are started in it, so it must be there.
fn folder_of(project: &Path) -> Result<PathBuf> {
    let path = project.canonicalize().map_err(Error::io("read", project))?;
    Ok(if path.is_dir() { path } else { path.parent().unwrap_or(&path).to_owned() })
}

fn look(project: &Path, force: Option<Force>) -> Option<WasmToolchain> {
    if force != Some(Force::Debian) && rustup::is_installed(project) {
        return Some(WasmToolchain(Kind::Installed));
    }
    // A complete Debian is used before rustup is asked to download: on a machine whose rustup cannot reach its server,
    // every single build would wait for that otherwise.
    if force != Some(Force::Rustup)
        && let Ok(build_std) = debian::look(project)
    {
        return Some(WasmToolchain(Kind::Debian(build_std)));
    }
    None
}

fn get(project: &Path, force: Option<Force>, report: Report) -> Result<WasmToolchain> {
    let mut failures = Vec::new();
    if force != Some(Force::Debian) {
        match rustup::install(project, report) {
            Ok(()) => return Ok(WasmToolchain(Kind::Installed)),
            Err(reason) => failures.push(reason),
        }
    }
    if force != Some(Force::Rustup) {
        if let Some(reason) = failures.last() {
            report(Notice::Warning(format!("{reason}; trying Debian's packages")));
        }
        match debian::install(project, report) {
            Ok(build_std) => return Ok(WasmToolchain(Kind::Debian(build_std))),
            Err(reason) => failures.push(reason),
        }
    }
    Err(Error::NoWasmToolchain { reason: failures.join("; "), advice: advice(force) })
}

fn advice(force: Option<Force>) -> String {
    let rustup = format!("run `rustup target add {TARGET}`");
    let debian = format!("run `{}` as root on Debian 12", debian::install_command());
    match force {
        Some(Force::Rustup) => rustup,
        Some(Force::Debian) => debian,
        None => format!("{rustup}, or {debian}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forcing_variable_knows_two_words() {
        assert_eq!(Force::parse(None).unwrap(), None);
        assert_eq!(Force::parse(Some("")).unwrap(), None);
        assert_eq!(Force::parse(Some("rustup")).unwrap(), Some(Force::Rustup));
        assert_eq!(Force::parse(Some("debian")).unwrap(), Some(Force::Debian));
        assert!(Force::parse(Some("Debian")).unwrap_err().to_string().contains("`Debian`"));
    }

    #[test]
    fn the_advice_names_only_the_way_that_was_forced() {
        assert!(!advice(Some(Force::Rustup)).contains("apt-get"));
        assert!(!advice(Some(Force::Debian)).contains("rustup"));
        assert!(advice(None).contains("apt-get") && advice(None).contains("rustup"));
    }

    #[test]
    fn a_project_is_named_by_its_folder_or_by_a_file_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lattice.toml");
        std::fs::write(&file, "").unwrap();
        assert_eq!(folder_of(&file).unwrap(), folder_of(folder.path()).unwrap());
        assert!(folder_of(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn the_two_ways_build_in_different_folders() {
        let installed = WasmToolchain(Kind::Installed);
        let debian = WasmToolchain(Kind::Debian(debian::BuildStd::pretend()));
        let own = Path::new("/project/target");
        assert_eq!(installed.target_folder(own), own);
        assert_eq!(debian.target_folder(own), own.join("debian"));
    }
}
