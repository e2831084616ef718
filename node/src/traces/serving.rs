//! Answers whoever asks for the traces that this node has kept.

use lattice_proto::subject::Subjects;
use lattice_proto::trace::{Query, Spans};
use lattice_proto::{Incarnation, NodeName};

use crate::bus::Connection;
use crate::telemetry::{Counters, recent};

/// The largest answer, in bytes. It is a message among those of calls.
const LARGEST: usize = 512 << 10;

/// Answers for as long as the node runs, one after the other: people ask, and what there is was encoded when it was kept.
pub async fn serve(
    bus: Connection,
    subjects: Subjects,
    (node, incarnation): (NodeName, Incarnation),
    counters: Counters,
) {
    bus.opened().await;
    let Ok(mut queries) = bus.subscribe(subjects.trace(&incarnation), None).await else { return };
    while let Some(message) = queries.next().await {
        let (Some(reply), Ok(query)) = (message.reply, Query::decode(message.payload)) else {
            counters.malformed_envelopes();
            continue;
        };
        let spans = match query {
            Query::Firsts { actor, most } => recent::firsts(actor.as_ref(), most),
            Query::Trace(id) => recent::trace(id),
        };
        let spans = Spans { node: node.clone(), spans, cut: false };
        bus.publish(reply, spans.encode(LARGEST.min(bus.max_payload()))).await;
    }
}
