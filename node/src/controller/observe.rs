//! What the lattice looks like, read on demand by whoever is asked: nodes, actors, and how far a declaration has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lattice_proto::record::{
    self, App, Assignment, Catalog, Node, NodeOrder, NodeState, NodeStatus, Origin, Route,
};
use lattice_proto::subject::{Control, Subjects};
use lattice_proto::{ActorName, AppName, NodeName};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::bus::{Bus, Entry, Error, Mirror, Space, Watch};
use crate::membership::{LEADER, state_key};

/// How often what is declared is read anew because it changed meanwhile.
const LISTINGS: u32 = 10;

/// What is declared and decided, as it was at one moment.
pub(super) struct Listing {
    pub catalog: Catalog,
    /// The revision of the catalog in the store; 0 when there is none.
    pub catalog_revision: u64,
    pub entries: Vec<Entry>,
}

impl Listing {
    /// The current revision of every app.
    pub(super) fn apps(&self, subjects: &Subjects) -> Result<Vec<App>, Error> {
        self.each_app(subjects).collect()
    }

    /// The same, each by itself: one that cannot be read is an error, and says nothing of the others.
    pub(super) fn each_app(&self, subjects: &Subjects) -> impl Iterator<Item = Result<App, Error>> {
        let is_current = |app: &AppName, revision: u64| {
            self.catalog.apps.get(app).is_some_and(|head| !head.deleted && head.revision == revision)
        };
        let current = self.entries.iter().filter(move |entry| match subjects.parse_control(&entry.key) {
            Ok(Control::Spec(app, revision)) => is_current(&app, revision),
            _ => false,
        });
        current.map(decode)
    }
}

/// Reads all that is declared and decided.
///
/// A listing is not made at one moment: a key that is written while it is made may be missing from it. So it counts only
/// if the catalog in it is still the latest, and every revision that the catalog names is in it as well.
pub(super) async fn read_control(space: &Space, subjects: &Subjects) -> Result<Listing, Error> {
    let key = subjects.control(&Control::Catalog);
    for _ in 0..LISTINGS {
        let entries = space.list(&subjects.control_filter()).await?;
        let latest = space.get(&key).await?.filter(|entry| entry.value.is_some());
        let listed = entries.iter().find(|entry| entry.key == key);
        let revision = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.revision);
        if revision(listed) < revision(latest.as_ref()) {
            continue;
        }
        let (catalog, catalog_revision) = match listed {
            Some(entry) => (decode(entry)?, entry.revision),
            None => (Catalog::default(), 0),
        };
        let is_there = |(app, head): (&AppName, &record::Head)| {
            let spec = subjects.control(&Control::Spec(app.clone(), head.revision));
            head.deleted || entries.iter().any(|entry| entry.key == spec)
        };
        if catalog.apps.iter().all(is_there) {
            return Ok(Listing { catalog, catalog_revision, entries });
        }
    }
    Err(Error::Failed {
        what: "reading the lattice's state",
        reason: "it changed each time that it was read; try once more".to_owned(),
    })
}

pub(super) fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<T, Error> {
    record::decode(entry.value.as_deref().unwrap_or_default()).map_err(|error| Error::Failed {
        what: "reading the lattice's state",
        reason: format!("{}: {error}", entry.key),
    })
}

/// What a record says, if it can be read. What one node or one actor left there must not hide all others.
fn readable<T: DeserializeOwned>(entry: &Entry) -> Option<T> {
    let read = decode(entry);
    read.inspect_err(|error| tracing::warn!(%error, "a record is left out")).ok()
}

/// One node with what the leader makes of it.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// What it says of itself.
    pub record: Node,
    /// What the leader says.
    pub state: NodeState,
    /// Whether it leads.
    pub leader: bool,
}

