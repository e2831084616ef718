//! What guests write and what nodes say: kept for a while in the memory of the node on which it is said, and read over all
//! nodes in the order of time.
//!
//! ```text
//! guest ─▶ limit ─┐
//!                 ├─▶ tracing ─▶ standard error; OTLP; rings (bounded) ◀─ Query ─ whoever reads, one node after the other
//! node ───────────┘
//! ```
//!
//! Rules:
//! 1. Nobody waits for whoever reads. An actor that writes too much loses its own lines, is told how many, and costs others nothing.
//! 2. A line is bounded and holds no control characters by the time it is kept.
//! 3. A node keeps nothing for whoever reads: each query is answered by itself, so a reader may come, go and be slow.
//! 4. Lines come in the order of time as far as all nodes have answered. One that does not answer is not waited for.

mod guest;
mod layer;
mod limit;
mod once;
mod otlp;
mod reading;
mod ring;
mod serving;
mod store;

pub use guest::{Speaker, Speaking};
pub use layer::{Layer, filter};
pub use once::Once;
pub use otlp::Otlp;
pub use reading::{Error, Read, Reader, Reading, Selection};
pub use serving::serve;
pub use store::Store;
