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

/// The program of all multi-node tests. Each file that it is made of is a module, so its tests are called `file::test`.
pub const PROMISES: &str = "promises";

/// The files that the multi-node tests are made of, by name.
pub fn promises() -> Result<Vec<String>> {
    let path = root().join("tests/tests").join(PROMISES).with_extension("rs");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(modules_in(&text))
}

fn modules_in(source: &str) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned);
    source.lines().filter_map(name).collect()
}

/// Asks cargo which integration tests there are besides the multi-node ones.
pub fn integration_tests() -> Result<Vec<String>> {
    let mut metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let output = metadata.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata = serde_json::from_slice(&output.stdout).context("cargo metadata did not print JSON")?;
    Ok(tests_in(&metadata))
}

fn tests_in(metadata: &Value) -> Vec<String> {
    let mut tests = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            let is_test =
                target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"));
            if let Some(name) = target["name"].as_str().filter(|name| is_test && *name != PROMISES) {
                tests.push(name.to_owned());
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
                { "kind": ["test"], "name": "promises" },
            ]},
            { "name": "lattice-actor", "targets": [{ "kind": ["test"], "name": "compile_fail" }] },
        ]});
        assert_eq!(tests_in(&metadata), ["compile_fail"]);
    }

    #[test]
    fn every_file_of_multi_node_tests_is_a_module_of_their_program() {
        let mut files: Vec<_> = std::fs::read_dir(root().join("tests/tests"))
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
            .filter(|name| name != PROMISES)
            .collect();
        files.sort();
        assert_eq!(promises().unwrap(), files);
    }

    #[test]
    fn a_command_line_is_shown_without_the_programs_folder() {
        let mut command = Command::new("/home/me/bin/cargo");
        assert_eq!(line(command.args(["test", "--lib"])), "cargo test --lib");
    }
}