/// How one actor of an operation fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorStatus {
    /// The actor.
    pub actor: ActorName,
    /// Wanted.
    pub desired: u32,
    /// Running, in the wanted revision.
    pub ready: u32,
    /// Running, in an earlier one.
    pub stale: u32,
    /// Set while the new version gets a part of the calls only.
    pub canary: Option<record::Canary>,
    /// What is in the way.
    pub problems: Vec<String>,
}

/// How far a declaration has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// By actor.
    pub actors: Vec<ActorStatus>,
    /// Whether everything is as declared.
    pub reached: bool,
    /// Set when a later declaration took its place.
    pub superseded: Option<Superseded>,
}

/// What became of a declaration that is no longer the latest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded {
    /// The latest revision.
    pub by: u64,
    /// Why this one was taken back, where the lattice did so.
    pub taken_back: Option<String>,
    /// Whether the latest asks for the same.
    pub same: bool,
}

/// Listings that one node reads at once; more wait. Each reads all that the server keeps of the kind.
const READERS: usize = 16;

/// Reads the lattice.
#[derive(Clone)]
pub struct Observer {
    bus: Bus,
    subjects: Subjects,
    readers: Arc<Semaphore>,
}

impl Observer {
    /// Over this store.
    pub fn new(bus: Bus, subjects: Subjects) -> Self {
        Self { bus, subjects, readers: Arc::new(Semaphore::new(READERS)) }
    }

