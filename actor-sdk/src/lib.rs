//! What a Rust actor of Lattice links to.
//!
//! An actor is a struct with operations: plain `async fn`s with typed arguments and results. Build its crate for
//! `wasm32-wasip2` as a `cdylib` and the result is an artifact that deploys; test it natively with [`testing`].
//!
//! ```
//! use lattice_actor::{Context, Result, actor, interface, join};
//! use serde::{Deserialize, Serialize};
//!
//! // What two actors share: usually in a crate of its own.
//! #[interface]
//! pub trait Inventory {
//!     /// How many are left.
//!     #[idempotent]
//!     async fn stock(sku: String) -> Result<u32>;
//! }
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! pub struct Quote { sku: String, available: bool }
//!
//! #[derive(Default)]
//! pub struct Storefront;
//!
//! #[actor]
//! impl Storefront {
//!     async fn quote(&self, ctx: &Context, sku: String, quantity: u32) -> Result<Quote> {
//!         let left = ctx.actor::<dyn Inventory>("inventory").stock(&sku).await?;
//!         Ok(Quote { sku, available: left >= quantity })
//!     }
//! }
//!
//! // A unit test: no lattice, no Wasm.
//! use lattice_actor::testing::{Mesh, block_on};
//! let mesh = Mesh::new().answer("inventory", "stock", |_| Ok(3));
//! let quote = block_on(Storefront.quote(&mesh.context(), "tea".into(), 2));
//! assert_eq!(quote, Ok(Quote { sku: "tea".into(), available: true }));
//! ```
//!
//! # Keyed actors
//! Some services must remember. A *keyed* actor has an ID with a key, such as `cart/alice`; in the whole lattice there is one
//! for each key, which handles one message at a time. Its struct is its state, and is saved by itself:
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::time::Duration;
//! use lattice_actor::{Context, Result, Schedule, Turn, keyed};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! pub struct Cart { lines: BTreeMap<String, u32> }
//!
//! #[keyed]
//! impl Cart {
//!     // `&mut self` may change the state, send, and be reminded: all of it happens, or nothing.
//!     async fn add(&mut self, ctx: &Turn, sku: String, quantity: u32) -> Result<u32> {
//!         ctx.remind("expire", Schedule::after(Duration::from_secs(86_400)), ctx.myself::<Self>().clear())?;
//!         let line = self.lines.entry(sku).or_default();
//!         *line += quantity;
//!         Ok(*line)
//!     }
//!
//!     async fn clear(&mut self, _ctx: &Context) -> Result<()> {
//!         self.lines.clear();
//!         Ok(())
//!     }
//!
//!     // `&self` reads.
//!     async fn lines(&self, _ctx: &Context) -> Result<BTreeMap<String, u32>> {
//!         Ok(self.lines.clone())
//!     }
//! }
//!
//! use lattice_actor::testing::{Mesh, block_on};
//! let mesh = Mesh::new().keyed::<Cart>("cart");
//! let alice = mesh.context().actor::<Cart>("cart/alice");
//! assert_eq!(block_on(alice.add("tea", 2)), Ok(2));
//! mesh.key("cart/alice").restart();
//! assert_eq!(block_on(alice.add("tea", 1)), Ok(3));
//! ```
//!
//! An operation that fails leaves the state as it was. Reads may see a state that is old by a moment while the actor moves
//! from a lost node to another; an operation with `&mut self` never does. See [`keyed`](macro@crate::keyed) for versions of
//! the state, [`Turn`] for what leaves with it, and [`testing`] for tests.
//!
//! # State of replicated actors
//! The actor's struct is made with `Default` when its check is asked or the first message arrives, and lives as long as
//! its instance. A
//! replicated actor has many instances, so the struct may cache but must not remember: the next message may be
//! handled elsewhere. Read the manifest's `env` in `Default`, with [`std::env::var`].
//!
//! Where the manifest sets `concurrency` above 1, several turns share one struct, on one thread: `Cell` and `RefCell`
//! are enough, but never hold a borrow across an `.await`. A turn may wait for its own calls only, not for a channel
//! or lock that another turn of the instance must release: that traps.
//!
//! # Readiness
//! A method marked `#[check]` says whether an instance is ready: `async fn check(&self) -> Result<()>`, with any error that
//! can be displayed. The node asks each instance once, before its first message, for 10 seconds at most. An instance that
//! is not ready gets no message and is made again later; `lattice ps` shows the error, and an update to it is taken back.
//! A check handles no message, so it has no [`Context`] and calls no other actor. Without one an actor is ready when it
//! is made.
//!
//! # Arguments
//! Arguments travel as one JSON object by parameter name: `{"sku": "tea", "quantity": 2}`. An operation with one
//! parameter also takes the bare value (`"tea"`), one with none takes nothing, `null` or `{}`. A missing `Option` is
//! `None`; any other missing, unknown or wrong argument is answered with [`CallError::Malformed`], which names the
//! operation and the parameter. Where the one parameter is itself an object, an object whose only field has the
//! parameter's name is the named form, and every other object is the value. The reply is the result as JSON.
//!
//! # Errors
//! [`CallError`] has one case for each way in which a call fails; [`CallError::ran`] says whether the callee did
//! anything. An actor's own errors are a [`Rejection`] or a type that derives [`ActorError`](macro@ActorError). An
//! operation that ends with the failure of a call of its own is answered as a rejection whose code is
//! [`CallError::kind`]: the operation itself did run, and routers must not think otherwise.
//!
//! # Logging
//! Use the [`log`] facade; messages go to the node's log from the first one on, where the manifest grants it.
//! `LATTICE_LOG` in the manifest's `env` sets the level of lines (`info` unless set; `off` for none).
//!
//! # Spans
//! With the feature `tracing`, which is on by default, the [`tracing`](https://docs.rs/tracing) crate works as everywhere: its
//! events are lines of the log, and its spans become spans of the turn's trace, with their fields as attributes and the
//! events in them. Calls that are made within a span hang under it. One turn has room for 128 spans, with 64 KiB of text; they
//! end with their turn.
//!
//! ```ignore
//! use lattice_actor::tracing::{self, Instrument, info_span};
//!
//! let prices = fetch_prices(ctx).instrument(info_span!("prices", sku)).await?;
//! ```
#![deny(missing_docs)]

