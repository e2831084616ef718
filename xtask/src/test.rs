//! `cargo xtask test`: everything that must hold, cheapest first; the first step that fails ends the run.

use anyhow::{Result, bail};
use clap::Args;

use crate::guard::Guard;
use crate::prepare::{self, Kit, Profile};
use crate::steps::Steps;
use crate::workspace::{self, PROMISES, cargo};

/// What may be said on the command line.
#[derive(Args)]
pub struct Options {
    /// Run only tests whose name, or whose file's name, contains this; format and lints are left out
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// Runs all steps.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::new();
    let guard = Guard::start()?;
    let result = all(&mut steps, &guard, options.filter.as_deref());
    // Asked also after a failure, which is when something is left.
    let quiet = steps.step("nothing is left running", || nothing_is_left(&guard));
    steps.summarize();
    result.and(quiet)
}

fn all(steps: &mut Steps, guard: &Guard, filter: Option<&str>) -> Result<()> {
    let (tools, extras) = steps.step("set-up", || Ok((prepare::tools()?, prepare::extras())))?;
    if filter.is_none() {
        steps.step("format", || run_cargo(&["fmt", "--all", "--check"], &[]))?;
        steps
            .step("clippy", || run_cargo(&["clippy", "--workspace", "--all-targets"], &["-D", "warnings"]))?;
    }
    // One call builds the programs and all tests, so that all of them share one set of compiled dependencies.
    steps.step("build", || run_cargo(&["build", "--workspace", "--lib", "--bins", "--tests"], &[]))?;
    let artifacts = steps.step("build actors", || prepare::actors(&tools.wasm))?;
    let kit =
        Kit { lattice: Profile::Dev.folder()?.join("lattice"), nats: tools.nats.path, artifacts, extras };

    let single = workspace::integration_tests()?;
    let harness: Vec<&str> = filter.into_iter().collect();
    steps.step("unit tests", || {
        run_cargo(&["test", "--workspace", "--lib", "--bins"], &harness)?;
        if single.is_empty() { Ok(()) } else { run_cargo(&with_tests(&single), &harness) }
    })?;
    steps.step("doc tests", || run_cargo(&["test", "--workspace", "--doc"], &harness))?;
    steps.step("multi-node tests", || {
        let mut test = cargo(&with_tests(&[PROMISES.to_owned()]));
        test.arg("--").args(&harness);
        give(&mut test, &kit, guard);
        workspace::run(&mut test)
    })
}

/// Gives a multi-node test what it needs, and makes sure that nothing of it stays.
pub fn give(test: &mut std::process::Command, kit: &Kit, guard: &Guard) {
    test.envs(kit.environment());
    guard.mark(test);
    // Their promises speak of time, and each starts a lattice of its own: side by side they would measure each other.
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        test.env("RUST_TEST_THREADS", "1");
    }
}

/// The arguments that select integration tests without another selection of packages.
pub fn with_tests(names: &[String]) -> Vec<&str> {
    let names = names.iter().flat_map(|name| ["--test", name.as_str()]);
    ["test", "--workspace"].into_iter().chain(names).collect()
}

fn run_cargo(arguments: &[&str], harness: &[&str]) -> Result<()> {
    let mut command = cargo(arguments);
    if !harness.is_empty() {
        command.arg("--").args(harness);
    }
    workspace::run(&mut command)
}

fn nothing_is_left(guard: &Guard) -> Result<()> {
    let left = guard.clear();
    if left.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = left.iter().map(|process| format!("{} ({})", process.name, process.id)).collect();
    bail!("a test left processes running, which were stopped now: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integration_tests_are_selected_in_the_whole_workspace() {
        assert_eq!(
            with_tests(&["a".into(), "b".into()]),
            ["test", "--workspace", "--test", "a", "--test", "b"]
        );
    }
}
