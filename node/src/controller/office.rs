//! Holding office: keep the lease, keep up with everything, and write what the plan says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use lattice_proto::record::{self, App, Assignment, Catalog, Lease, Node, NodeState, NodeStatus, Route};
use lattice_proto::subject::{Control, Inbox};
use lattice_proto::{ActorName, AppName, Incarnation, NodeName};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Context;
use super::election::{self, Elected};
use super::liveness::{Liveness, Verdict};
use super::plan::{self, Seen, World};
use crate::bus::{Change, Entry, Error, Guard, Link, Mirror, RequestError};
use crate::clock::wall_ms;
use crate::membership::{RENEW, Renewal, state_key};

/// How often time alone is a reason to look.
const LOOK: Duration = Duration::from_millis(100);

/// How long a lost node stays in the list.
const REMEMBER: Duration = Duration::from_secs(60);

/// How long a ping may take before it says that the node hangs.
const PING: Duration = Duration::from_secs(1);

/// What the control stream holds.
enum Decision {
    Catalog(Catalog),
    App(App),
    Assignment(NodeName, Assignment),
    Other,
}

/// What the nodes bucket holds.
enum NodeEntry {
    Record(Node),
    Status(NodeStatus),
}

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
    let Elected { mut keeper, term, term_revision, deposed } = elected;
    let (verdicts, mut told) = mpsc::channel::<(Incarnation, Verdict)>(64);
    let mut office = Office {
        context,
        term,
        term_revision,
        decisions: Mirror::new(parse_decision),
        nodes: Mirror::new(parse_node),
        routes: Mirror::new(|entry| record::decode(entry.value.as_deref()?).ok()),
        leases_complete: false,
        liveness: Liveness::new(Instant::now()),
        lost: BTreeMap::new(),
        again: false,
        subjects: context.subjects.clone(),
    };
    let filter = context.subjects.control_filter();
    let mut decisions = context.bus.decisions.watch(&filter);
    let mut nodes = context.bus.nodes.watch(">");
    let mut routes = context.bus.routes.watch(">");
    let mut leases = context.bus.leases.watch("node.*");
    let mut renew = tokio::time::interval(RENEW);
    renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
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
                for silent in office.liveness.to_ask(now) {
                    ask(context, silent, &verdicts);
                }
                // Time alone changes little, so nothing is planned anew that did not change.
                office.liveness.take_changed(now) || office.again || office.forgets(now)
            }
            _ = renew.tick() => {
                match keeper.renew().await {
                    Renewal::Lost(_) => return "another node took over",
                    Renewal::Kept | Renewal::Unclear => {}
                }
                false
            }
            latest = next_generation(&mut link, generation) => {
                generation = latest;
                office.liveness.forgive(Instant::now());
                false
            }
            () = stop.cancelled() => {
                keeper.release().await;
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
            office.liveness.told(&gone, Verdict::Gone);
        }
        if !keeper.is_valid() {
            return "its lease could not be renewed in time";
        }
        if dirty && office.is_complete() {
            let acted = office.act().await;
            office.again = acted.is_err();
            match acted {
                Ok(()) => {}
                // Either the mirrors are a moment behind, which mends itself, or another leader has begun its term.
                Err(Error::Conflict) => match office.is_deposed().await {
                    Ok(true) => return "another leader has begun its term",
                    Ok(false) | Err(_) => {}
                },
                Err(error) => tracing::debug!(%error, "a plan was not written; it is made again"),
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
        let inbox = context.subjects.inbox(&node, Inbox::Ping);
        let verdict = match context.bus.control.request(inbox, Bytes::new(), PING).await {
            Ok(_) => Verdict::Alive,
            Err(RequestError::NoResponders) if election::is_gone(&context, &node).await => Verdict::Gone,
            Err(RequestError::NoResponders | RequestError::NotConnected | RequestError::TooLarge { .. }) => {
                return;
            }
            Err(RequestError::TimedOut) => Verdict::Silent,
        };
        // The office may have ended meanwhile.
        let _ = verdicts.send((node, verdict)).await;
    });
}

