//! Gets components from registries that speak the distribution protocol of the Open Container Initiative, and puts them there. Nodes
//! and the command line do it in the same way; which registries may be asked is for them to say.
//!
//! ```text
//! client                                                   registry
//!   GET /v2/<name>/manifests/<tag or digest>      ──────▶
//!                                                 ◀──────  401, with where to get a token (once)
//!   GET <realm>?service=…&scope=…                 ──────▶  (the token server)
//!   GET /v2/<name>/manifests/<tag or digest>      ──────▶
//!                                                 ◀──────  the manifest: its layers, their digests and sizes
//!   GET /v2/<name>/blobs/<digest>                 ──────▶
//!                                                 ◀──────  the component, or where it is to be had
//! ```
//!
//! Rules:
//! 1. A registry is hostile. Nothing that it sends is kept beyond a bound that was known before: manifests, tokens and errors have one
//!    each, and a layer has the size that its manifest says, which is judged before anything of it is asked for.
//! 2. What has a digest is used only if its bytes have it. A tag is turned into a digest once.
//! 3. Each step has its time: to connect, without a word, and as a whole.
//! 4. What a registry sends its client to is reached by HTTPS, or is a host that may be spoken with in the clear; and by an address that
//!    is everybody's, unless the host is named by whoever asks. Authorization goes to the registry itself only; name and password also to
//!    the token server that it names. Authorities of the caller's count for the registry and for hosts that are named, and what others
//!    say is repeated to nobody.

#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail on what it did not expect"))]

mod error;
pub use error::Error;

mod url;
mod wire;
pub use wire::{Access, SILENCE};

mod credentials;
pub use credentials::{Credentials, Login};

mod session;

#[cfg(test)]
mod scripted;

mod manifest;
pub use manifest::Layer;

mod component;
pub use component::{Component, NoComponent};

mod pull;
pub use pull::Pull;

mod push;
pub use push::{About, Pushed};

use std::sync::Arc;

/// Speaks with registries. It keeps nothing of one for another.
pub struct Client {
    wire: Arc<wire::Wire>,
}

impl Client {
    /// One that trusts as it is told.
    ///
    /// # Errors
    /// When what is to be trusted is no certificate.
    pub fn new(access: Access) -> Result<Self, Error> {
        Ok(Self { wire: Arc::new(wire::Wire::new(access)?) })
    }
}
