//! The lattice as a whole: what every node has done and holds now, put together into pictures for as long as somebody watches.
//!
//! ```text
//! viewers ◀─ pictures ─ surveyor (on the node that is asked) ─ query ─▶ every node: its survey
//!                          │ two surveys of a node ─▶ rates                 (from the same measures as /metrics)
//! ```
//!
//! Rules:
//! 1. Nobody is asked when nobody has watched for 30 seconds.
//! 2. A survey only has numbers that grow and amounts of this moment; what happened in between is worked out by whoever asks.
//! 3. Each node remembers how its actors did, whether somebody watches or not, for half an hour.
//! 4. A node that does not answer is shown with what it said last, and as one that does not answer.

mod history;
mod picture;
mod rates;
mod serving;
mod surveyor;

pub use history::{History, Sample};
pub use serving::serve;
pub use surveyor::{Pictures, Surveyor};
