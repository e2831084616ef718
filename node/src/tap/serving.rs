//! Answers those who watch, one query after the other.

use std::sync::Arc;
use std::time::Duration;

use lattice_proto::subject::Subjects;
use lattice_proto::tap::{Query, Seen};
use lattice_proto::{Incarnation, NodeName};
use tokio::sync::Semaphore;

use super::Taps;
use super::watch::Tap;
use crate::bus::{Connection, ReplyTo};
use crate::telemetry::Counters;

/// Queries that wait for messages at once. More are answered with what is there.
const AT_ONCE: usize = 64;

/// Bytes in one answer, which is to be a small message among those of calls.
const BYTES: usize = 128 << 10;

/// The longest that a query waits.
const LONGEST: Duration = Duration::from_secs(5);

/// How long others are waited for when there is one.
const GATHER: Duration = Duration::from_millis(100);

/// How often it is looked for those who do not ask any more.
const LOOK: Duration = Duration::from_secs(1);

/// Answers for as long as the node runs.
pub async fn serve(
    taps: Taps,
    bus: Connection,
    subjects: Subjects,
    (node, incarnation): (NodeName, Incarnation),
    counters: Counters,
) {
    let forget = async {
        loop {
            tokio::time::sleep(LOOK).await;
            taps.forget();
        }
    };
    let answer = async {
        bus.opened().await;
        let Ok(mut queries) = bus.subscribe(subjects.tap(&incarnation), None).await else { return };
        let room = Arc::new(Semaphore::new(AT_ONCE));
        while let Some(message) = queries.next().await {
            let (Some(reply), Ok(query)) = (message.reply, Query::decode(message.payload)) else {
                counters.malformed_envelopes();
                continue;
            };
            let (bus, node) = (bus.clone(), node.clone());
            match (taps.asked(&query), room.clone().try_acquire_owned()) {
                (Ok(tap), Ok(place)) => {
                    let wait = Duration::from_millis(u64::from(query.wait_ms)).min(LONGEST);
                    tokio::spawn(async move {
                        answer(&tap, &bus, node, reply, wait).await;
                        drop(place);
                    });
                }
                // There is no place to wait at; what is there is told at once.
                (Ok(tap), Err(_)) => answer(&tap, &bus, node, reply, Duration::ZERO).await,
                (Err(why), _) => {
                    let refused = Some(why.to_owned());
                    let seen = Seen { node, messages: Vec::new(), skipped: 0, refused };
                    bus.publish(reply, seen.encode(Vec::new())).await;
                }
            }
        }
    };
    tokio::select! {
        () = forget => {}
        () = answer => {}
    }
}

async fn answer(tap: &Tap, bus: &Connection, node: NodeName, reply: ReplyTo, wait: Duration) {
    if !wait.is_zero() && tokio::time::timeout(wait, tap.has_some()).await.is_ok() {
        // A busy actor's messages go many in one answer.
        tokio::time::sleep(GATHER).await;
    }
    let given = tap.give(BYTES.min(bus.max_payload() / 2));
    let seen = Seen { node, messages: Vec::new(), skipped: given.skipped, refused: None };
    bus.publish(reply, seen.encode(given.messages)).await;
}
