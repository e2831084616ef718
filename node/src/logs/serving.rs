//! Answers whoever reads, one query after the other, and looks after what was left out.

use std::sync::Arc;
use std::time::Duration;

use lattice_proto::log::{Lines, Query};
use lattice_proto::subject::Subjects;
use lattice_proto::{Incarnation, NodeName};
use tokio::sync::Semaphore;

use super::Store;
use super::guest::tell_dropped;
use crate::bus::{Connection, ReplyTo};
use crate::telemetry::Counters;

/// Queries that wait for lines at once. More are answered with what is there.
const AT_ONCE: usize = 256;

/// Lines and bytes in one answer, which is to be a small message among those of calls.
const LINES: usize = 1_000;
const BYTES: usize = 128 << 10;

/// How often it is told what was left out.
const TELL: Duration = Duration::from_secs(1);

/// Answers queries for the lines of this node, for as long as it runs.
pub async fn serve(
    store: Store,
    bus: Connection,
    subjects: Subjects,
    me: (NodeName, Incarnation),
    counters: Counters,
) {
    let tell = async {
        loop {
            tokio::time::sleep(TELL).await;
            for (actor, count) in store.dropped() {
                tell_dropped(&actor, count);
            }
        }
    };
    let answer = async {
        bus.opened().await;
        let Ok(mut queries) = bus.subscribe(subjects.log(&me.1), None).await else { return };
        let room = Arc::new(Semaphore::new(AT_ONCE));
        while let Some(message) = queries.next().await {
            let (Some(reply), Ok(query)) = (message.reply, Query::decode(message.payload)) else {
                counters.malformed_envelopes();
                continue;
            };
            let (store, bus, node) = (store.clone(), bus.clone(), me.0.clone());
            match room.clone().try_acquire_owned() {
                Ok(place) => {
                    tokio::spawn(async move {
                        reply_to(&store, &bus, node, query, reply).await;
                        drop(place);
                    });
                }
                // There is no place to wait at; what is there is told at once.
                Err(_) => reply_to(&store, &bus, node, Query { wait_ms: 0, ..query }, reply).await,
            }
        }
    };
    tokio::select! {
        () = tell => {}
        () = answer => {}
    }
}

async fn reply_to(store: &Store, bus: &Connection, node: NodeName, mut query: Query, reply: ReplyTo) {
    let until = tokio::time::Instant::now() + Duration::from_millis(u64::from(query.wait_ms));
    loop {
        let mut news = store.follow(query.actor.as_ref());
        // Read before the lines are, so that none before it can be missed.
        let until_ms = store.now_ms();
        let found = store.find(&query, LINES, BYTES);
        let waits = found.lines.is_empty() && !found.more && found.lost == 0;
        if waits && tokio::time::Instant::now() < until {
            // What was looked at need not be looked at again.
            query.after = Some(found.next).filter(|next| *next > 0).or(query.after);
            let _ = tokio::time::timeout_at(until, news.changed()).await;
            continue;
        }
        let lines = found.lines.iter().map(|line| line.encode()).collect();
        let answer =
            Lines { node, lines: Vec::new(), next: found.next, more: found.more, lost: found.lost, until_ms };
        return bus.publish(reply, answer.encode(lines)).await;
    }
}
