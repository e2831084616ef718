//! Compiling packages to components with cargo: all packages of one workspace in one call.
//!
//! It never copies anything; the components lie where cargo puts them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{fs, io};

use serde_json::Value;

use crate::process::capture;
use crate::{Error, Notice, Report, Result, WasmToolchain};

/// `cargo metadata --no-deps` reads files only; the bound is for a toolchain that rustup installs on the way.
const METADATA_BOUND: Duration = Duration::from_secs(600);

/// What a component is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To serve: in the profile `actor`, where the workspace has one, else in `release`.
    Service,
    /// To be tried out by whoever wrote it: in a profile of ours that is compiled sooner than it runs fast.
    Trial,
}

/// The profile of [`Purpose::Trial`], of which no project needs to know. It behaves like one for service, without what takes
/// cargo its time: each build is of what changed only, and nothing is optimised across crates.
const TRIAL: [&str; 9] = [
    "--profile=lattice-dev",
    "--config=profile.lattice-dev.inherits='release'",
    "--config=profile.lattice-dev.incremental=true",
    "--config=profile.lattice-dev.lto='off'",
    "--config=profile.lattice-dev.codegen-units=64",
    "--config=profile.lattice-dev.opt-level=1",
    "--config=profile.lattice-dev.panic='abort'",
    "--config=profile.lattice-dev.debug=false",
    "--config=profile.lattice-dev.strip='debuginfo'",
];

/// A component that cargo made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// The package's folder, as it was given.
    pub folder: PathBuf,
    /// The file in cargo's target folder.
    pub path: PathBuf,
}

/// Compiles the packages in `folders`, and returns a component for each, in the same order.
///
/// Cargo's own progress and messages go to stderr.
///
/// # Errors
/// When a folder has no package that becomes a component, or cargo reports errors.
pub fn build_components(
    folders: &[PathBuf],
    toolchain: &WasmToolchain,
    purpose: Purpose,
    report: Report,
) -> Result<Vec<Component>> {
    let mut workspaces: Vec<Workspace> = Vec::new();
    let mut packages = Vec::new();
    for folder in folders {
        let (workspace, package) = describe(folder, toolchain)?;
        match workspaces.iter_mut().find(|known| known.root == workspace.root) {
            Some(known) => known.add(&package),
            None => {
                let mut workspace = workspace;
                workspace.add(&package);
                workspaces.push(workspace);
            }
        }
        packages.push(package);
    }
    let mut made = HashMap::new();
    for workspace in &workspaces {
        made.extend(build(workspace, toolchain, purpose, report)?);
    }
    let component = |(folder, package): (&PathBuf, Package)| match made.get(&package.id) {
        Some(path) => Ok(Component { folder: folder.clone(), path: path.clone() }),
        None => Err(Error::NotAnActor {
            folder: folder.clone(),
            problem: "was built, but cargo named no .wasm file: check the crate-type under [lib]".into(),
        }),
    };
    folders.iter().zip(packages).map(component).collect()
}

struct Package {
    id: String,
    name: String,
}

struct Workspace {
    root: PathBuf,
    target: PathBuf,
    has_actor_profile: bool,
    ids: Vec<String>,
    names: Vec<String>,
}

impl Workspace {
    fn add(&mut self, package: &Package) {
        if !self.ids.contains(&package.id) {
            self.ids.push(package.id.clone());
            self.names.push(package.name.clone());
        }
    }
}

/// Asks cargo which package and workspace a folder belongs to.
fn describe(folder: &Path, toolchain: &WasmToolchain) -> Result<(Workspace, Package)> {
    let manifest = folder.join("Cargo.toml");
    let not_an_actor =
        |problem: &str| Error::NotAnActor { folder: folder.to_owned(), problem: problem.to_owned() };
    let manifest = fs::canonicalize(&manifest).map_err(|_| {
        not_an_actor("has no Cargo.toml: correct `build` in the manifest, or leave it out for an artifact made otherwise")
    })?;
    let mut cargo = toolchain.cargo(manifest.parent().unwrap_or(folder));
    let text = capture(cargo.args(["metadata", "--no-deps", "--format-version", "1"]), METADATA_BOUND)?;
    let metadata: Value = serde_json::from_str(&text)
        .map_err(io::Error::from)
        .map_err(Error::io("read cargo's metadata of", &manifest))?;
    let package = package_at(&metadata, &manifest).ok_or_else(|| {
        not_an_actor("holds a workspace and no package: name the folder of one package with `build`")
    })?;
    if !makes_component(package) {
        return Err(not_an_actor(
            "holds a package that becomes no component: add `crate-type = [\"cdylib\", \"rlib\"]` under [lib]",
        ));
    }
    let text_of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let root = PathBuf::from(text_of(&metadata["workspace_root"]));
    let workspace = Workspace {
        has_actor_profile: has_actor_profile(&root),
        target: PathBuf::from(text_of(&metadata["target_directory"])),
        root,
        ids: Vec::new(),
        names: Vec::new(),
    };
    Ok((workspace, Package { id: text_of(&package["id"]), name: text_of(&package["name"]) }))
}

