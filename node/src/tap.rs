//! The messages of an actor, watched as they are handled, over all nodes.
//!
//! ```text
//! turn ─▶ is somebody watching? ─▶ what came ─▶ answer ─▶ queue (bounded) ─▶ one task: hidden, as text ─▶ one box for each who
//!         (one load otherwise)                                                watches (bounded) ◀─ Query, again and again
//! ```
//!
//! Rules:
//! 1. Nobody's message waits for whoever watches. What is too much is left out and counted.
//! 2. What is to be hidden is hidden on the node that handles the message, before anything leaves it.
//! 3. A node watches for as long as it is asked. Whoever watches and goes away is forgotten in seconds.
//! 4. What came counts only when it was answered by a replica: what is refused is offered elsewhere, and is seen there.

mod hide;
mod reading;
mod seen;
mod serving;
mod watch;

pub use reading::{Error, Reader, Reading, Selection, Told};
pub use seen::Tapped;
pub use serving::serve;
pub use watch::{Shows, Taps};
