//! Runs the `lattice` command line as a user would.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::lattice::node_program;

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

impl Said {
    /// stdout as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error object on stderr.
    pub fn error(&self) -> Value {
        let value: Value =
            serde_json::from_str(&self.stderr).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        value["error"].clone()
    }
}

/// Runs `lattice` with these words, against the node at `admin`.
pub async fn lattice(admin: &str, words: &[&str]) -> Said {
    lattice_in(Path::new("."), admin, words).await
}

/// The same in a folder.
pub async fn lattice_in(folder: &Path, admin: &str, words: &[&str]) -> Said {
    run(folder, &[("LATTICE_ADMIN", admin)], words).await
}

/// Runs `lattice` with these words and variables, and with no node to ask.
pub async fn alone(folder: &Path, variables: &[(&str, &str)], words: &[&str]) -> Said {
    run(folder, variables, words).await
}

async fn run(folder: &Path, variables: &[(&str, &str)], words: &[&str]) -> Said {
    let mut command = Command::new(node_program());
    command.args(words).current_dir(folder).envs(variables.iter().copied()).stdin(Stdio::null());
    let output = tokio::process::Command::from(command).kill_on_drop(true).output().await.unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
