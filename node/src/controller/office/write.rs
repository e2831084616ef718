//! Writing what was planned: routes one by one, assignments in batches that are guarded by the term.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::StreamExt;
use lattice_proto::record::{self, Assignment, Route};
use lattice_proto::subject::Control;
use lattice_proto::{ActorName, NodeName};

use super::Office;
use super::entry::NodeEntry;
use crate::bus::{Error, Guard, Space};

/// Writes on their way at once.
const AT_ONCE: usize = 64;

/// What a record's subject and headers may add to its message.
const RECORD_HEADERS: usize = 4 << 10;

impl Office<'_> {
    /// Writes routes, many at a time: a large lattice has thousands, and each write waits for its answer.
    pub(super) async fn write_routes(
        &mut self,
        routes: BTreeMap<ActorName, Option<Route>>,
    ) -> Result<(), Error> {
        let largest = self.context.bus.control.max_payload().saturating_sub(RECORD_HEADERS);
        let (routes, oversized): (BTreeMap<_, _>, BTreeMap<_, _>) =
            routes.into_iter().partition(|(_, route)| {
                route.as_ref().is_none_or(|route| record::encode(route).len() <= largest)
            });
        for actor in oversized.into_keys() {
            if self.oversized_routes.insert(actor.clone()) {
                tracing::error!(
                    %actor,
                    largest,
                    "an actor's route is larger than a NATS message may be, and was not written: raise `max_payload` of the \
                     NATS server, or let it run on fewer nodes"
                );
            }
        }
        let known = |actor: &ActorName| {
            let stored = self.routes.get(actor.as_str()).map(|stored| stored.revision);
            self.written.get(actor).copied().max(stored)
        };
        let writes: Vec<_> = routes
            .into_iter()
            .map(|(actor, route)| {
                let over = known(&actor);
                let stored = self.routes.get(actor.as_str()).map(|stored| &stored.value);
                self.chronicle.route(&actor, stored, over.unwrap_or(0), route.as_ref());
                write_route(self.context.bus.routes.clone(), actor, over, route)
            })
            .collect();
        let written: Vec<(ActorName, Result<u64, Error>)> =
            futures::stream::iter(writes).buffer_unordered(AT_ONCE).collect().await;
        let mut outcome = Ok(());
        for (actor, written) in written {
            match written {
                Ok(0) => drop(self.written.remove(&actor)),
                Ok(revision) => drop(self.written.insert(actor, revision)),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// Writes assignments, those that belong together all or none.
    pub(super) async fn write_assignments(
        &mut self,
        assignments: BTreeMap<NodeName, Assignment>,
    ) -> Result<(), Error> {
        let nodes = self.nodes.entries().iter();
        let unreadable: BTreeSet<&str> = nodes
            .filter(|(_, entry)| matches!(entry.value, NodeEntry::Unreadable))
            .filter_map(|(key, _)| key.strip_prefix("node."))
            .collect();
        let largest = self.context.bus.control.max_payload().saturating_sub(RECORD_HEADERS);
        let mut writes: Vec<(String, Bytes)> = Vec::new();
        for (node, assignment) in &assignments {
            // A node whose record cannot be read is left alone: it may be newer than this leader.
            if unreadable.contains(node.as_str()) {
                continue;
            }
            let bytes = record::encode(assignment);
            // The batch is all or nothing, and one that is too large must not keep the others from theirs.
            if bytes.len() <= largest {
                writes.push((self.subjects.control(&Control::Assign(node.clone())), bytes));
            } else if self.oversized.insert(node.clone()) {
                tracing::error!(
                    %node,
                    bytes = bytes.len(),
                    largest,
                    "a node's assignment is larger than a NATS message may be, and was not written: raise \
                     `max_payload` of the NATS server, or let fewer actors run there"
                );
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        let key = self.subjects.control(&Control::Term);
        let guard = Guard { key: &key, revision: self.term_revision };
        self.context.bus.decisions.put_all_guarded(&guard, &writes).await
    }
}

/// `over` is the revision that is known; none where the key is not. Gives the new revision, 0 when it was removed.
async fn write_route(
    space: Space,
    actor: ActorName,
    over: Option<u64>,
    route: Option<Route>,
) -> (ActorName, Result<u64, Error>) {
    let key = actor.as_str();
    let written = async {
        let over = match over {
            Some(over) => over,
            // A removed key has a revision too, which the mirror does not keep.
            None => space.get(key).await?.map_or(0, |entry| entry.revision),
        };
        match route {
            Some(route) => space.put_if(key, record::encode(&route), over).await,
            None => space.remove_if(key, over).await.map(|()| 0),
        }
    };
    let written = written.await;
    (actor, written)
}
