//! The environment that a Rust tool is started in; never the caller's as it is.
//!
//! We are often run by cargo ourselves (`cargo xtask`, a test), which leaves variables behind that describe *that* build
//! and would change ours without a word: `RUSTFLAGS` replaces the flags that Debian's way needs, `RUSTUP_TOOLCHAIN`
//! beats a project's `rust-toolchain.toml`, a clippy wrapper would check and build nothing.

use std::env;
use std::path::Path;
use std::process::Command;

const MISLEADING: [&str; 14] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTDOC",
    "RUST_RECURSION_COUNT",
    // Cargo points it at its own libraries, which another compiler must not load.
    "LD_LIBRARY_PATH",
];

/// A Rust tool, to be run in `folder`.
pub fn tool(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    for name in MISLEADING {
        command.env_remove(name);
    }
    // Set by a person it is a wish, set by rustup for the cargo above us it is only a memory.
    if env::var_os("CARGO").is_some() {
        command.env_remove("RUSTUP_TOOLCHAIN");
    }
    command
}
