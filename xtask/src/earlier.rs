//! An earlier version of `lattice`, for tests in which nodes of two versions meet.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::{self, cargo, run};

/// Builds `lattice` as it was at a commit or tag, and returns its path.
pub fn program(revision: &str) -> Result<PathBuf> {
    let commit = commit(revision)?;
    let target = workspace::target()?;
    let source = target.join("earlier").join(&commit);
    if !source.exists() {
        unpack(&commit, &source)?;
    }
    let mut build = cargo(&["build", "--workspace", "--bins"]);
    // Compiled dependencies are shared with this version; the programs themselves must not take the place of ours, and
    // neither must its own packages, which for cargo are the same as ours unless their versions differ.
    build.current_dir(&source).env("CARGO_TARGET_DIR", source.join("target"));
    build.env("CARGO_BUILD_BUILD_DIR", target);
    run(&mut build)?;
    Ok(source.join("target/debug/lattice"))
}

/// The whole name of the commit that a revision stands for.
fn commit(revision: &str) -> Result<String> {
    let mut parse = git(&["rev-parse", "--verify", "--quiet", "--end-of-options"]);
    let output = parse.arg(format!("{revision}^{{commit}}")).output().context("cannot start git")?;
    if !output.status.success() {
        bail!("--earlier {revision} names no commit of this repository (a shallow clone has few)");
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Puts a commit's files into a folder, which appears only when they are all there.
fn unpack(commit: &str, folder: &PathBuf) -> Result<()> {
    let partial = folder.with_extension("partial");
    // An earlier attempt may have been broken off.
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
    let mut archive = git(&["archive", commit]);
    let mut archive = archive.stdout(Stdio::piped()).spawn().context("cannot start git")?;
    let files = archive.stdout.take().context("git has no output")?;
    let mut tar = Command::new("tar");
    let unpacked = tar.args(["-x", "-C"]).arg(&partial).stdin(files).status().context("cannot start tar")?;
    let archived = archive.wait().context("lost git")?;
    if !archived.success() || !unpacked.success() {
        bail!("`git archive {commit} | tar -x` failed: {archived}, {unpacked}");
    }
    let manifest = partial.join("Cargo.toml");
    let text =
        fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    fs::write(&manifest, marked(&text)).with_context(|| format!("cannot write {}", manifest.display()))?;
    fs::rename(&partial, folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// The workspace's manifest with another version for all of its packages.
fn marked(manifest: &str) -> String {
    let mut in_package = false;
    let line = |line: &str| {
        if line.starts_with('[') {
            in_package = line.trim() == "[workspace.package]";
        }
        match line.strip_prefix("version = \"").and_then(|rest| rest.split_once('"')) {
            Some((version, rest)) if in_package => format!("version = \"{version}-earlier\"{rest}\n"),
            _ => format!("{line}\n"),
        }
    };
    manifest.lines().map(line).collect()
}

fn git(arguments: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.args(arguments).current_dir(workspace::root());
    git
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_packages_of_the_workspace_get_another_version() {
        let manifest =
            "[workspace.package]\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[other]\nversion = \"1.0\"\n";
        assert_eq!(marked(manifest), manifest.replace("\"0.1.0\"", "\"0.1.0-earlier\""));
        let ours = fs::read_to_string(workspace::root().join("Cargo.toml")).unwrap();
        assert_ne!(marked(&ours), ours);
    }

    #[test]
    fn what_names_no_commit_is_refused() {
        for wrong in ["no-such-tag", "--all", ""] {
            let error = commit(wrong).unwrap_err().to_string();
            assert!(error.contains("--earlier"), "{error}");
        }
    }
}
