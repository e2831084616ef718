//! The multi-node test kit: real nats-servers, real node processes, real artifacts.
//!
//! In reading order: how a process is started so that nothing outlives its test ([`process`]), a [`NatsServer`] and a [`Relay`] to it, a
//! [`Lattice`] of nodes and what a [`Fault`] from one of them looks like, [`wait_until`] a condition holds, a
//! [`load`] generator, an OpenTelemetry receiver ([`otlp`]) and a [`collector`] before it, a [`prometheus`], a [`registry`] of artifacts and one that lies, clients in Python, an HTTP client and a server for guests to ask ([`upstream`]), and the programs of the command line, in a [`terminal`] where they fill the screen.
//! What keyed actors did is judged afterwards: the [`history`] of their [`clients`] ([`linearize`]), and the raw records of
//! their state, which an [`audit`] keeps ([`chain`]), beside what a [`witness`] has seen of their turns. [`failover`] finds a key
//! and asks until it answers again.
//!
//! A promise of the contract is a file under `tests/`, whose tests call one helper from here and then assert. Nothing
//! here sleeps for a fixed time to let something happen: it waits for the thing itself.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test kit ends the test when what it needs is not there"
)]

pub mod process;

mod ports;

pub mod nats;
pub use nats::NatsServer;

mod relay;
pub use relay::Relay;

pub mod artifacts;

pub mod fault;
pub use fault::Fault;

pub mod lattice;
pub use lattice::{Builder, Lattice, Node, Ready};

pub mod wait;
pub use wait::{wait_for, wait_until};

pub mod load;

pub mod history;
pub mod linearize;

pub mod audit;
pub mod browser;
pub mod chain;
pub mod clients;
pub mod failover;
pub mod witness;

mod events;

pub mod collector;
pub mod otlp;
pub mod prometheus;

pub mod cli;
pub mod http;
pub mod languages;
pub mod published;
pub mod python;
pub mod registry;
pub mod terminal;
pub mod upstream;
pub mod wrk;

pub mod manifests;

mod wanted;
pub use wanted::number;

mod say;
pub use say::{say, skip_loudly};
