//! The nodes, and in which order they are looked at.
//!
//! Nodes with the same labels are looked at together: of the labels only those keys count that some actor names, so that
//! there are few such classes in a large lattice.

use std::collections::{BTreeMap, BTreeSet};

use lattice_proto::NodeName;
use lattice_proto::manifest::{EACH_NODE, Placement};

use super::planner::ActorId;
use super::{Demand, Intake, Misfit, Offer, fit};

/// A node's place in the roster, used again after the node has gone.
pub(super) type NodeId = u32;

/// Where a node stands among others: the less busy come first, then the first by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    /// Replicas for each million processors.
    pub busy: u64,
    pub name: NodeName,
    pub id: NodeId,
}

/// A node and what is planned for it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub name: NodeName,
    pub offer: Offer,
    class: usize,
    replicas: u32,
    memory: u64,
    cpu_millis: u64,
    pub actors: BTreeMap<ActorId, u32>,
}

/// Nodes that no actor tells from each other by their labels.
#[derive(Debug, Default)]
pub(super) struct Class {
    /// Only those that some actor names.
    pub labels: BTreeMap<String, String>,
    /// The open ones.
    pub open: BTreeSet<Standing>,
}

#[derive(Debug, Default)]
pub(super) struct Roster {
    ids: BTreeMap<NodeName, NodeId>,
    entries: Vec<Option<Entry>>,
    free: Vec<NodeId>,
    classes: Vec<Class>,
    by_labels: BTreeMap<BTreeMap<String, String>, usize>,
    /// The keys that some actor names, or named.
    keys: BTreeSet<String>,
}

impl Entry {
    fn standing(&self, id: NodeId) -> Standing {
        Standing { busy: self.busy(), name: self.name.clone(), id }
    }

    /// Replicas for each million processors.
    pub fn busy(&self) -> u64 {
        u64::from(self.replicas) * 1_000_000 / u64::from(self.offer.cpus.max(1))
    }

    /// Whether one more replica finds room.
    pub fn room(&self, demand: &Demand) -> Result<(), Misfit> {
        let left = self.offer.memory.saturating_sub(self.memory);
        if demand.memory > 0 && demand.memory > left {
            return Err(Misfit::Memory { claimed: demand.memory, left });
        }
        let left = (u64::from(self.offer.cpus) * 1000).saturating_sub(self.cpu_millis);
        if demand.cpu_millis > 0 && u64::from(demand.cpu_millis) > left {
            return Err(Misfit::Cpu { claimed: demand.cpu_millis, left });
        }
        Ok(())
    }

    /// Replicas of this demand that must go since more was promised than there is.
    pub fn excess(&self, demand: &Demand) -> u32 {
        let over = |used: u64, has: u64, each: u64| match each {
            0 => 0,
            each => used.saturating_sub(has).div_ceil(each),
        };
        let memory = over(self.memory, self.offer.memory, demand.memory);
        let cpu = over(self.cpu_millis, u64::from(self.offer.cpus) * 1000, u64::from(demand.cpu_millis));
        u32::try_from(memory.max(cpu)).unwrap_or(u32::MAX)
    }

    pub fn replicas_of(&self, actor: ActorId) -> u32 {
        self.actors.get(&actor).copied().unwrap_or(0)
    }
}

impl Roster {
    pub fn id(&self, name: &NodeName) -> Option<NodeId> {
        self.ids.get(name).copied()
    }

    pub fn get(&self, id: NodeId) -> Option<&Entry> {
        self.entries.get(id as usize)?.as_ref()
    }

    pub fn entries(&self) -> impl Iterator<Item = (NodeId, &Entry)> {
        self.ids.values().filter_map(|id| Some((*id, self.get(*id)?)))
    }

    pub fn class(&self, entry: &Entry) -> &Class {
        &self.classes[entry.class]
    }

    pub fn classes(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter().filter(|class| !class.open.is_empty())
    }

    /// How many nodes are open.
    pub fn open(&self) -> usize {
        self.classes.iter().map(|class| class.open.len()).sum()
    }

    /// Some of the busiest and of the least busy open nodes, each kind in order.
    pub fn extremes(&self, count: usize) -> (Vec<&Standing>, Vec<&Standing>) {
        let mut busy: Vec<_> =
            self.classes.iter().flat_map(|class| class.open.iter().rev().take(count)).collect();
        busy.sort_unstable_by(|a, b| b.cmp(a));
        let mut idle: Vec<_> = self.classes.iter().flat_map(|class| class.open.iter().take(count)).collect();
        idle.sort_unstable();
        (busy.into_iter().take(count).collect(), idle.into_iter().take(count).collect())
    }

