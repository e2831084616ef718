//! Holding office: keep the lease, keep up with everything, and write what the plan says.

mod entry;
mod held;
mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use lattice_proto::record::{self, App, Assignment, Lease, Node, NodeState, NodeStatus, Route};
use lattice_proto::subject::{Control, Inbox};
use lattice_proto::{ActorName, AppName, Incarnation, NodeName};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::entry::{Decision, NodeEntry, parse_decision, parse_node};
use self::held::Held;
use self::route::{Write, write_route};
use super::Context;
use super::election::{self, Elected};
use super::liveness::{Liveness, Verdict};
use super::plan::{self, Seen, World};
use crate::bus::{Change, Error, Guard, Link, Mirror, RequestError};
use crate::clock::wall_ms;
use crate::membership::state_key;

/// Writes on their way at once.
const AT_ONCE: usize = 64;

/// How often time alone is a reason to look.
const LOOK: Duration = Duration::from_millis(100);

/// How long a lost node stays in the list.
const REMEMBER: Duration = Duration::from_secs(60);

/// What a record's subject and headers may add to its message.
const RECORD_HEADERS: usize = 4 << 10;

/// How long a ping may take before it says that the node hangs.
const PING: Duration = Duration::from_millis(500);

struct Office<'a> {
    context: &'a Context,
    term: u64,
    term_revision: u64,
    decisions: Mirror<Decision>,
    nodes: Mirror<NodeEntry>,
    routes: Mirror<Route>,
    leases_complete: bool,
    liveness: Liveness,
    /// When each node was found to be lost.
    lost: BTreeMap<NodeName, (Incarnation, Instant)>,
    /// Whether the last plan could not be written as a whole.
    again: bool,
    /// Whether records that cannot be read were reported already.
    complained: bool,
    /// Nodes whose assignments were too large to be written; each is reported once in a term.
    oversized: BTreeSet<NodeName>,
    /// The control stream's prefix, by which its keys are parsed.
    subjects: lattice_proto::subject::Subjects,
}

/// Leads until the lease is lost, and says why it ended.
pub(super) async fn hold(
    context: &Context,
    elected: Elected,
    suspicions: &mut mpsc::Receiver<Incarnation>,
    stop: &CancellationToken,
) -> &'static str {
    let Elected { keeper, term, term_revision, deposed } = elected;
    // Renewals have a task of their own: a plan that takes long to write must not cost the office.
    let held = Held::start(keeper);
    let (verdicts, mut told) = mpsc::channel::<(Incarnation, Verdict)>(64);
    let mut office = Office {
        context,
        term,
        term_revision,
        decisions: Mirror::new({
            let subjects = context.subjects.clone();
            move |entry| parse_decision(&subjects, entry)
        }),
        nodes: Mirror::new(parse_node),
        routes: Mirror::new(|entry| record::decode(entry.value.as_deref()?).ok()),
        leases_complete: false,
        liveness: Liveness::new(Instant::now()),
        lost: BTreeMap::new(),
        again: false,
        complained: false,
        oversized: BTreeSet::new(),
        subjects: context.subjects.clone(),
    };
    let filter = context.subjects.control_filter();
    let mut decisions = context.bus.decisions.watch(&filter);
    let mut nodes = context.bus.nodes.watch(">");
    let mut routes = context.bus.routes.watch(">");
    let mut leases = context.bus.leases.watch("node.*");
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut link = context.bus.control.link();
    let mut generation = link.borrow().generation;
    let mut deposed = deposed;

    loop {
        let mut dirty = tokio::select! {
            change = decisions.next() => office.decisions.apply(change),
            change = nodes.next() => office.nodes.apply(change),
            change = routes.next() => office.routes.apply(change),
            change = leases.next() => office.lease(change),
            Some(suspect) = suspicions.recv() => {
                ask(context, suspect, &verdicts);
                false
            }
            Some((incarnation, verdict)) = told.recv() => {
                office.liveness.told(&incarnation, verdict);
                office.liveness.take_changed(Instant::now())
            }
            _ = look.tick() => {
                let now = Instant::now();
                for silent in office.liveness.ask_now(now) {
                    ask(context, silent, &verdicts);
                }
                // Time alone changes little, so nothing is planned anew that did not change.
                office.liveness.take_changed(now) || office.again || office.forgets(now)
            }
            latest = next_generation(&mut link, generation) => {
                generation = latest;
                office.liveness.forgive(Instant::now());
                false
            }
            () = stop.cancelled() => {
                held.release().await;
                return "the node is stopping";
            }
        };
        // Whatever else is there already is taken in first, so that a burst of changes makes one plan.
        for _ in 0..256 {
            let more = if let Some(change) = decisions.next().now_or_never() {
                office.decisions.apply(change)
            } else if let Some(change) = nodes.next().now_or_never() {
                office.nodes.apply(change)
            } else if let Some(change) = routes.next().now_or_never() {
                office.routes.apply(change)
            } else if let Some(change) = leases.next().now_or_never() {
                office.lease(change)
            } else {
                break;
            };
            dirty |= more;
        }
        if let Some(gone) = deposed.take_if(|_| office.leases_complete) {
            office.liveness.lost(&gone, Instant::now());
        }
        if !held.is_valid() {
            return "its lease was not renewed in time, or another node took over";
        }
        if dirty && office.is_complete() {
            let acted = office.act().await;
            office.again = acted.is_err();
            match acted {
                Ok(()) => {}
                // Either the mirrors are a moment behind, which mends itself, or another leader has begun its term.
                Err(Error::Conflict) => {
                    if matches!(office.is_deposed().await, Ok(true)) {
                        return "another leader has begun its term";
                    }
                }
                Err(error) => tracing::warn!(%error, "a plan was not written; it is made again"),
            }
        }
    }
}

