//! Every byte that crosses a process or sandbox boundary in Lattice.
//!
//! In reading order: what things are called ([`id`], [`topic`], [`interface`], [`subject`]), what nodes say to each other ([`envelope`],
//! [`fault`], [`http`]), what is declared ([`manifest`], with [`reference`]s to what registries have) and what is kept in the shared store ([`record`], and for keyed actors [`shard`], [`state`],
//! [`letter`] and [`reminder`]),
//! what happened ([`event`]), what was said meanwhile ([`log`]), what became of calls ([`trace`]), which messages there are ([`tap`]) and how things are ([`survey`]), what an artifact says of itself ([`metadata`]), and the admin API ([`admin`], with the feature `grpc`).
//!
//! This crate does no I/O and knows neither NATS nor Wasmtime. Whatever it parses is hostile until it has been parsed.

#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail on what it did not expect"))]

pub mod id;
pub mod interface;
pub mod subject;
pub mod topic;

pub mod envelope;
pub mod fault;
pub mod http;

pub mod manifest;
pub mod record;
pub mod reference;

pub mod letter;
pub mod reminder;
pub mod shard;
pub mod state;

pub mod event;
pub mod log;
pub mod survey;
pub mod tap;
pub mod trace;

pub mod metadata;

#[cfg(feature = "grpc")]
pub mod admin;

pub use fault::{Fault, Ran};
pub use id::{
    ActorId, ActorName, AppName, Digest, Incarnation, LatticeId, MessageId, NodeName, Operation, StoreName,
    Topic, TopicPattern,
};
pub use interface::InterfaceName;
pub use reference::Reference;

/// The largest artifact, in bytes. The largest of the toolchains that we know makes 18 MB.
pub const MAX_ARTIFACT: u64 = 64 << 20;
