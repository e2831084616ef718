//! The messages of an actor, watched as they are handled, over all nodes.
//!
//! ```text
//! turn begins ─▶ somebody watches? ─▶ what came ─▶ answer ─▶ queue (bounded) ─▶ one task: hidden, as text ─▶ one box for each
//!                (one load otherwise)                                            who watches (bounded) ◀─ Query, again and again
//! ```
//!
//! Rules:
//! 1. Nobody's message waits for whoever watches. What is too much is left out and counted.
//! 2. What is to be hidden is hidden on the node that handles the message, before anything leaves it.
//! 3. A node watches for as long as it is asked. Whoever watches and goes away is forgotten in seconds.
//! 4. A message is seen where it enters a guest. What is refused or given back before is offered elsewhere, and is seen there.
//! 5. What is on its way when a connection breaks off is lost to whoever watches.

mod hide;
mod reading;
mod seen;
mod serving;
mod watch;

pub use reading::{Error, Reader, Reading, Selection, Told};
pub use seen::Tapped;
pub use serving::serve;
pub use watch::{Shows, Taps};