    /// Adds a node, or takes in what changed of it.
    pub fn set(&mut self, name: &NodeName, offer: Offer) -> NodeId {
        let known = self.id(name);
        let id = known.or_else(|| self.free.pop()).unwrap_or_else(|| {
            self.entries.push(None);
            NodeId::try_from(self.entries.len() - 1).unwrap_or(NodeId::MAX)
        });
        self.ids.insert(name.clone(), id);
        let class = self.class_of(&offer.labels);
        match self.entries[id as usize].take() {
            Some(mut entry) => {
                self.unlist(&entry, id);
                (entry.offer, entry.class) = (offer, class);
                self.list(&entry, id);
                self.entries[id as usize] = Some(entry);
            }
            None => {
                let (replicas, memory, cpu_millis, actors) = (0, 0, 0, BTreeMap::new());
                let entry = Entry { name: name.clone(), offer, class, replicas, memory, cpu_millis, actors };
                self.list(&entry, id);
                self.entries[id as usize] = Some(entry);
            }
        }
        id
    }

    /// Takes a node out, with what was planned for it.
    pub fn remove(&mut self, id: NodeId) -> Option<Entry> {
        let entry = self.entries.get_mut(id as usize)?.take()?;
        self.unlist(&entry, id);
        self.ids.remove(&entry.name);
        self.free.push(id);
        Some(entry)
    }

    /// An actor has so many replicas on a node from now on.
    pub fn seat(&mut self, id: NodeId, actor: ActorId, demand: &Demand, replicas: u32) {
        let Some(mut entry) = self.entries.get_mut(id as usize).and_then(Option::take) else { return };
        self.unlist(&entry, id);
        let before = entry.replicas_of(actor);
        match replicas {
            0 => entry.actors.remove(&actor),
            _ => entry.actors.insert(actor, replicas),
        };
        let count = |total: u64, each: u64| total - u64::from(before) * each + u64::from(replicas) * each;
        entry.replicas = entry.replicas - before + replicas;
        entry.memory = count(entry.memory, demand.memory);
        entry.cpu_millis = count(entry.cpu_millis, u64::from(demand.cpu_millis));
        self.list(&entry, id);
        self.entries[id as usize] = Some(entry);
    }

    /// Makes sure that nodes are told apart by all labels that an actor names.
    pub fn learn(&mut self, placement: &Placement) {
        let labels = placement.require.iter().chain(&placement.prefer).chain(&placement.forbid);
        let spread = placement.spread.iter().filter(|key| *key != EACH_NODE);
        let before = self.keys.len();
        self.keys.extend(labels.map(|label| label.key.clone()).chain(spread.cloned()));
        if self.keys.len() == before {
            return;
        }
        (self.classes, self.by_labels) = Default::default();
        for id in self.ids.values().copied().collect::<Vec<_>>() {
            let Some(mut entry) = self.entries[id as usize].take() else { continue };
            entry.class = self.class_of(&entry.offer.labels);
            self.list(&entry, id);
            self.entries[id as usize] = Some(entry);
        }
    }

    fn class_of(&mut self, labels: &BTreeMap<String, String>) -> usize {
        let known =
            |(key, value): (&String, &String)| self.keys.contains(key).then(|| (key.clone(), value.clone()));
        let labels: BTreeMap<_, _> = labels.iter().filter_map(known).collect();
        *self.by_labels.entry(labels).or_insert_with_key(|labels| {
            self.classes.push(Class { labels: labels.clone(), open: BTreeSet::new() });
            self.classes.len() - 1
        })
    }

    fn list(&mut self, entry: &Entry, id: NodeId) {
        if entry.offer.intake == Intake::Open {
            self.classes[entry.class].open.insert(entry.standing(id));
        }
    }

    fn unlist(&mut self, entry: &Entry, id: NodeId) {
        if entry.offer.intake == Intake::Open {
            self.classes[entry.class].open.remove(&entry.standing(id));
        }
    }

    /// The classes that fit an actor by their labels, each with its rank.
    pub fn fitting<'a>(&'a self, placement: &Placement) -> impl Iterator<Item = (u32, &'a Class)> {
        let fits = |class: &&Class| fit::labels(placement, &class.labels).is_ok();
        self.classes().filter(fits).map(|class| (fit::rank(placement, &class.labels), class))
    }
}
