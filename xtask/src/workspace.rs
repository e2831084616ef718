//! Where things are in the repository, and how cargo is called in it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The repository's root.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("xtask is a folder of the workspace")
}

/// Cargo's target folder: the one that this very program was built into.
pub fn target() -> Result<PathBuf> {
    let program = env::current_exe().context("cannot find the xtask program itself")?;
    let target = program.parent().and_then(Path::parent);
    Ok(target.context("xtask does not lie in a target folder: run it as `cargo xtask`")?.to_owned())
}

/// Cargo, in the repository's root.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    // `cargo xtask` was started by cargo too, and what that says of xtask is not for the next one.
    lattice_setup::forget_package(&mut command);
    command
}

/// Runs a command whose output people see, and shows the command line first.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("   $ {}", line(command));
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed with {status}", line(command));
    }
    Ok(())
}

/// The command as somebody would type it.
pub fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The names of the integration tests: those of the multi-node package, and those of all others.
pub struct IntegrationTests {
    pub multi_node: Vec<String>,
    pub single: Vec<String>,
}

/// Asks cargo which integration tests there are.
pub fn integration_tests() -> Result<IntegrationTests> {
    let mut metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let output = metadata.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata = serde_json::from_slice(&output.stdout).context("cargo metadata did not print JSON")?;
    Ok(tests_in(&metadata))
}

fn tests_in(metadata: &Value) -> IntegrationTests {
    let mut tests = IntegrationTests { multi_node: Vec::new(), single: Vec::new() };
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let list = if package["name"] == "lattice-tests" { &mut tests.multi_node } else { &mut tests.single };
        for target in package["targets"].as_array().into_iter().flatten() {
            let is_test =
                target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"));
            if let Some(name) = target["name"].as_str().filter(|_| is_test) {
                list.push(name.to_owned());
            }
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multi_node_tests_are_told_from_the_others() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "lattice-tests", "targets": [
                { "kind": ["lib"], "name": "lattice_tests" },
                { "kind": ["test"], "name": "node_loss" },
            ]},
            { "name": "lattice-actor", "targets": [{ "kind": ["test"], "name": "compile_fail" }] },
        ]});
        let tests = tests_in(&metadata);
        assert_eq!(tests.multi_node, ["node_loss"]);
        assert_eq!(tests.single, ["compile_fail"]);
    }

    #[test]
    fn a_command_line_is_shown_without_the_programs_folder() {
        let mut command = Command::new("/home/me/bin/cargo");
        assert_eq!(line(command.args(["test", "--lib"])), "cargo test --lib");
    }
}