fn parse_decision(entry: &Entry) -> Option<Decision> {
    let bytes = entry.value.as_deref()?;
    // The key is a whole subject; its tail says what it is, whatever the lattice is called.
    let tail = entry.key.split_once(".control.").map(|(_, tail)| tail)?;
    let parsed = match tail.split('.').next()? {
        "catalog" => Decision::Catalog(record::decode(bytes).ok()?),
        "spec" => Decision::App(record::decode(bytes).ok()?),
        "assign" => {
            Decision::Assignment(tail.strip_prefix("assign.")?.parse().ok()?, record::decode(bytes).ok()?)
        }
        _ => Decision::Other,
    };
    Some(parsed)
}

fn parse_node(entry: &Entry) -> Option<NodeEntry> {
    let bytes = entry.value.as_deref()?;
    match entry.key.split_once('.')? {
        ("node", _) => Some(NodeEntry::Record(record::decode(bytes).ok()?)),
        ("state", _) => Some(NodeEntry::Status(record::decode(bytes).ok()?)),
        _ => None,
    }
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

    async fn act(&mut self) -> Result<(), Error> {
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
        let routes: Vec<_> = plan.routes.into_iter().collect();

        let changed: Vec<(String, Bytes)> = plan
            .assignments
            .iter()
            .filter(|(node, assignment)| !plan::same(assigned.get(*node), assignment))
            .map(|(node, assignment)| {
                (self.subjects.control(&Control::Assign((*node).clone())), record::encode(assignment))
            })
            .collect();
        if !changed.is_empty() {
            let key = self.subjects.control(&Control::Term);
            let guard = Guard { key: &key, revision: self.term_revision };
            self.context.bus.decisions.put_all_guarded(&guard, &changed).await?;
        }
        self.write_routes(routes).await
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
        for entry in self.nodes.entries().values() {
            let NodeEntry::Record(record) = &entry.value else { continue };
            let told = self.status(&record.name).filter(|status| status.incarnation == record.incarnation);
            let state = match self.liveness.state(&record.name, &record.incarnation, now) {
                Some(NodeState::Ready) if record.draining => NodeState::Draining,
                Some(state) => state,
                // While nothing can be said, what was said before stands.
                None => told.map_or(NodeState::Ready, |status| status.state),
            };
            seen.insert(record.name.clone(), Seen { record: record.clone(), state });
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
            NodeEntry::Record(_) => None,
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
        }
        Ok(())
    }

    async fn write_routes(&mut self, wanted: Vec<(ActorName, Route)>) -> Result<(), Error> {
        let mut conflict = false;
        let mut keep = BTreeSet::new();
        for (actor, route) in wanted {
            let known = self.routes.get(actor.as_str());
            if known.is_none_or(|known| known.value != route) {
                // A removed key has a revision too, which the mirror does not keep.
                let over = match known {
                    Some(known) => known.revision,
                    None => {
                        self.context.bus.routes.get(actor.as_str()).await?.map_or(0, |entry| entry.revision)
                    }
                };
                let written =
                    self.context.bus.routes.put_if(actor.as_str(), record::encode(&route), over).await;
                match written {
                    Ok(_) => {}
                    Err(Error::Conflict) => conflict = true,
                    Err(error) => return Err(error),
                }
            }
            keep.insert(actor);
        }
        let gone: Vec<(String, u64)> = self
            .routes
            .entries()
            .iter()
            .filter(|(actor, _)| !keep.contains(actor.as_str()))
            .map(|(actor, known)| (actor.clone(), known.revision))
            .collect();
        for (actor, revision) in gone {
            match self.context.bus.routes.remove_if(&actor, revision).await {
                Ok(()) => {}
                Err(Error::Conflict) => conflict = true,
                Err(error) => return Err(error),
            }
        }
        if conflict { Err(Error::Conflict) } else { Ok(()) }
    }
}
