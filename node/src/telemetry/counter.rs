//! What a node counts since it started. Counts only grow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        #[derive(Default)]
        struct Counts {
            $($name: AtomicU64,)*
        }

        /// A cheap handle on one node's counters.
        #[derive(Clone, Default)]
        pub struct Counters(Arc<Counts>);

        impl Counters {
            $($(#[$doc])* pub fn $name(&self) {
                self.0.$name.fetch_add(1, Ordering::Relaxed);
            })*

            /// All of them by name.
            pub fn all(&self) -> BTreeMap<String, u64> {
                [$((stringify!($name).to_owned(), self.0.$name.load(Ordering::Relaxed)),)*].into()
            }
        }
    };
}

counters! {
    /// A call was asked for on this node.
    calls,
    /// One of them went to another node.
    calls_remote,
    /// One of them was tried again.
    retries,
    /// A message from another node was handled.
    calls_received,
    /// A call came from a plain NATS client.
    calls_ingress,
    /// A message was published to a topic.
    topics_published,
    /// A message of a topic was handled by an actor that subscribes to it.
    topics_handled,
    /// One was given up, and lies with the dead letters.
    topics_given_up,
    /// A mailbox was full.
    overloaded,
    /// A message arrived after its deadline.
    expired,
    /// A node stopped answering.
    peers_lost,
    /// An envelope could not be read.
    malformed_envelopes,
    /// A subject could not be read.
    malformed_subjects,
    /// A record in the shared store could not be read.
    malformed_records,
    /// A request to the admin API could not be read.
    malformed_requests,
    /// An event was not told: too many came at once, or NATS was away for too long.
    events_dropped,
}
