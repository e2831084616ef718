//! Bytes as they are, for benchmarks: what is measured is then the mesh, and not how fast a guest reads JSON.

use lattice_actor::{Context, Result, interface};

use crate::Misfit;

/// Some bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Blob {
    /// Whatever they are.
    #[prost(bytes = "vec", tag = "1")]
    pub bytes: Vec<u8>,
}

/// Bytes in, bytes out.
#[interface(protobuf)]
pub trait Bulk {
    /// Gives the bytes back.
    #[idempotent]
    async fn reflect(blob: Blob) -> Result<Blob>;
}

impl Bulk for Misfit {
    async fn reflect(&self, _ctx: &Context, blob: Blob) -> Result<Blob> {
        Ok(blob)
    }
}