extern crate self as lattice_actor;

mod actor;
mod call;
mod cause;
mod context;
mod error;
mod interface;
mod json;
mod keyed;
mod macros;
mod metadata;
#[cfg(feature = "protobuf")]
mod protobuf;
mod rejection;
mod reminder;
mod timer;
mod turn;

#[cfg(target_family = "wasm")]
mod logging;
#[cfg(target_family = "wasm")]
mod mesh;
#[cfg(all(target_family = "wasm", feature = "tracing"))]
mod spans;
#[cfg(target_family = "wasm")]
mod wasm;

#[cfg(not(target_family = "wasm"))]
pub mod testing;
#[cfg(not(target_family = "wasm"))]
use testing::mesh;

pub use futures::future::{join_all, try_join_all};
pub use futures::{join, try_join};
#[cfg(feature = "tracing")]
pub use tracing;
pub use {log, serde, serde_json};

pub use self::actor::{Actor, Message};
pub use self::call::Call;
pub use self::cause::{Cause, Occurrence};
pub use self::context::Context;
pub use self::error::{CallError, Ran, Result};
pub use self::interface::{Callee, Interface};
pub use self::keyed::Keyed;
pub use self::macros::{ActorError, actor, interface, keyed};
pub use self::metadata::Operation;
pub use self::rejection::{ActorError, Rejection};
pub use self::reminder::Schedule;
pub use self::turn::Turn;

/// What generated code calls. No part of the interface: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::actor::Checked;
    #[cfg(target_family = "wasm")]
    pub use crate::wasm::check::bindings as check_bindings;
    #[cfg(target_family = "wasm")]
    pub use crate::wasm::keyed::{ExportedKeyed, bindings as keyed_bindings};
    #[cfg(target_family = "wasm")]
    pub use crate::wasm::{Exported, bindings};
    #[cfg(target_family = "wasm")]
    pub use wit_bindgen;

    /// An actor is made when its first message arrives, so it must be [`Default`].
    pub const fn must_be_default<A: Default>() {}

    pub mod json {
        pub use crate::json::{Arguments, Request, call, reply};
    }

    pub mod metadata {
        pub use crate::metadata::{check, length, line};
    }

    #[cfg(feature = "protobuf")]
    pub mod protobuf {
        pub use crate::protobuf::{Arguments, Request, call, reply};
    }
}
