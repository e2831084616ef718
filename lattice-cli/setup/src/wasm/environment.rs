//! The environment that a Rust tool is started in; never the caller's as it is.
//!
//! We are often run by cargo ourselves (`cargo xtask`, a test), which leaves variables behind that describe *that* build
//! and would change ours without a word: `RUSTFLAGS` replaces the flags that Debian's way needs, `RUSTUP_TOOLCHAIN`
//! beats a project's `rust-toolchain.toml`, a clippy wrapper would check and build nothing.

use std::env;
use std::path::Path;
use std::process::Command;

const MISLEADING: [&str; 11] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTDOC",
    "RUST_RECURSION_COUNT",
];

/// What cargo tells a program about the package that it was built from, by the beginnings of the names. Build scripts
/// watch some of them, so that a cargo that inherits them builds again what it has already.
const PACKAGE: [&str; 6] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"];

/// A Rust tool, to be run in `folder`.
pub fn tool(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    forget_package(&mut command);
    for name in MISLEADING {
        command.env_remove(name);
    }
    // Set by a person it is a wish, set by rustup for the cargo above us it is only a memory.
    if env::var_os("CARGO").is_some() {
        command.env_remove("RUSTUP_TOOLCHAIN");
    }
    command
}

/// Removes what a cargo above us left behind about the package that we are.
pub fn forget_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if is_about_package(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    // Cargo points it at its own libraries, which another compiler must not load.
    command.env_remove("LD_LIBRARY_PATH");
}

fn is_about_package(name: &str) -> bool {
    PACKAGE.iter().any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_describes_a_package_is_told_from_what_configures_cargo() {
        for name in ["CARGO_PKG_VERSION", "CARGO_MANIFEST_DIR", "CARGO_BIN_NAME", "OUT_DIR"] {
            assert!(is_about_package(name), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_NET_OFFLINE", "PATH", "CARGO_BUILD_JOBS"] {
            assert!(!is_about_package(name), "{name}");
        }
    }
}
