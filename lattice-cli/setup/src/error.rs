//! Everything that can go wrong here, each as a sentence that says what to do next.

use std::io;
use std::path::PathBuf;

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

/// A step that could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no folder to keep downloads in.
    #[error("there is no cache folder: set HOME or XDG_CACHE_HOME")]
    NoCache,

    /// A file could not be read, written or moved.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// A verb: `read`, `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A program that must be there could not be started.
    #[error("cannot start `{program}`: check that it is installed and on PATH")]
    Start {
        /// The program's name.
        program: String,
        /// What the system said.
        source: io::Error,
    },

    /// A program ended with an error, or did not end in time.
    #[error("`{command}` {outcome}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended, with the last line it wrote.
        outcome: String,
    },

    /// `NATS_SERVER_BIN` names something that is no usable server.
    #[error("NATS_SERVER_BIN names {path}, which {problem}: correct it, or unset it to have one found", path = path.display())]
    BadNatsOverride {
        /// The path that was given.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// No nats-server was found, and none could be got.
    #[error(
        "no nats-server {minimum} or newer was found, and getting one failed ({reason}): install it with your package \
         manager (for example `brew install nats-server`), or download it from https://nats.io/download and put it on \
         PATH, or run a container (`docker run -p 4222:4222 nats:2.15 -js`) and use `lattice start --nats \
         nats://127.0.0.1:4222`",
        minimum = crate::MINIMUM_NATS
    )]
    NoNatsServer {
        /// Why the download did not work.
        reason: String,
    },

    /// There is no Python to use.
    #[error(
        "no python3 with pip and venv is on PATH ({reason}): install it (Debian: `apt-get install python3-pip python3-venv`)"
    )]
    NoPython {
        /// What was tried.
        reason: String,
    },

    /// There is no Node.js to build JavaScript with.
    #[error(
        "no Node.js {minimum} or newer with npm is on PATH, and getting one from PyPI failed ({reason}): install it \
         (https://nodejs.org; Debian: `apt-get install nodejs npm`)"
    )]
    NoNode {
        /// Its major version.
        minimum: u32,
        /// What was tried.
        reason: String,
    },

    /// A program of one of Debian's packages is not there.
    #[error(
        "no {program} is on PATH, and getting one failed ({reason}): install it (Debian: `apt-get install {package}`)"
    )]
    NoPackage {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
        /// What was tried.
        reason: String,
    },

    /// `LATTICE_WASM_TOOLCHAIN` holds a word that is not known.
    #[error(
        "LATTICE_WASM_TOOLCHAIN is `{0}`: set it to `rustup` or `debian`, or unset it to have one chosen"
    )]
    BadForce(String),

    /// Nothing here compiles Rust to Wasm, and nothing could be got.
    #[error("nothing here compiles Rust to {target} ({reason}): {advice}", target = crate::WASM_TARGET)]
    NoWasmToolchain {
        /// What was tried, and how it failed.
        reason: String,
        /// The command to run.
        advice: String,
    },

    /// A manifest cannot be used for building.
    #[error("{path}: {problem}", path = path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong and how to put it right.
        problem: String,
    },

    /// A folder holds no package that becomes a component.
    #[error("{folder} {problem}", folder = folder.display())]
    NotAnActor {
        /// The folder.
        folder: PathBuf,
        /// What is wrong and how to put it right.
        problem: String,
    },

    /// An actor was to be built that is not.
    #[error("no actor `{0}` is built from source here: name one of the manifest that has a project")]
    NothingToBuild(String),

    /// An actor in another language than Rust could not be compiled.
    #[error("{folder} could not be compiled: {problem}", folder = folder.display())]
    Compile {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        problem: String,
    },

    /// Cargo reported errors; it has printed them already.
    #[error("cargo could not build {packages}: its messages stand above")]
    Build {
        /// The packages of that call.
        packages: String,
    },

    /// Somebody ended cargo, so that there may be no message of its own.
    #[error("cargo was ended while it built {packages}, by signal {signal}{}", if *signal == 9 { " (KILL), as a machine does that runs out of memory" } else { "" })]
    Ended {
        /// The packages of that call.
        packages: String,
        /// The signal's number.
        signal: i32,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }
}
