//! A port that others reach: how many connections there may be, TLS by files, and files that are read again when they change.
//!
//! It knows nothing of what is asked over it. Who may listen where, and what for, is said by [`config`](crate::config).

mod connections;
mod files;
mod tls;

pub(crate) use connections::{Connections, Listener};
pub(crate) use files::{Contents, follow, read};
pub use tls::Error;
pub(crate) use tls::Identity;
