//! Why a declaration is not taken, in words that say what to do.

use lattice_proto::{ActorName, AppName, NodeName, manifest};

use crate::{artifact, bus, registry};

/// Why a declaration was not taken. Nothing of it was stored, except perhaps where the bus did not answer in time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// An actor's artifact cannot be used.
    #[error("actor `{actor}`, artifact {artifact}: {source}")]
    Artifact {
        /// The actor.
        actor: ActorName,
        /// As the manifest calls it.
        artifact: String,
        /// What is wrong.
        source: artifact::Error,
    },
    /// An actor's artifact is not got from where the manifest says.
    #[error("actor `{actor}`, artifact {reference}: {source}")]
    Registry {
        /// The actor.
        actor: ActorName,
        /// As the manifest has it.
        reference: String,
        /// What is in the way.
        source: Box<registry::Error>,
    },
    /// The manifest asks for what cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Another app has it.
    #[error("the actor `{actor}` belongs to the app `{app}` already; actor names are unique in a lattice")]
    NameTaken {
        /// The actor.
        actor: ActorName,
        /// Who has it.
        app: AppName,
    },
    /// There is none of that name.
    #[error("no {what} named `{name}` is deployed in this lattice; `lattice ps` lists what is")]
    NotFound {
        /// App or actor.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The app is no longer what the caller saw.
    #[error(
        "the app `{app}` is at revision {current}{}, and this was made for revision {expected}{}; look at what {}, and \
         apply it again",
        if current > expected { " by now" } else { "" },
        if changes.is_empty() { String::new() } else { format!(". Since then: {}", changes.join("; ")) },
        if current > expected { "changed" } else { "`lattice history` shows" },
    )]
    Stale {
        /// The app.
        app: AppName,
        /// What the caller saw.
        expected: u64,
        /// What it is.
        current: u64,
        /// What changed in between.
        changes: Vec<String>,
    },
    /// There is no node of that name.
    #[error("no node named `{0}` is in this lattice; `lattice nodes` lists those that are")]
    NoNode(NodeName),
    /// There is no such revision any more.
    #[error("the app `{app}` has no revision {revision}; `lattice history {app}` lists those that are kept")]
    NoRevision {
        /// The app.
        app: AppName,
        /// What was asked for.
        revision: u64,
    },
    /// Too many others declare things at the same time.
    #[error("others changed the lattice at the same time, again and again; try once more")]
    Busy,
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] bus::Error),
}
