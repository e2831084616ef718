//! What every command needs before it can begin: tools, programs, actors.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lattice_setup::{Component, Language, NatsServer, Notice, WasmToolchain};

use crate::workspace::{self, cargo, run};

/// What is got from elsewhere.
pub struct Tools {
    pub nats: NatsServer,
    pub wasm: WasmToolchain,
}

/// What tests, benchmarks and the demo are given to work with.
pub struct Kit {
    pub lattice: PathBuf,
    pub nats: PathBuf,
    pub artifacts: PathBuf,
    pub extras: Extras,
}

/// What some tests are made with. They are skipped, with a loud line, where it cannot be had.
#[derive(Default)]
pub struct Extras {
    /// With clients for NATS and gRPC.
    pub python: Option<PathBuf>,
    /// An OpenTelemetry collector.
    pub collector: Option<PathBuf>,
    /// Prometheus.
    pub prometheus: Option<PathBuf>,
    /// A registry of artifacts.
    pub registry: Option<PathBuf>,
    /// A terminal.
    pub tmux: Option<PathBuf>,
    /// A Python that drives a browser.
    pub selenium: Option<PathBuf>,
    /// A folder of components that others have published.
    pub components: Option<PathBuf>,
}

impl Kit {
    /// The kit as the environment in which the multi-node tests look for it.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![
            ("LATTICE_BIN", self.lattice.clone().into()),
            ("NATS_SERVER_BIN", self.nats.clone().into()),
            ("LATTICE_ARTIFACTS", self.artifacts.clone().into()),
        ];
        let Extras { python, collector, prometheus, registry, tmux, selenium, components } = &self.extras;
        variables.extend(python.clone().map(|path| ("LATTICE_PYTHON", path.into())));
        variables.extend(collector.clone().map(|path| ("LATTICE_COLLECTOR", path.into())));
        variables.extend(prometheus.clone().map(|path| ("LATTICE_PROMETHEUS", path.into())));
        variables.extend(registry.clone().map(|path| ("LATTICE_REGISTRY", path.into())));
        variables.extend(selenium.clone().map(|path| ("LATTICE_SELENIUM", path.into())));
        variables.extend(components.clone().map(|path| ("LATTICE_COMPONENTS", path.into())));
        variables.extend(tmux.clone().map(|path| ("LATTICE_TMUX", path.into())));
        variables
    }
}

/// How the programs are compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Dev,
    Release,
}

impl Profile {
    /// The folder that cargo builds into.
    pub fn folder(self) -> Result<PathBuf> {
        Ok(workspace::target()?.join(match self {
            Profile::Dev => "debug",
            Profile::Release => "release",
        }))
    }
}

/// Finds or gets nats-server and a Wasm toolchain.
pub fn tools() -> Result<Tools> {
    let nats = lattice_setup::nats_server(&say)?;
    let wasm = lattice_setup::wasm_toolchain(workspace::root(), &say)?;
    Ok(Tools { nats, wasm })
}

/// Finds or gets what some tests are made with.
pub fn extras() -> Extras {
    let had = |what: &str, got: lattice_setup::Result<PathBuf>| match got {
        Ok(path) => Some(path),
        Err(error) => {
            eprintln!("   !! THE TESTS WITH {what} ARE SKIPPED: {:#}", anyhow::Error::from(error));
            None
        }
    };
    // The tests find them where they are put.
    for (what, language) in
        [("JAVASCRIPT", Language::JavaScript), ("PYTHON", Language::Python), ("GO", Language::Go)]
    {
        had(&format!("ACTORS IN {what}"), lattice_setup::language_tools(language, &say));
    }
    Extras {
        python: had("PYTHON CLIENTS", lattice_setup::python_clients(&say)),
        collector: had("AN OPENTELEMETRY COLLECTOR", lattice_setup::collector(&say)),
        prometheus: had("PROMETHEUS", lattice_setup::prometheus(&say)),
        registry: had("A REGISTRY", lattice_setup::registry(&say)),
        selenium: had("A BROWSER", lattice_setup::selenium(&say)),
        components: had("COMPONENTS OF OTHERS", lattice_setup::published_components(&say)),
        tmux: had("A TERMINAL", lattice_setup::tmux(&say)),
    }
}

/// Builds every program of the workspace, and returns the path of `lattice`.
///
/// All packages are named in every call of cargo on purpose: cargo unites the features of the packages it is asked for,
/// so another selection would compile half of the dependencies again.
pub fn programs(profile: Profile) -> Result<PathBuf> {
    let mut build = cargo(&["build", "--workspace", "--bins"]);
    if profile == Profile::Release {
        // The benchmark counts instructions by the lines that they come from. It changes nothing of the code.
        build.arg("--release").env("CARGO_PROFILE_RELEASE_STRIP", "none");
    }
    run(&mut build)?;
    Ok(profile.folder()?.join("lattice"))
}

/// Builds the examples' actors and the guests that misbehave on purpose, and returns a folder with all of them.
pub fn actors(wasm: &WasmToolchain) -> Result<PathBuf> {
    let examples = examples()?;
    let built = lattice_setup::build_actors(&examples, &[], &say)?;
    let guests = [
        "tests/guests",
        "tests/guests/ledger",
        "tests/guests/web",
        "tests/guests/keeper",
        "tests/guests/service",
        "tests/guests/links/exporter",
        "tests/guests/links/importer",
        "tests/guests/links/page",
    ]
    .map(|folder| workspace::root().join(folder));
    let guests = lattice_setup::build_components(&guests, wasm, lattice_setup::Purpose::Service, &say)?;
    let folder = workspace::target()?.join("artifacts");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let artifacts = built.into_iter().map(|actor| actor.artifact);
    for artifact in artifacts.chain(guests.into_iter().map(|Component { path, .. }| path)) {
        let place = folder.join(artifact.file_name().context("an artifact without a file name")?);
        fs::copy(&artifact, &place).with_context(|| format!("cannot write {}", place.display()))?;
    }
    Ok(folder)
}

/// Every folder in `examples/` that deploys actors in Rust. The tests of those in other languages build them, where that can be
/// done.
fn examples() -> Result<Vec<PathBuf>> {
    let folder = workspace::root().join("examples");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let deploys = |path: &Path| path.join("lattice.toml").exists() && holds_rust(path);
    let mut examples: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| deploys(path)).collect();
    examples.sort();
    Ok(examples)
}

/// Whether a folder, or one in it, is a package.
fn holds_rust(folder: &Path) -> bool {
    let inside = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    inside.chain([folder.to_owned()]).any(|folder| Language::of(&folder) == Some(Language::Rust))
}

fn say(notice: Notice) {
    eprintln!("   {notice}");
}
