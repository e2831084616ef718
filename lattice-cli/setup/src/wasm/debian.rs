//! Debian's way, for machines that reach the distribution's packages but not rustup's server.
//!
//! Debian 12 has a Rust of its own that is new enough, with the standard library's source and its vendored
//! dependencies, and a C library for WASI. The standard library is built along with the first actor, and stays in the
//! target folder. What Debian does not have is `wasm-component-ld`; any toolchain of rustup's has it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use semver::Version;

use super::environment;
use crate::debian::{apt_get, is_root};
use crate::process::{capture, is_executable, on_path, show};
use crate::{Notice, Report};

const PACKAGES: [&str; 5] = ["rustc-web", "cargo-web", "rust-web-src", "wasi-libc", "lld"];
const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";
const STD_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/std";
const WASI_LIBC: &str = "/usr/lib/wasm32-wasi";

/// The workspace's own minimum; Debian's plain `rustc` package is years older.
const MINIMUM_RUST: Version = Version::new(1, 95, 0);

const QUICK: Duration = Duration::from_secs(60);
const INSTALL_BOUND: Duration = Duration::from_secs(1200);

/// A complete set of Debian's packages, with a linker that makes components.
#[derive(Debug, Clone)]
pub struct BuildStd {
    component_linker: PathBuf,
    /// The folder that holds `wasm-ld`, where it is not `/usr/bin`.
    wasm_ld: Option<PathBuf>,
}

impl BuildStd {
    /// Debian's cargo, which takes Debian's rustc, and builds the standard library for Wasm when it is told to.
    pub fn cargo(&self, folder: &Path) -> Command {
        let mut cargo = environment::tool(CARGO, folder);
        cargo
            .env_remove("RUSTUP_TOOLCHAIN")
            // `-Zbuild-std` is not stable; this lets a stable compiler take it.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTC", RUSTC)
            .env("PATH", self.search_path(env::var_os("PATH")))
            .env("CARGO_TARGET_WASM32_WASIP2_LINKER", &self.component_linker)
            .env(
                "CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS",
                format!("-L native={WASI_LIBC} -C link-self-contained=no"),
            );
        cargo
    }

    /// `/usr/bin` goes first, so that whatever cargo starts is Debian's too; except `wasm-ld`, which should be as new as
    /// the compiler.
    fn search_path(&self, path: Option<OsString>) -> OsString {
        let first = self.wasm_ld.clone().into_iter().chain([PathBuf::from("/usr/bin")]);
        let path = path.unwrap_or_default();
        let all = first.chain(env::split_paths(&path));
        env::join_paths(all).unwrap_or(path.clone())
    }

    #[cfg(test)]
    pub fn pretend() -> Self {
        Self { component_linker: "/tools/wasm-component-ld".into(), wasm_ld: Some("/tools/gcc-ld".into()) }
    }
}

/// Looks whether everything is there; an error says what is not, as part of a sentence.
pub fn look(project: &Path) -> Result<BuildStd, String> {
    packages()?;
    linkers(project)
}

/// Installs the packages as root; an error is the reason, as part of a sentence.
pub fn install(project: &Path, report: Report) -> Result<BuildStd, String> {
    // Asked first: without it the packages are of no use.
    let build_std = linkers(project);
    if let Err(missing) = packages() {
        build_std.as_ref().map_err(Clone::clone)?;
        if on_path("apt-get").is_empty() {
            return Err(format!("{missing}, and this system has no apt-get"));
        }
        if !is_root() {
            return Err(format!("{missing}, and only root can install it"));
        }
        report(Notice::Getting(format!("installing {} with apt-get", PACKAGES.join(", "))));
        show(&mut apt_get(&["update", "--quiet"]), INSTALL_BOUND).map_err(|error| error.to_string())?;
        let arguments = [&["install", "--yes", "--quiet", "--no-install-recommends"], &PACKAGES[..]].concat();
        show(&mut apt_get(&arguments), INSTALL_BOUND).map_err(|error| error.to_string())?;
        packages()?;
    }
    build_std.or_else(|_| linkers(project))
}

/// What a person types.
pub fn install_command() -> String {
    format!("apt-get install {}", PACKAGES.join(" "))
}

fn packages() -> Result<(), String> {
    let version = capture(Command::new(RUSTC).arg("--version").env_remove("LD_LIBRARY_PATH"), QUICK);
    let version = version.ok().and_then(|text| parse_version(&text));
    match version {
        None => return Err(format!("there is no compiler at {RUSTC}")),
        Some(old) if old < MINIMUM_RUST => {
            return Err(format!("{RUSTC} is version {old}, older than {MINIMUM_RUST}"));
        }
        Some(_) => {}
    }
    let missing = [CARGO, STD_SOURCE, WASI_LIBC].into_iter().find(|path| !Path::new(path).exists());
    missing.map_or(Ok(()), |path| Err(format!("{path} is missing")))
}

/// `wasm-component-ld` and `wasm-ld`, from the toolchain that is meant in `project`, else from PATH.
fn linkers(project: &Path) -> Result<BuildStd, String> {
    let tools = rust_tools(project);
    let component_linker =
        tools.iter().map(|tools| tools.join("wasm-component-ld")).find(|file| is_executable(file));
    let component_linker = component_linker.or_else(|| on_path("wasm-component-ld").into_iter().next());
    let component_linker = component_linker
        .ok_or("wasm-component-ld is missing: `cargo install wasm-component-ld` builds it, and rustup's toolchains have it")?;
    let wasm_ld =
        tools.map(|tools| tools.join("gcc-ld")).filter(|folder| is_executable(&folder.join("wasm-ld")));
    Ok(BuildStd { component_linker, wasm_ld })
}

/// `$(rustc --print sysroot)/lib/rustlib/<host>/bin`.
fn rust_tools(project: &Path) -> Option<PathBuf> {
    let ask = |arguments: &[&str]| capture(environment::tool("rustc", project).args(arguments), QUICK).ok();
    let sysroot = ask(&["--print", "sysroot"])?;
    let verbose = ask(&["--version", "--verbose"])?;
    let host = verbose.lines().find_map(|line| line.strip_prefix("host: "))?;
    Some(Path::new(sysroot.trim()).join("lib/rustlib").join(host.trim()).join("bin"))
}

/// Reads `rustc 1.96.0 (…)`.
fn parse_version(text: &str) -> Option<Version> {
    Version::parse(text.split_whitespace().nth(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiler_versions_are_read() {
        assert_eq!(parse_version("rustc 1.96.0 (ac68faa20 2026-05-25)\n"), Some(Version::new(1, 96, 0)));
        assert!(parse_version("rustc 1.63.0").unwrap() < MINIMUM_RUST);
        assert_eq!(parse_version("command not found"), None);
    }

    #[test]
    fn debians_programs_come_before_rustups() {
        let path = BuildStd::pretend().search_path(Some("/rustup/bin:/bin".into()));
        assert_eq!(path, "/tools/gcc-ld:/usr/bin:/rustup/bin:/bin");
    }

    #[test]
    fn no_flag_of_the_caller_reaches_the_compiler() {
        let cargo = BuildStd::pretend().cargo(Path::new("/project"));
        let set: Vec<_> = cargo.get_envs().collect();
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTUP_TOOLCHAIN"] {
            assert!(set.iter().any(|(key, value)| *key == name && value.is_none()), "{name} is removed");
        }
        let flags =
            set.iter().find(|(key, _)| *key == "CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS").unwrap().1.unwrap();
        assert_eq!(flags, "-L native=/usr/lib/wasm32-wasi -C link-self-contained=no");
    }
}
