//! Python: finding one that can install packages, and a virtual environment of ours with the clients that the tests use.
//!
//! Lattice itself needs no Python. The tests prove with these clients that any language can call an actor by plain NATS
//! and administer a node by gRPC reflection alone. Nothing is installed outside our cache folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cache::{self, Workshop};
use crate::process::{capture, on_path};
use crate::{Error, Notice, Report, Result};

/// What is installed. Exact versions, so that a test that passes today passes tomorrow.
const CLIENTS: [&str; 3] = ["nats-py==2.16.0", "grpcio==1.85.1", "grpcio-reflection==1.85.1"];

/// Raised when the list above changes, so that an old environment is not mistaken for the new one.
const GENERATION: u32 = 1;

const INSTALL_BOUND: Duration = Duration::from_secs(600);
const QUICK: Duration = Duration::from_secs(60);

/// The first python3 on PATH that has pip.
pub fn with_pip() -> Result<PathBuf> {
    let mut reason = "none is there".to_owned();
    for python in on_path("python3") {
        match capture(Command::new(&python).args(["-m", "pip", "--version"]), QUICK) {
            Ok(_) => return Ok(python),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(Error::NoPython { reason })
}

/// A Python that has nats-py, grpcio and grpcio-reflection; installs them on the first call.
///
/// # Errors
/// When there is no Python with pip and venv, or the packages cannot be got. Callers that only test with it say so
/// loudly and go on.
pub fn python_clients(report: Report) -> Result<PathBuf> {
    let cache = cache::folder()?;
    let place = cache.join(format!("python-clients-{GENERATION}"));
    let python = place.join("bin/python");
    let found = format!("Python clients for tests ({})", place.display());
    let stood_there = place.exists();
    if stood_there && usable(&python) {
        report(Notice::Found(found));
        return Ok(python);
    }
    report(Notice::Getting(format!("getting {} from PyPI for the tests", CLIENTS.join(", "))));
    let workshop = Workshop::open(&cache)?;
    // An environment that stopped working, say because its Python was upgraded, moves aside and goes with the
    // workshop. One that appeared meanwhile is another process's, and good.
    if stood_there {
        let _ = std::fs::rename(&place, workshop.path().join("broken"));
    }
    install(workshop.path())?;
    // The environment is used through its `bin/python` only, which works wherever the folder is moved to.
    cache::publish_folder(&workshop.path().join("clients"), &place)?;
    report(Notice::Done(format!("got {found}")));
    Ok(python)
}

fn install(workshop: &Path) -> Result<()> {
    let base = on_path("python3").into_iter().next();
    let base = base.ok_or_else(|| Error::NoPython { reason: "none is there".into() })?;
    capture(Command::new(base).args(["-m", "venv", "clients"]).current_dir(workshop), INSTALL_BOUND)
        .map_err(|error| Error::NoPython { reason: error.to_string() })?;
    let python = workshop.join("clients/bin/python");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:"]).args(CLIENTS);
    capture(&mut pip, INSTALL_BOUND)?;
    capture(&mut import(&python), QUICK).map(drop)
}

fn usable(python: &Path) -> bool {
    capture(&mut import(python), QUICK).is_ok()
}

fn import(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-c", "import nats, grpc, grpc_reflection.v1alpha"]);
    command
}
