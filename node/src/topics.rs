//! Topics: a message is published once, and each actor that subscribes handles it, by one of its replicas.
//!
//! ```text
//! publish ─▶ stream of topics ─┬▶ queue of one subscription ─▶ a node with a replica ─▶ turn ── done ─▶ acknowledged
//!                              └▶ queue of another one            │ failed ─▶ again, after a pause ─▶ dead letters
//! ```
//!
//! Rules:
//! 1. What is published is told to be so when the stream has it; an answer that was lost is asked for under the same id.
//! 2. A subscription has a queue of its own, which the leader makes and takes away ([`crate::controller`]): it begins when the
//!    revision that asks for it was stored, and neither a slow subscriber nor one without replicas holds up another.
//! 3. A node takes from a queue what its own replicas of a version that subscribes have room for. So whoever gets a message knows
//!    the operation that is to handle it, also while one version takes the place of another.
//! 4. A message is acknowledged when its turn has succeeded, or it lies with the dead letters; never before. That of a node which is
//!    lost comes to another one. The server counts how often it comes, and one that comes again and again is given up.
//! 5. One that fails goes back until its next try: it takes no place from others meanwhile.
//! 6. Plain NATS clients publish as well, and headers say what whoever wrote them likes: nobody is taken for an actor by them.

mod publisher;
mod subscriber;

pub use publisher::{Publication, Publisher};
pub use subscriber::Subscriber;

/// The header with the type of a payload.
const CONTENT_TYPE: &str = "Content-Type";

/// The headers with the span that published it.
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
