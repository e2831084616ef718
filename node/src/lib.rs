//! The runtime of one Lattice node. `lattice start` runs it; nothing else of it is an interface.
//!
//! In reading order: [`node`] wires everything together. What crosses the network goes through [`bus`]. [`membership`]
//! is this node's place in the lattice, [`controller`] what it does when it leads (with the pure [`placement`]), and
//! [`agent`] what it does as a member; what happens is told through [`events`], and what a manifest names elsewhere is got from a [`registry`]. A message goes through [`router`] into a [`replica`] or to one of its keys in [`keyed`], which run a guest of
//! [`engine`], which calls out through `capability`, by HTTP over connections of [`client`]; what is published goes by way of [`topics`]. Operators come in through [`admin`], and HTTP clients through [`gateway`]; what happens can be seen by [`telemetry`], [`logs`], [`traces`], [`tap`] and [`survey`].

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail on what it did not expect"))]

pub mod node;

mod causes;
pub mod clock;
pub mod config;
mod nats_child;
mod shutdown;

pub mod bus;

pub mod agent;
pub mod artifact;
pub mod controller;
pub mod events;
pub mod membership;
pub mod placement;
pub mod registry;

pub mod keyed;
pub mod replica;
pub mod router;
pub mod stores;
pub mod topics;

mod capability;
pub mod client;
pub mod engine;

pub mod logs;
pub mod survey;
pub mod tap;

pub mod admin;
pub mod gateway;
pub mod port;
pub mod telemetry;
pub mod traces;

use std::path::PathBuf;

use lattice_proto::{Incarnation, NodeName};

pub use config::{AdminOptions, HttpOptions, Options};
pub use node::run;

/// Why a node could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The admin port cannot be had.
    #[error(transparent)]
    Admin(#[from] admin::Error),
    /// The gateway's port cannot be had.
    #[error(transparent)]
    Gateway(#[from] gateway::Error),
    /// The data folder cannot be used.
    #[error("cannot use the data folder {folder}: {source}; choose another with --data")]
    Data {
        /// Which one.
        folder: PathBuf,
        /// From the system.
        source: std::io::Error,
    },
    /// Another node uses the data folder.
    #[error(
        "another node uses the data folder {0}; stop it, or give this one another with --data, and --nats URL to join \
         the same lattice"
    )]
    DataInUse(PathBuf),
    /// Wasmtime cannot start.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// This node's own NATS server cannot start.
    #[error(transparent)]
    NatsChild(#[from] nats_child::Error),
    /// NATS refuses, or is not good enough.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// The name is taken.
    #[error(transparent)]
    Name(#[from] membership::Error),
    /// The configuration asks for another number of shards than the lattice was born with.
    #[error(
        "this lattice has {there} shards since it was born, and `shards = {wanted}` in the configuration asks for another \
         number; leave it out. To have another number, print what keys keep with `lattice state export`, and import it \
         into a new lattice"
    )]
    Shards {
        /// What there are.
        there: u16,
        /// What the configuration says.
        wanted: u16,
    },
    /// The name was lost while this node could not renew it.
    #[error(
        "another node took the name `{name}` while this one was cut off (incarnation {holder}); it stops"
    )]
    NameLost {
        /// The name.
        name: NodeName,
        /// Who has it now.
        holder: Incarnation,
    },
    /// A task ended that should not have.
    #[error(
        "{0} ended unexpectedly, which is a defect of Lattice; the node stops rather than run without it"
    )]
    Task(&'static str),
    /// Signals cannot be listened to.
    #[error("cannot listen to signals: {0}")]
    Signals(std::io::Error),
}
