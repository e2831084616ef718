//! Finds or gets what Lattice needs on a machine, and builds actors with it.
//!
//! `cargo xtask`, `lattice doctor --fix`, `lattice build`, `lattice dev` and `lattice start` all come here, so that there is one set
//! of rules for what is looked at, in which order, and what is fetched. Every step tells the caller's [`Report`] what
//! it found and what it gets; running a step again finds what the last run got. It never writes outside our cache
//! folder and the target folders of the projects it builds, except where rustup or apt install what they are asked to.
//!
//! All functions block; a caller inside an async runtime uses a blocking task. There are few dependencies, because
//! `cargo xtask` compiles this crate before it can do anything at all.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail on what it did not expect"))]

mod report;
pub use report::{Notice, Report};

mod error;
pub use error::{Error, Result};

mod cache;
mod process;

mod nats;
pub use nats::{MINIMUM as MINIMUM_NATS, NatsServer, Origin, find_nats_server, nats_server};

mod debian;
pub use debian::{tmux, wrk};

mod unpacked;
pub use unpacked::{prometheus, registry};

mod published;
pub use published::published_components;

mod python;
pub use python::{collector, python_clients, selenium};

mod wasm;
pub use wasm::{
    Force, TARGET as WASM_TARGET, WasmToolchain, find_wasm_toolchain, forget_package, wasm_toolchain,
};

mod languages;
pub use languages::{KIT, Language, WIT, bring_sdk, find_language, language_tools};

mod manifest;

mod cargo;
pub use cargo::{Component, Purpose, build_components};

mod actors;
pub use actors::{BuiltActor, Project, build_actors, projects, try_actors};

mod size;
pub use size::human_size;