fn package_at<'a>(metadata: &'a Value, manifest: &Path) -> Option<&'a Value> {
    let packages = metadata["packages"].as_array()?;
    packages.iter().find(|package| package["manifest_path"].as_str().map(Path::new) == Some(manifest))
}

fn makes_component(package: &Value) -> bool {
    let targets = package["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    targets.iter().any(|target| has_word(&target["crate_types"], "cdylib"))
}

fn has_word(list: &Value, word: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|entry| entry == word))
}

fn has_actor_profile(root: &Path) -> bool {
    let text = fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    let manifest: toml::Table = text.parse().unwrap_or_default();
    manifest.get("profile").and_then(|profiles| profiles.get("actor")).is_some()
}

/// Runs cargo once, and returns the component of each package by the package's id.
fn build(
    workspace: &Workspace,
    toolchain: &WasmToolchain,
    purpose: Purpose,
    report: Report,
) -> Result<HashMap<String, PathBuf>> {
    let packages = workspace.names.join(", ");
    report(Notice::Getting(format!("building {packages}")));
    let mut cargo = toolchain.cargo(&workspace.root);
    cargo
        .args(["build", "--lib", "--message-format=json-render-diagnostics"])
        .args(toolchain.build_arguments());
    cargo.arg("--target-dir").arg(toolchain.target_folder(&workspace.target));
    match purpose {
        Purpose::Service if workspace.has_actor_profile => cargo.args(["--profile", "actor"]),
        Purpose::Service => cargo.arg("--release"),
        Purpose::Trial => cargo.args(TRIAL),
    };
    for id in &workspace.ids {
        cargo.args(["--package", id]);
    }
    let start = |source| Error::Start { program: "cargo".into(), source };
    let mut child = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(start)?;
    let mut made = HashMap::new();
    if let Some(messages) = child.stdout.take() {
        made.extend(
            BufReader::new(messages).lines().map_while(io::Result::ok).filter_map(|line| component_in(&line)),
        );
    }
    let status = child.wait().map_err(start)?;
    match status.signal() {
        _ if status.success() => Ok(made),
        Some(signal) => Err(Error::Ended { packages, signal }),
        None => Err(Error::Build { packages }),
    }
}

/// The package and file, if one of cargo's messages says that a component was made.
fn component_in(line: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || !has_word(&message["target"]["crate_types"], "cdylib") {
        return None;
    }
    let files = message["filenames"].as_array()?.iter().filter_map(Value::as_str);
    let wasm =
        files.map(PathBuf::from).find(|file| file.extension().is_some_and(|ending| ending == "wasm"))?;
    Some((message["package_id"].as_str()?.to_owned(), wasm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_found_among_cargos_messages() {
        let made = r#"{"reason":"compiler-artifact","package_id":"path+file:///p#greeter@0.1.0",
            "target":{"crate_types":["cdylib","rlib"]},"filenames":["/t/libgreeter.rlib","/t/greeter.wasm"]}"#;
        let made = made.replace('\n', "");
        assert_eq!(
            component_in(&made),
            Some(("path+file:///p#greeter@0.1.0".into(), "/t/greeter.wasm".into()))
        );
        let library = made.replace(r#""cdylib","#, "");
        assert_eq!(component_in(&library), None, "a dependency is no component");
        assert_eq!(component_in("warning: something a build script printed"), None);
        assert_eq!(component_in(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn a_workspace_has_the_actor_profile_only_if_it_says_so() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_actor_profile(folder.path()));
        fs::write(folder.path().join("Cargo.toml"), "[profile.release]\nlto = true").unwrap();
        assert!(!has_actor_profile(folder.path()));
        fs::write(folder.path().join("Cargo.toml"), "[profile.actor]\ninherits = 'release'").unwrap();
        assert!(has_actor_profile(folder.path()));
    }

    #[test]
    fn the_package_is_the_one_of_the_folder_and_not_another_of_its_workspace() {
        let metadata: Value = serde_json::from_str(
            r#"{"packages":[
                {"id":"a","manifest_path":"/w/a/Cargo.toml","targets":[{"crate_types":["lib"]}]},
                {"id":"b","manifest_path":"/w/b/Cargo.toml","targets":[{"crate_types":["cdylib","rlib"]}]}]}"#,
        )
        .unwrap();
        let b = package_at(&metadata, Path::new("/w/b/Cargo.toml")).unwrap();
        assert_eq!(b["id"], "b");
        assert!(makes_component(b));
        assert!(!makes_component(package_at(&metadata, Path::new("/w/a/Cargo.toml")).unwrap()));
        assert!(package_at(&metadata, Path::new("/w/Cargo.toml")).is_none(), "a workspace's root");
    }
}
