//! Answers whoever asks how this node is.

use std::time::Instant;

use lattice_proto::subject::Subjects;
use lattice_proto::survey::Query;
use lattice_proto::{Incarnation, NodeName};

use super::History;
use crate::bus::Connection;
use crate::telemetry::{Counters, metrics};

/// The largest answer, in bytes. It is a message among those of calls.
const LARGEST: usize = 512 << 10;

/// Answers for as long as the node runs, one after the other: whoever watches asks once a second.
pub async fn serve(
    page: metrics::Page,
    history: History,
    bus: Connection,
    subjects: Subjects,
    me: (NodeName, Incarnation),
    counters: Counters,
) {
    let started = Instant::now();
    bus.opened().await;
    let Ok(mut queries) = bus.subscribe(subjects.survey(&me.1), None).await else { return };
    while let Some(message) = queries.next().await {
        let (Some(reply), Ok(query)) = (message.reply, Query::decode(message.payload)) else {
            counters.malformed_envelopes();
            continue;
        };
        if let Query::Past(actor) = query {
            bus.publish(reply, history.of(&actor).encode()).await;
            continue;
        }
        let (page, node) = (page.clone(), me.0.clone());
        let most = LARGEST.min(bus.max_payload());
        // It looks at everything that runs here, which is not to hold up others on this thread.
        let taken = tokio::task::spawn_blocking(move || {
            metrics::survey(&page, node, started.elapsed()).map(|survey| survey.encode(most))
        });
        if let Ok(Ok(survey)) = taken.await {
            bus.publish(reply, survey).await;
        }
    }
}
