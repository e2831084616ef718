//! The admin API, `lattice.admin.v1`: generated messages, client and server, and the descriptors for reflection.

#![allow(missing_docs, clippy::unwrap_used, reason = "generated; the .proto file carries the documentation")]

tonic::include_proto!("lattice.admin.v1");

/// The compiled descriptors, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/admin_descriptor.bin"));

/// The name of the binary metadata in which each error carries an encoded [`ErrorInfo`].
pub const ERROR_METADATA: &str = "lattice-fault-bin";
