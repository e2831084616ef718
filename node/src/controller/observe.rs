//! What the lattice looks like, read on demand by whoever is asked: nodes, actors, and how far a declaration has come.

use std::collections::BTreeMap;
use std::time::Duration;

use lattice_proto::record::{self, App, Catalog, Node, NodeOrder, NodeState, NodeStatus, Origin, Route};
use lattice_proto::subject::{Control, Subjects};
use lattice_proto::{ActorName, AppName, NodeName};
use serde::de::DeserializeOwned;

use crate::bus::{Bus, Change, Entry, Error, Mirror, Space, Watch};
use crate::membership::{LEADER, state_key};

/// How often what is declared is read anew because it changed meanwhile.
const LISTINGS: u32 = 10;

/// How long reading a whole space may take.
const READ: Duration = Duration::from_secs(5);

/// Reads all keys under a filter once.
pub(super) async fn read_all(space: &Space, filter: &str) -> Result<Vec<Entry>, Error> {
    if !space.is_reachable() {
        return Err(Error::Unreachable);
    }
    let read = async {
        let mut watch = space.watch(filter);
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        loop {
            match watch.next().await {
                Change::Reset => entries.clear(),
                Change::Put(entry) if entry.value.is_some() => drop(entries.insert(entry.key.clone(), entry)),
                Change::Put(entry) => drop(entries.remove(&entry.key)),
                Change::Current => return entries.into_values().collect(),
            }
        }
    };
    let failed = |_| Error::Failed {
        what: "reading the lattice's state",
        reason: "NATS did not answer in time".into(),
    };
    tokio::time::timeout(READ, read).await.map_err(failed)
}

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
        let is_current = |app: &AppName, revision: u64| {
            self.catalog.apps.get(app).is_some_and(|head| !head.deleted && head.revision == revision)
        };
        let current = self.entries.iter().filter(|entry| match subjects.parse_control(&entry.key) {
            Ok(Control::Spec(app, revision)) => is_current(&app, revision),
            _ => false,
        });
        current.map(decode).collect()
    }
}

/// Reads all that is declared and decided.
///
/// A listing is not made at one moment: a key that is written while it is made may be missing from it. So it counts only
/// if the catalog in it is still the latest, and every revision that the catalog names is in it as well.
pub(super) async fn read_control(space: &Space, subjects: &Subjects) -> Result<Listing, Error> {
    let key = subjects.control(&Control::Catalog);
    for _ in 0..LISTINGS {
        let entries = read_all(space, &subjects.control_filter()).await?;
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
    /// Set when a later declaration took its place: its revision, and why, where this one was taken back.
    pub superseded: Option<(u64, Option<String>)>,
}

/// Reads the lattice.
#[derive(Clone)]
pub struct Observer {
    bus: Bus,
    subjects: Subjects,
}

impl Observer {
    /// Over this store.
    pub fn new(bus: Bus, subjects: Subjects) -> Self {
        Self { bus, subjects }
    }

    /// All nodes.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, Error> {
        let filter = self.subjects.control_nodes_filter();
        let (entries, orders, leader) = tokio::try_join!(
            read_all(&self.bus.nodes, ">"),
            read_all(&self.bus.decisions, &filter),
            self.bus.leases.get(LEADER)
        )?;
        let mut ordered: BTreeMap<NodeName, NodeOrder> = BTreeMap::new();
        for entry in &orders {
            if let Ok(Control::Node(node)) = self.subjects.parse_control(&entry.key) {
                ordered.insert(node, decode(entry)?);
            }
        }
        let leader = crate::membership::holder(leader.as_ref());
        let mut records: BTreeMap<NodeName, Node> = BTreeMap::new();
        let mut states: BTreeMap<String, NodeStatus> = BTreeMap::new();
        for entry in &entries {
            match entry.key.split_once('.') {
                Some(("node", _)) => {
                    let mut record: Node = decode(entry)?;
                    if let Some(order) = ordered.get(&record.name) {
                        order.relabel(&mut record.labels);
                    }
                    records.insert(record.name.clone(), record);
                }
                Some(("state", _)) => drop(states.insert(entry.key.clone(), decode(entry)?)),
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
        let (listing, routes) = tokio::try_join!(self.control(), read_all(&self.bus.routes, ">"))?;
        let mut known: BTreeMap<String, Route> = BTreeMap::new();
        for entry in &routes {
            known.insert(entry.key.clone(), decode(entry)?);
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

    /// All that is declared and decided.
    pub(super) async fn control(&self) -> Result<Listing, Error> {
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
        let nodes = self.nodes().await?;
        let view = nodes.iter().find(|view| view.record.name == *node && view.state != NodeState::Gone);
        // An actor that is listed with none ready still finishes what it has.
        let left = |running: &record::Running| running.ready().max(1);
        Ok(view.map(|view| (view.record.actors.values().map(left).sum(), view.state)))
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
            Some(latest) => Some((latest, self.taken_back(latest).await?)),
            None => None,
        };
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
        let reached =
            self.known.is_complete() && !leftovers && actors.iter().all(|status| met(status) && seen(status));
        Ok(Progress { actors, reached, superseded })
    }

    /// Why this revision was taken back, if the latest one says that it was.
    async fn taken_back(&self, latest: u64) -> Result<Option<String>, Error> {
        let key = self.observer.subjects.control(&Control::Spec(self.app.clone(), latest));
        let entry = self.observer.bus.decisions.get(&key).await?.filter(|entry| entry.value.is_some());
        let Some(entry) = entry else { return Ok(None) };
        let latest: App = decode(&entry)?;
        Ok(match latest.origin {
            Origin::Rollback { from, to, reason: Some(reason) } if from == self.revision => {
                Some(format!("it was taken back to what revision {to} says: {reason}"))
            }
            _ => None,
        })
    }
}
