//! The `lattice` command line, used as a person uses it: shown with its output, or asked for JSON.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::narrator::{show_block, show_command};
use crate::workspace;

/// Runs `lattice` commands against a given node.
#[derive(Clone)]
pub struct Shell {
    lattice: PathBuf,
}

/// A call that failed, as `lattice -o json` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: String,
    pub message: String,
}

impl Shell {
    pub fn new(lattice: PathBuf) -> Shell {
        Shell { lattice }
    }

    /// The program itself.
    pub fn program(&self) -> &Path {
        &self.lattice
    }

    /// Shows the command and what it prints; a failure ends the demo.
    pub fn show(&self, admin: &str, arguments: &[&str]) -> Result<()> {
        let words: Vec<_> = arguments.iter().map(|word| quote(word)).collect();
        show_command(&format!("lattice --admin {admin} {}", words.join(" ")));
        let output = self.run(admin, &[], arguments)?;
        show_block(&String::from_utf8_lossy(&output.stdout));
        // Without a terminal progress is a line for each step, which would drown the rest.
        if !output.status.success() {
            show_block(&String::from_utf8_lossy(&output.stderr));
            bail!(
                "`lattice {}` failed with {}: its message stands above",
                arguments.join(" "),
                output.status
            );
        }
        Ok(())
    }

    /// The answer as JSON.
    pub fn json(&self, admin: &str, arguments: &[&str]) -> Result<Value> {
        let output = self.run(admin, &["-o", "json"], arguments)?;
        if !output.status.success() {
            bail!(
                "`lattice {}` failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`lattice -o json {}` did not print JSON", arguments.join(" ")))
    }

    /// Makes one call quietly. A typed failure is an answer too; anything else is an error.
    pub fn call(&self, admin: &str, arguments: &[&str]) -> Result<std::result::Result<(), Fault>> {
        let arguments = [&["call"], arguments].concat();
        let output = self.run(admin, &["-o", "json"], &arguments)?;
        if output.status.success() {
            return Ok(Ok(()));
        }
        let text = String::from_utf8_lossy(&output.stderr);
        fault_in(&text).map(Err).with_context(|| format!("a call failed without a type: {}", text.trim()))
    }

    fn run(&self, admin: &str, before: &[&str], arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.lattice);
        command.args(["--admin", admin]).args(before).args(arguments).current_dir(workspace::root());
        command.output().with_context(|| format!("cannot start {}", self.lattice.display()))
    }
}

/// Reads `{"error": {"kind", "message", …}}`.
fn fault_in(stderr: &str) -> Option<Fault> {
    let answer: Value = stderr.lines().rev().find_map(|line| serde_json::from_str(line).ok())?;
    let text = |field: &str| answer["error"][field].as_str().map(str::to_owned);
    Some(Fault { kind: text("kind")?, message: text("message").unwrap_or_default() })
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_failure_is_read_from_stderr() {
        let text =
            "a note\n{\"error\": {\"kind\": \"overloaded\", \"message\": \"full\", \"ran\": \"no\"}}\n";
        assert_eq!(fault_in(text), Some(Fault { kind: "overloaded".into(), message: "full".into() }));
        assert_eq!(fault_in("thread main panicked"), None);
        assert_eq!(fault_in("{\"error\": {}}"), None);
    }

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quote("examples/greeter/lattice.toml"), "examples/greeter/lattice.toml");
        assert_eq!(quote("\"Ada\""), "'\"Ada\"'");
    }
}