/// Waits until the connection came up again.
async fn next_generation(link: &mut watch::Receiver<Link>, known: u64) -> u64 {
    let came_up = link.wait_for(|link| link.up && link.generation != known).await.map(|link| link.generation);
    match came_up {
        Ok(generation) => generation,
        // The connection is closed for good, and so is this node.
        Err(_) => std::future::pending().await,
    }
}

/// Pings a node in the background and reports what that told.
fn ask(context: &Context, node: Incarnation, verdicts: &mpsc::Sender<(Incarnation, Verdict)>) {
    let (context, verdicts) = (context.clone(), verdicts.clone());
    tokio::spawn(async move {
        let inbox = context.subjects.inbox(&node, &Inbox::Ping);
        let verdict = match context.bus.control.request(inbox, Bytes::new(), PING).await {
            Ok(_) => Verdict::Alive,
            Err(RequestError::NoResponders) if election::is_gone(&context, &node).await => Verdict::Gone,
            Err(RequestError::TimedOut) => Verdict::Silent,
            // Nothing is known of others while this node itself is cut off.
            Err(_) => return,
        };
        // The office may have ended meanwhile.
        let _ = verdicts.send((node, verdict)).await;
    });
}

impl Office<'_> {
    fn is_complete(&self) -> bool {
        self.leases_complete
            && self.decisions.is_complete()
            && self.nodes.is_complete()
            && self.routes.is_complete()
    }

    /// Takes in a change of the leases.
    fn lease(&mut self, change: Change) -> bool {
        match change {
            Change::Reset => {
                self.liveness.begin_listing();
                false
            }
            Change::Current => {
                self.liveness.end_listing();
                self.leases_complete = true;
                true
            }
            Change::Put(entry) => {
                let name = entry.key.strip_prefix("node.").and_then(|name| name.parse().ok());
                let Some(name) = name else { return false };
                match entry.value.as_deref().and_then(|bytes| record::decode::<Lease>(bytes).ok()) {
                    Some(lease) => self.liveness.renewed(&lease, Instant::now()),
                    None => self.liveness.ended(&name),
                }
                // Renewals come all the time, and what they change is looked at with the clock.
                false
            }
        }
    }

    /// Whether a lost node has been listed for long enough.
    fn forgets(&self, now: Instant) -> bool {
        self.lost.values().any(|(_, since)| now.duration_since(*since) > REMEMBER)
    }

    async fn is_deposed(&self) -> Result<bool, Error> {
        let entry = self.context.bus.decisions.get(&self.subjects.control(&Control::Term)).await?;
        Ok(entry.is_none_or(|entry| entry.revision > self.term_revision))
    }

    /// Keys of what is declared or decided whose records cannot be read. While there are any nothing is planned: a plan
    /// over half of what is declared would stop the other half. Revisions that are no longer current do not count, and
    /// neither does what a single node says of itself.
    fn unreadable(&self) -> Vec<&str> {
        let entries = || self.decisions.entries().iter();
        let catalog = entries().find_map(|(_, entry)| match &entry.value {
            Decision::Catalog(catalog) => Some(catalog),
            _ => None,
        });
        let matters = |key: &str| match (self.subjects.parse_control(key), catalog) {
            (Ok(Control::Spec(app, revision)), Some(catalog)) => {
                catalog.apps.get(&app).is_some_and(|head| !head.deleted && head.revision == revision)
            }
            (Ok(_), _) => true,
            (Err(_), _) => false,
        };
        let unreadable =
            entries().filter(|(key, entry)| matches!(entry.value, Decision::Unreadable) && matters(key));
        unreadable.map(|(key, _)| key.as_str()).collect()
    }

    async fn act(&mut self) -> Result<(), Error> {
        let unreadable = self.unreadable();
        if !unreadable.is_empty() {
            if !self.complained {
                self.context.counters.malformed_records();
                tracing::error!(
                    ?unreadable,
                    "records cannot be read, so nothing is planned; was this node updated last?"
                );
            }
            self.complained = true;
            return Ok(());
        }
        self.complained = false;
        let now = Instant::now();
        let seen = self.see(now);
        self.write_states(&seen, now).await?;

        let assigned: BTreeMap<NodeName, Assignment> = self
            .decisions
            .entries()
            .values()
            .filter_map(|entry| match &entry.value {
                Decision::Assignment(node, assignment) => Some((node.clone(), assignment.clone())),
                _ => None,
            })
            .collect();
        let world = World { apps: self.current_apps(), nodes: &seen, assigned: &assigned };
        let plan = plan::plan(&world, self.term);
        // Routes say what is there, assignments what should be. Routes go first: a node that loses a replica because
        // another one has it must not do so before callers can know of the other.
        let mut routes = plan.routes;
        self.keep_leaving(&seen, &mut routes);
        let routed = self.write_routes(routes).await;

        let nodes = self.nodes.entries().iter();
        let unreadable_nodes: BTreeSet<&str> = nodes
            .filter(|(_, entry)| matches!(entry.value, NodeEntry::Unreadable))
            .filter_map(|(key, _)| key.strip_prefix("node."))
            .collect();
        let largest = self.context.bus.control.max_payload().saturating_sub(RECORD_HEADERS);
        let changed: Vec<(String, Bytes)> = plan
            .assignments
            .iter()
            // A node whose record cannot be read is left alone: it may be newer than this leader.
            .filter(|(node, _)| !unreadable_nodes.contains(node.as_str()))
            .filter(|(node, assignment)| !plan::same(assigned.get(*node), assignment))
            .map(|(node, assignment)| (node, record::encode(assignment)))
            // The batch is all or nothing, and one that is too large must not keep the others from theirs.
            .filter(|(node, assignment)| {
                let fits = assignment.len() <= largest;
                if !fits && self.oversized.insert((*node).clone()) {
                    tracing::error!(
                        %node,
                        bytes = assignment.len(),
                        largest,
                        "a node's assignment is larger than a NATS message may be, and was not written: raise \
                         `max_payload` of the NATS server, or let fewer actors run there"
                    );
                }
                fits
            })
            .map(|(node, assignment)| (self.subjects.control(&Control::Assign(node.clone())), assignment))
            .collect();
        if !changed.is_empty() {
            let key = self.subjects.control(&Control::Term);
            let guard = Guard { key: &key, revision: self.term_revision };
            self.context.bus.decisions.put_all_guarded(&guard, &changed).await?;
        }
        routed
    }

    /// The current revision of every app that is not deleted.
    fn current_apps(&self) -> BTreeMap<&AppName, &App> {
        let entries = || self.decisions.entries().values().map(|entry| &entry.value);
        let catalog = entries().find_map(|decision| match decision {
            Decision::Catalog(catalog) => Some(catalog),
            _ => None,
        });
        let Some(catalog) = catalog else { return BTreeMap::new() };
        entries()
            .filter_map(|decision| match decision {
                Decision::App(app) => Some(app),
                _ => None,
            })
            .filter(|app| {
                catalog.apps.get(&app.app).is_some_and(|head| !head.deleted && head.revision == app.revision)
            })
            .map(|app| (&app.app, app))
            .collect()
    }

    fn see(&mut self, now: Instant) -> BTreeMap<NodeName, Seen> {
        let mut seen = BTreeMap::new();
        let records: Vec<Node> = self
            .nodes
            .entries()
            .values()
            .filter_map(|entry| match &entry.value {
                NodeEntry::Record(record) => Some(Node::clone(record)),
                _ => None,
            })
            .collect();
        for record in records {
            let told = self.status(&record.name).filter(|status| status.incarnation == record.incarnation);
            let told = told.map(|status| status.state);
            if told != Some(NodeState::Gone) {
                self.liveness.expect(&record.name, &record.incarnation, now);
            }
            let state = match self.liveness.state(&record.name, &record.incarnation, now) {
                Some(NodeState::Ready) if record.draining => NodeState::Draining,
                Some(state) => state,
                // While nothing can be said, what was said before stands.
                None => told.unwrap_or(NodeState::Ready),
            };
            seen.insert(record.name.clone(), Seen { record, state });
        }
        self.lost.retain(|name, (incarnation, _)| {
            seen.get(name)
                .is_some_and(|seen| seen.record.incarnation == *incarnation && seen.state == NodeState::Gone)
        });
        for (name, seen) in seen.iter().filter(|(_, seen)| seen.state == NodeState::Gone) {
            self.lost.entry(name.clone()).or_insert_with(|| (seen.record.incarnation.clone(), now));
        }
        seen
    }

    fn status(&self, name: &NodeName) -> Option<&NodeStatus> {
        match &self.nodes.get(&state_key(name))?.value {
            NodeEntry::Status(status) => Some(status),
            NodeEntry::Record(_) | NodeEntry::Unreadable => None,
        }
    }

    async fn write_states(&mut self, seen: &BTreeMap<NodeName, Seen>, now: Instant) -> Result<(), Error> {
        let mut forget = BTreeSet::new();
        for (name, seen) in seen {
            let before = self.status(name);
            let same = before.is_some_and(|status| {
                status.incarnation == seen.record.incarnation && status.state == seen.state
            });
            if !same {
                tracing::info!(node = %name, state = seen.state.as_str(), "a node's state changed");
                let status = NodeStatus {
                    incarnation: seen.record.incarnation.clone(),
                    state: seen.state,
                    since_ms: u64::try_from(wall_ms()).unwrap_or(0),
                };
                self.context.bus.nodes.put(&state_key(name), record::encode(&status)).await?;
            }
            if self.lost.get(name).is_some_and(|(_, since)| now.duration_since(*since) > REMEMBER) {
                forget.insert(name.clone());
            }
        }
        for name in forget {
            let record_key = crate::membership::node_key(&name);
            if let Some(entry) = self.nodes.get(&record_key) {
                // Only if it is still the record of the lost one: the node may be starting again right now.
                self.context.bus.nodes.remove_if(&record_key, entry.revision).await?;
            }
            self.context.bus.nodes.remove(&state_key(&name)).await?;
            self.liveness.forget(&name);
        }
        Ok(())
    }

    /// An actor that is declared no more keeps its route, with nothing wanted, until the last node has let go of it:
    /// only then is its removal done.
    fn keep_leaving(&self, seen: &BTreeMap<NodeName, Seen>, routes: &mut BTreeMap<ActorName, Route>) {
        for (actor, known) in self.routes.entries() {
            let Ok(actor) = actor.parse::<ActorName>() else { continue };
            let there =
                |seen: &Seen| seen.state != NodeState::Gone && seen.record.actors.contains_key(&actor);
            if !routes.contains_key(&actor) && seen.values().any(there) {
                let route =
                    Route { desired: 0, targets: Vec::new(), problems: Vec::new(), ..known.value.clone() };
                routes.insert(actor, route);
            }
        }
    }

    /// Writes what differs, many at a time: a large lattice has thousands of routes, and each write waits for its answer.
    async fn write_routes(&self, wanted: BTreeMap<ActorName, Route>) -> Result<(), Error> {
        let mut writes = Vec::new();
        for (actor, route) in &wanted {
            let known = self.routes.get(actor.as_str());
            if known.is_none_or(|known| known.value != *route) {
                let write = Write::Put(record::encode(route));
                writes.push((actor.to_string(), known.map(|known| known.revision), write));
            }
        }
        for (actor, known) in self.routes.entries() {
            if !wanted.contains_key(actor.as_str()) {
                writes.push((actor.clone(), Some(known.revision), Write::Remove));
            }
        }
        let space = &self.context.bus.routes;
        let written =
            writes.into_iter().map(|(key, over, write)| write_route(space.clone(), key, over, write));
        let written: Vec<Result<(), Error>> =
            futures::stream::iter(written).buffer_unordered(AT_ONCE).collect().await;
        written.into_iter().collect()
    }
}
