//! The seats of one actor: where more replicas go, and which ones go first when there are too many.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use lattice_proto::manifest::{EACH_NODE, Placement};

use super::planner::{ActorId, Planner};
use super::roster::{Entry, NodeId, Standing};
use super::{Intake, Wanted, fit};

/// Why one node is preferred to another; smaller is better.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub rank: u32,
    pub replicas: u32,
    pub standing: Standing,
}

/// One value of the label to spread over; all nodes, when there is none.
#[derive(Debug, Default)]
pub(super) struct Domain {
    /// Replicas on all its nodes.
    pub replicas: u32,
    /// Nodes with room, the best first.
    pub candidates: BinaryHeap<Reverse<Candidate>>,
    /// Nodes that hold replicas.
    pub holders: Vec<Holder>,
}

/// A node that holds replicas of the actor. The greatest loses one first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    /// It takes nothing new, so it will be emptied some day.
    pub kept: bool,
    pub rank: u32,
    pub replicas: u32,
    pub standing: Standing,
}

impl Planner {
    /// Brings the number of replicas to what is wanted, or says what is missing.
    pub(super) fn seat(&mut self, id: ActorId, why: &Arc<str>) {
        let Some(actor) = self.actor(id) else { return };
        let (total, wanted) = (actor.total, actor.demand.replicas);
        let wanted = match wanted {
            Wanted::Count(wanted) => {
                if total < wanted {
                    self.add(id, wanted - total, why);
                } else if total > wanted {
                    self.take(id, total - wanted);
                }
                wanted
            }
            Wanted::Each(least) => self.seat_each(id, why).max(least),
        };
        let Some(actor) = self.actor(id) else { return };
        let shortfall = (actor.total < wanted).then(|| self.shortfall(actor, wanted));
        if let Some(actor) = self.actors[id as usize].as_mut() {
            (actor.wanted, actor.shortfall) = (wanted, shortfall);
        }
    }

    /// One on each node that fits; returns how many that should be.
    fn seat_each(&mut self, id: ActorId, why: &Arc<str>) -> u32 {
        let Some(actor) = self.actor(id) else { return 0 };
        let mut put = Vec::new();
        let mut wanted = 0;
        for (_, class) in self.roster.fitting(&actor.demand.placement) {
            for standing in &class.open {
                let Some(entry) = self.roster.get(standing.id) else { continue };
                if self.beside(actor, entry).is_err() {
                    continue;
                }
                wanted += 1;
                let held = entry.replicas_of(id);
                if held > 1 || (held == 0 && entry.room(&actor.demand).is_ok()) {
                    put.push(standing.id);
                }
            }
        }
        let kept = actor.seats.iter().filter(|(node, _)| {
            self.roster.get(**node).is_some_and(|entry| entry.offer.intake == Intake::Kept)
        });
        for (node, seat) in kept {
            wanted += 1;
            if seat.replicas > 1 {
                put.push(*node);
            }
        }
        let why: Arc<str> = format!("{why}: one on each node that fits").into();
        for node in put {
            self.put(id, node, 1, &why);
        }
        wanted
    }

    fn add(&mut self, id: ActorId, more: u32, why: &Arc<str>) {
        let Some(actor) = self.actor(id) else { return };
        let demand = actor.demand.clone();
        let only_one = demand.placement.apart.contains(&actor.name);
        let even = demand.placement.spread.as_deref() == Some(EACH_NODE);
        let full_at = if even { self.fewest_without_room(id) } else { u32::MAX };
        // The entries change with each replica, so the domains own what they need to know.
        let domains = self.domains(id, more as usize).into_iter();
        let mut domains: BTreeMap<String, Domain> = domains.map(|(value, d)| (value.to_owned(), d)).collect();
        // Those that get any, with their ranks.
        let mut chosen: BTreeMap<NodeId, u32> = BTreeMap::new();
        for _ in 0..more {
            // Rule 3: a value without room holds back the others.
            let full = domains.values().filter(|domain| domain.candidates.is_empty());
            let held_at = full.map(|domain| domain.replicas).min().unwrap_or(u32::MAX);
            let open = domains.values_mut().filter(|domain| !domain.candidates.is_empty());
            let best = open.min_by(|a, b| {
                (a.replicas, a.candidates.peek().map(|c| &c.0))
                    .cmp(&(b.replicas, b.candidates.peek().map(|c| &c.0)))
            });
            let Some(domain) = best.filter(|domain| domain.replicas <= held_at) else { break };
            let Some(Reverse(mut candidate)) = domain.candidates.pop() else { break };
            if candidate.replicas > full_at {
                break;
            }
            let node = candidate.standing.id;
            candidate.replicas += 1;
            domain.replicas += 1;
            self.put(id, node, candidate.replicas, why);
            chosen.insert(node, candidate.rank);
            let Some(entry) = self.roster.get(node) else { continue };
            if !only_one && entry.room(&demand).is_ok() {
                candidate.standing.busy = entry.busy();
                domain.candidates.push(Reverse(candidate));
            }
        }
        let fitting = self.fitting_count(id);
        for (node, rank) in chosen {
            let text = self.choice(id, node, rank, fitting);
            let why: Arc<str> = format!("{why}: {text}").into();
            if let Some(seat) = self.actors[id as usize].as_mut().and_then(|actor| actor.seats.get_mut(&node))
            {
                seat.why = why;
            }
        }
    }