    /// Waits until there is room for one more reader.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Error> {
        // It is never closed.
        self.readers.acquire().await.map_err(|_| Error::Unreachable)
    }

    /// All nodes.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, Error> {
        let _turn = self.turn().await?;
        let filter = self.subjects.control_nodes_filter();
        let (entries, orders, leader) = tokio::try_join!(
            self.bus.nodes.list(">"),
            self.bus.decisions.list(&filter),
            self.bus.leases.get(LEADER)
        )?;
        let mut ordered: BTreeMap<NodeName, NodeOrder> = BTreeMap::new();
        for entry in &orders {
            if let Ok(Control::Node(node)) = self.subjects.parse_control(&entry.key) {
                ordered.extend(readable(entry).map(|order| (node, order)));
            }
        }
        let leader = crate::membership::holder(leader.as_ref());
        let mut records: BTreeMap<NodeName, Node> = BTreeMap::new();
        let mut states: BTreeMap<String, NodeStatus> = BTreeMap::new();
        for entry in &entries {
            match entry.key.split_once('.') {
                Some(("node", _)) => {
                    let Some(mut record) = readable::<Node>(entry) else { continue };
                    if let Some(order) = ordered.get(&record.name) {
                        order.relabel(&mut record.labels);
                    }
                    records.insert(record.name.clone(), record);
                }
                Some(("state", _)) => {
                    states.extend(readable(entry).map(|status| (entry.key.clone(), status)));
                }
                _ => {}
            }
        }
        Ok(records
            .into_values()
            .map(|record| {
                let status = states.get(&state_key(&record.name));
                let status = status.filter(|status| status.incarnation == record.incarnation);
                let leader = leader.as_ref().is_some_and(|leader| leader.incarnation == record.incarnation);
                NodeView { state: status.map_or(NodeState::Ready, |status| status.state), leader, record }
            })
            .collect())
    }

    /// All actors that are declared, with their routes where the leader has written one for them already.
    pub async fn actors(&self) -> Result<Vec<(App, ActorName, Option<Route>)>, Error> {
        let _turn = self.turn().await?;
        let listing = read_control(&self.bus.decisions, &self.subjects);
        let (listing, routes) = tokio::try_join!(listing, self.bus.routes.list(">"))?;
        let mut known: BTreeMap<String, Route> = BTreeMap::new();
        for entry in &routes {
            known.extend(readable(entry).map(|route| (entry.key.clone(), route)));
        }
        let mut actors = Vec::new();
        for app in listing.apps(&self.subjects)? {
            for name in app.actors.keys() {
                actors.push((app.clone(), name.clone(), known.get(name.as_str()).cloned()));
            }
        }
        actors.sort_by(|(_, one, _), (_, other, _)| one.cmp(other));
        Ok(actors)
    }

    /// All apps as they are declared.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn apps(&self) -> Result<Vec<App>, Error> {
        self.control().await?.apps(&self.subjects)
    }

    /// What is declared, as it changes.
    pub(crate) fn watch_catalog(&self) -> Watch {
        self.bus.decisions.watch(&self.subjects.control(&Control::Catalog))
    }

    /// All that is declared and decided.
    pub(super) async fn control(&self) -> Result<Listing, Error> {
        let _turn = self.turn().await?;
        read_control(&self.bus.decisions, &self.subjects).await
    }

    pub(super) fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// How many replicas a node still has, and what the leader makes of it; none when it is not in the lattice, or lost.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn remaining(&self, node: &NodeName) -> Result<Option<(u32, NodeState)>, Error> {
        // The order first: what it takes away may be gone from the node by then, and what it adds is not missed.
        let ordered = self.bus.decisions.get(&self.subjects.control(&Control::Assign(node.clone()))).await?;
        let ordered = ordered.as_ref().filter(|entry| entry.value.is_some()).and_then(readable::<Assignment>);
        let nodes = self.nodes().await?;
        let view = nodes.iter().find(|view| view.record.name == *node && view.state != NodeState::Gone);
        let mut left: BTreeMap<&ActorName, u32> = BTreeMap::new();
        // What is ordered may be on its way, and the node says nothing of it until it is there.
        let orders = ordered.iter().flat_map(|assignment| &assignment.actors);
        left.extend(orders.map(|(actor, assigned)| (actor, assigned.replicas())));
        for (actor, running) in view.iter().flat_map(|view| &view.record.actors) {
            let left = left.entry(actor).or_default();
            // An actor that is listed with none ready still finishes what it has.
            *left = (*left).max(running.ready()).max(1);
        }
        Ok(view.map(|view| (left.values().sum(), view.state)))
    }

    /// What a node says of itself, as it changes.
    pub(crate) fn watch_node(&self, node: &NodeName) -> Watch {
        self.bus.nodes.watch(&crate::membership::node_key(node))
    }

    /// Watches one revision of one app come true.
    ///
    /// # Errors
    /// When there never was such a revision.
    pub async fn follow(&self, app: &AppName, revision: u64) -> Result<Option<Following>, Error> {
        let key = self.subjects.control(&Control::Spec(app.clone(), revision));
        let Some(entry) = self.bus.decisions.get(&key).await?.filter(|entry| entry.value.is_some()) else {
            return Ok(None);
        };
        Ok(Some(Following {
            observer: self.clone(),
            app: app.clone(),
            revision,
            spec: decode(&entry)?,
            routes: self.bus.routes.watch(">"),
            known: Mirror::new(|entry| record::decode(entry.value.as_deref()?).ok()),
            true_since: None,
        }))
    }
}

/// A declaration on its way.
pub struct Following {
    observer: Observer,
    app: AppName,
    revision: u64,
    spec: App,
    routes: Watch,
    known: Mirror<Route>,
    /// When it was seen first that it came true.
    true_since: Option<Instant>,
}

/// How often the catalog is looked at, to notice that a declaration was superseded.
const LOOK: Duration = Duration::from_secs(1);

