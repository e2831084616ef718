//! Host functions, one file each, and in `call` what is common to those by which a guest calls others. None is granted without the manifest: what a guest may import is decided at deploy,
//! and what it may reach through `mesh` at every call.

mod blobstore;
mod call;
mod config;
mod http;
mod keyvalue;
mod links;
mod log;
mod mesh;
mod output;
mod storage;
mod topics;
mod trace;

use wasmtime::component::Linker;

use crate::engine::Guest;

pub(crate) use http::Outgoing;
pub(crate) use links::define as define_links;
pub(crate) use output::GuestOutput;

/// Adds everything that can be granted.
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    link_plain(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    http::link_async(linker)?;
    mesh::link(linker)?;
    trace::link(linker)?;
    topics::link(linker)
}

/// Adds what of it a component may import that knows of no async functions and nothing of Lattice.
pub(crate) fn link_plain(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    // What `std` imports by itself is always there, and empty: no folders, the manifest's variables, no network.
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    http::link(linker)?;
    log::link(linker)?;
    config::link(linker)?;
    keyvalue::link(linker)?;
    blobstore::link(linker)
}