    fn take(&mut self, id: ActorId, fewer: u32) {
        let domains = self.domains(id, 0).into_values();
        let mut heaps: Vec<(u32, BinaryHeap<Holder>)> =
            domains.map(|domain| (domain.replicas, domain.holders.into())).collect();
        for _ in 0..fewer {
            let fullest = heaps.iter_mut().filter(|(_, holders)| !holders.is_empty());
            let fullest = fullest.max_by(|a, b| (a.0, a.1.peek()).cmp(&(b.0, b.1.peek())));
            let Some((replicas, holders)) = fullest else { break };
            let Some(mut holder) = holders.pop() else { break };
            holder.replicas -= 1;
            *replicas -= 1;
            let why = self.why(id, holder.standing.id);
            self.put(id, holder.standing.id, holder.replicas, &why);
            if holder.replicas > 0 {
                holders.push(holder);
            }
        }
    }

    /// Why the replicas of an actor are on a node.
    pub(super) fn why(&self, id: ActorId, node: NodeId) -> Arc<str> {
        self.actor(id)
            .and_then(|actor| actor.seats.get(&node))
            .map_or_else(|| "".into(), |seat| seat.why.clone())
    }

    /// The values of the label to spread over, each with the nodes that hold replicas and the best of those with room:
    /// at least `more` in each that hold none yet, if there are so many.
    pub(super) fn domains(&self, id: ActorId, more: usize) -> BTreeMap<&str, Domain> {
        let mut domains = BTreeMap::new();
        let Some(actor) = self.actor(id) else { return domains };
        let placement = &actor.demand.placement;
        let only_one = placement.apart.contains(&actor.name);
        for (rank, class) in self.roster.fitting(placement) {
            let domain = domains.entry(value(placement, &class.labels)).or_default();
            let mut found = 0;
            for standing in &class.open {
                if found == more {
                    break;
                }
                let Some(entry) = self.roster.get(standing.id) else { continue };
                if entry.replicas_of(id) > 0
                    || entry.room(&actor.demand).is_err()
                    || self.beside(actor, entry).is_err()
                {
                    continue;
                }
                found += 1;
                let standing = standing.clone();
                domain.candidates.push(Reverse(Candidate { rank, replicas: 0, standing }));
            }
        }
        for (node, seat) in &actor.seats {
            let Some(entry) = self.roster.get(*node) else { continue };
            let labels = &self.roster.class(entry).labels;
            let rank = fit::rank(placement, labels);
            let domain = domains.entry(value(placement, labels)).or_default();
            let standing = self.standing(*node, entry);
            let replicas = seat.replicas;
            domain.replicas += replicas;
            let kept = entry.offer.intake != Intake::Open;
            if !kept && !only_one && more > 0 && entry.room(&actor.demand).is_ok() {
                let standing = standing.clone();
                domain.candidates.push(Reverse(Candidate { rank, replicas, standing }));
            }
            domain.holders.push(Holder { kept, rank, replicas, standing });
        }
        domains
    }

    pub(super) fn standing(&self, node: NodeId, entry: &Entry) -> Standing {
        Standing { busy: entry.busy(), name: entry.name.clone(), id: node }
    }

    /// With `spread = "node"`: the fewest replicas on an open node that fits and has no room.
    fn fewest_without_room(&self, id: ActorId) -> u32 {
        let Some(actor) = self.actor(id) else { return u32::MAX };
        let open = self.roster.fitting(&actor.demand.placement).flat_map(|(_, class)| &class.open);
        let entries = open.filter_map(|standing| self.roster.get(standing.id));
        let full = entries.filter(|entry| entry.room(&actor.demand).is_err());
        full.map(|entry| entry.replicas_of(id)).min().unwrap_or(u32::MAX)
    }

    fn fitting_count(&self, id: ActorId) -> usize {
        let Some(actor) = self.actor(id) else { return 0 };
        self.roster.fitting(&actor.demand.placement).map(|(_, class)| class.open.len()).sum()
    }

    /// Why this node and not another one that fits.
    fn choice(&self, id: ActorId, node: NodeId, rank: u32, fitting: usize) -> String {
        let (Some(actor), Some(entry)) = (self.actor(id), self.roster.get(node)) else {
            return String::new();
        };
        let placement = &actor.demand.placement;
        let mut parts = Vec::new();
        if fitting <= 1 {
            parts.push("the only node that fits".to_owned());
        } else {
            parts.push(format!("spread evenly over the {fitting} nodes that fit"));
        }
        if let Some(key) = placement.spread.as_deref().filter(|key| *key != EACH_NODE) {
            parts.push(format!("{key}={} had the fewest", value(placement, &entry.offer.labels)));
        }
        if !placement.prefer.is_empty() {
            let of = placement.prefer.len();
            parts.push(format!("has {} of {of} preferred labels", of.saturating_sub(rank as usize)));
        }
        parts.join("; ")
    }
}

/// The value of the label to spread over; the same for all where there is none.
fn value<'a>(placement: &Placement, labels: &'a BTreeMap<String, String>) -> &'a str {
    match placement.spread.as_deref() {
        Some(key) if key != EACH_NODE => labels.get(key).map_or("", String::as_str),
        _ => "",
    }
}