impl Following {
    /// How far it is now, after the next change or look.
    pub async fn next(&mut self) -> Result<Progress, Error> {
        let looked = tokio::time::timeout(LOOK, async {
            loop {
                let change = self.routes.next().await;
                // Everything that is there already is taken in before anything is said.
                if self.known.apply(change) {
                    return;
                }
            }
        });
        // A look that saw no change is a look all the same.
        let _ = looked.await;
        let catalog =
            self.observer.bus.decisions.get(&self.observer.subjects.control(&Control::Catalog)).await?;
        let catalog: Catalog = match &catalog {
            Some(entry) => decode(entry)?,
            None => Catalog::default(),
        };
        let head = catalog.apps.get(&self.app);
        let latest = head.map(|head| head.revision).filter(|latest| *latest > self.revision);
        let superseded = match latest {
            Some(latest) => Some(self.superseded(latest).await?),
            None => None,
        };
        let came_true = head.is_some_and(|head| head.good_ones().any(|good| good == self.revision));
        let mut actors = Vec::new();
        for (name, actor) in &self.spec.actors {
            let route = self.known.get(name.as_str()).map(|known| &known.value);
            let route = route.filter(|route| route.app == self.app && route.revision >= self.revision);
            let sum = |count: fn(&record::Target) -> u32| {
                route.map_or(0, |route| route.targets.iter().map(count).sum())
            };
            actors.push(ActorStatus {
                actor: name.clone(),
                desired: route
                    .map_or_else(|| actor.settings.replicas.count().unwrap_or(0), |route| route.desired),
                ready: sum(|target| target.ready),
                stale: sum(|target| target.stale),
                canary: route.and_then(|route| route.canary),
                problems: route.map(|route| route.problems.clone()).unwrap_or_default(),
            });
        }
        // What an earlier revision had and this one has not must be gone as well.
        let leftovers = self.known.entries().iter().any(|(name, known)| {
            known.value.app == self.app && !self.spec.actors.contains_key(name.as_str())
        });
        let met = |status: &ActorStatus| match status.canary {
            None => status.ready == status.desired && status.stale == 0,
            // A trial has come true when it has begun: it ends when somebody says so.
            Some(canary) => status.ready >= canary.replicas && status.ready + status.stale >= status.desired,
        };
        let seen = |status: &ActorStatus| {
            self.known.get(status.actor.as_str()).is_some_and(|known| {
                let route = &known.value;
                let settled = !route.updating || route.canary.is_some();
                route.app == self.app && route.revision >= self.revision && settled
            })
        };
        // Routes speak of the latest revision. That they are as they should be says something of this one only if both
        // ask for the same.
        let speaks = superseded.as_ref().is_none_or(|later| later.same);
        let now = self.known.is_complete()
            && speaks
            && !leftovers
            && actors.iter().all(|status| met(status) && seen(status));
        // The leader remembers what came true, so that it can be gone back to; a declaration is done with that and not
        // before. It remembers neither trials nor deletions, nor what is no longer the latest.
        let remembered = superseded.is_none() && !self.spec.actors.is_empty() && !self.spec.is_on_trial();
        // Routes come over a watch, which may be a moment behind the catalog. What is told last should be what came true, not
        // what was on its way to that; but for longer than one look it is not waited for, since replicas may be lost again.
        let told = came_true && {
            let since = *self.true_since.get_or_insert_with(Instant::now);
            now || superseded.is_some() || since.elapsed() >= LOOK
        };
        Ok(Progress { actors, reached: told || (now && !remembered), superseded })
    }

    /// What the revisions after this one say of it.
    async fn superseded(&self, latest: u64) -> Result<Superseded, Error> {
        let mut superseded = Superseded { by: latest, taken_back: None, same: false };
        for revision in self.revision + 1..=latest {
            let key = self.observer.subjects.control(&Control::Spec(self.app.clone(), revision));
            let entry = self.observer.bus.decisions.get(&key).await?.filter(|entry| entry.value.is_some());
            // One in between may be forgotten by now.
            let Some(spec) = entry.as_ref().and_then(readable::<App>) else { continue };
            superseded.same = revision == latest && spec.says_the_same_as(&self.spec);
            match spec.origin {
                Origin::Rollback { from, to, reason: Some(reason) } if from == self.revision => {
                    superseded.taken_back =
                        Some(format!("it was taken back to what revision {to} says: {reason}"));
                }
                _ => {}
            }
        }
        Ok(superseded)
    }
}
