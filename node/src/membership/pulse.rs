//! Whether a node is there at all. It answers by both its connections: by the one that calls go over, in its inbox, and by the
//! one that its leases go over, here. As they come and go apart, only both together say that the process has ended.

use std::time::Duration;

use bytes::Bytes;
use lattice_proto::Incarnation;
use lattice_proto::subject::{Inbox, Subjects};

use crate::bus::{Bus, RequestError};
use crate::telemetry::Counters;

/// Refusals this far apart say that a node is gone. Once could fall into a reconnection, which is shorter where there is a
/// server to go to.
const AGAIN: Duration = Duration::from_millis(200);

/// A connection that came up this shortly ago says nothing of others: where a server was away, they come up one by one, and the
/// longest pause between two attempts is shorter.
const SETTLED: Duration = Duration::from_millis(1_200);

/// What is not answered for this long says nothing.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers for as long as the node runs.
pub async fn answer(bus: Bus, subjects: Subjects, me: Incarnation, counters: Counters) {
    let subject = subjects.pulse(&me);
    loop {
        // The only error is a client that is closed, as it is when the node ends.
        let Ok(mut asked) = bus.control.subscribe(subject.clone(), None).await else { return };
        while let Some(message) = asked.next().await {
            if !message.payload.is_empty() {
                counters.malformed_envelopes();
            } else if let Some(reply) = message.reply {
                bus.control.publish(reply, Bytes::new()).await;
            }
        }
    }
}

/// Whether nobody listens to either of a node's connections, twice in a row.
pub async fn is_gone(bus: &Bus, subjects: &Subjects, node: &Incarnation) -> bool {
    if bus.control.link().borrow().since.is_none_or(|since| since.elapsed() < SETTLED) {
        return false;
    }
    for last in [false, true] {
        let refused = async |subject| {
            let answer = bus.control.request(subject, Bytes::new(), PATIENCE).await;
            answer == Err(RequestError::NoResponders)
        };
        let inbox = subjects.inbox(node, &Inbox::Ping);
        if !refused(inbox).await || !refused(subjects.pulse(node)).await {
            return false;
        }
        if !last {
            tokio::time::sleep(AGAIN).await;
        }
    }
    true
}
