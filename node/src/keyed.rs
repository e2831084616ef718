//! Keyed actors on this node: one activation for each key whose shard this node owns.
//!
//! ```text
//! owners (watched) ─▶ is the key's shard ours? ── no ─▶ not here
//!                              │ yes
//!                              ▼
//!                    activation of the key ── claim ─▶ its record, by compare-and-set
//!                              │ turns, one at a time
//!                              ▼
//!                    committer ── commit ─▶ its record, by compare-and-set ─▶ replies go out
//! ```
//!
//! Rules:
//! 1. Nothing that a turn gives leaves before the state that it saw is committed. No acknowledgement is guessed.
//! 2. A key is safe because its record is written by compare-and-set only. That one node owns a shard keeps two from
//!    contending for a key; it never decides what counts.
//! 3. A read of the store may be stale. What a claim is built on counts only if the claim is stored.
//! 4. No turn begins while this node's lease may have run out. After it had, the key is claimed once more.
//! 5. In `strict` mode nothing is let out then either, and a key whose owner was lost is not claimed before that one's lease
//!    has surely run out.

mod activation;
mod agenda;
mod backoff;
mod commit;
mod delivery;
mod handover;
mod keys;
mod known;
mod letters;
mod outbox;
mod owners;
mod sends;
mod slept;
mod store;
mod tenure;
mod timers;

pub use delivery::Delivery;
pub use handover::Handover;
pub use keys::{Keyed, Keys};
pub use known::{Backlog, Known, letter_bytes, reminder_bytes};
pub use letters::{Dead, Letters};
pub use owners::Owners;
pub use sends::Sends;
pub(crate) use sends::{Carried, To};
pub use store::{Kept, Store};
pub use tenure::{Begin, Tenure};
pub use timers::{Failing, MAX_TIMERS, Timer, Timers};
