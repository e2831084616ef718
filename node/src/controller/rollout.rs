//! One step of one actor towards where and what it is to be. Pure.
//!
//! Rules:
//! 1. Make before break: what is to move or to be replaced serves until others are ready in its place, less what
//!    `update.unavailable` allows.
//! 2. Never more than `update.surge` above the wanted number, while versions change.
//! 3. The first replicas of a new version do well for `update.observe` before more are made.
//! 4. A version that was found to be broken is given up at once, and with it what it serves.
//! 5. What does not answer at the moment is left as it is.
//! 6. A version that is on trial has its few replicas, and the version that it is tried beside has all others, one at least.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use lattice_proto::NodeName;
use lattice_proto::manifest::{Percent, Update};
use lattice_proto::record::Health;

mod trial;

pub(super) use trial::Trial;

/// Replicas by node and version.
pub(super) type Orders = BTreeMap<NodeName, BTreeMap<u64, u32>>;

/// Crashes from which on they are no accident.
const CRASHES: u64 = 3;

/// Where an actor stands.
pub(super) struct Standing<'a> {
    /// The wanted version.
    pub version: u64,
    /// The wanted number.
    pub wanted: u32,
    /// Whether that is one on each node that fits: then none stands in for another.
    pub each: bool,
    /// Where they are to be, by placement; fewer than wanted when there is no place for all.
    pub target: &'a BTreeMap<NodeName, u32>,
    /// What was ordered before.
    pub before: &'a Orders,
    /// Nodes that answer.
    pub alive: &'a dyn Fn(&NodeName) -> bool,
    /// Replicas that take messages, of a version on a node.
    pub ready: &'a dyn Fn(&NodeName, u64) -> u32,
    /// How one version takes the place of another.
    pub update: &'a Update,
    /// Whether the first replicas of a new version are still being observed.
    pub observing: bool,
    /// Set while the wanted version is on trial.
    pub trial: Option<Trial>,
    /// Versions that were found to be broken.
    pub condemned: &'a BTreeSet<u64>,
}

impl Standing<'_> {
    /// What to order now.
    pub(super) fn step(&self) -> Orders {
        if let Some(trial) = &self.trial {
            return self.try_beside(trial);
        }
        let others = self.before.values().flat_map(BTreeMap::keys).any(|version| *version != self.version);
        if others { self.replace() } else { self.shift() }
    }

    /// Brings replicas of one version to where they are to be.
    fn shift(&self) -> Orders {
        let order = |replicas: u32| BTreeMap::from([(self.version, replicas)]);
        let mut orders: Orders =
            self.target.iter().map(|(node, replicas)| (node.clone(), order(*replicas))).collect();
        // Rule 5.
        for (node, before) in self.before.iter().filter(|(node, _)| !(self.alive)(node)) {
            orders.entry(node.clone()).or_insert_with(|| before.clone());
        }
        let ready = |node: &NodeName| if (self.alive)(node) { (self.ready)(node, self.version) } else { 0 };
        let made: u32 = self.target.iter().map(|(node, replicas)| ready(node).min(*replicas)).sum();
        if self.each || made >= self.wanted {
            return orders;
        }
        for (node, before) in self.before.iter().filter(|(node, _)| (self.alive)(node)) {
            let before = before.get(&self.version).copied().unwrap_or(0);
            let now = orders.entry(node.clone()).or_default().entry(self.version).or_default();
            *now = before.max(*now);
        }
        orders.retain(|_, versions| versions.values().any(|replicas| *replicas > 0));
        orders
    }

    /// Puts replicas of the wanted version in the place of others.
    fn replace(&self) -> Orders {
        let mut orders = Orders::new();
        let mut old: Vec<(&NodeName, u64, u32)> = Vec::new();
        let (mut new, mut new_ready) = (BTreeMap::<&NodeName, u32>::new(), 0);
        for (node, versions) in self.before {
            if !(self.alive)(node) {
                // Rule 5. What does not answer does not serve, and does not count.
                orders.insert(node.clone(), versions.clone());
                continue;
            }
            for (version, replicas) in versions {
                let ready = (self.ready)(node, *version).min(*replicas);
                if *version == self.version {
                    new.insert(node, *replicas);
                    new_ready += ready;
                } else if !self.condemned.contains(version) && ready > 0 {
                    old.push((node, *version, ready));
                }
            }
        }
        // Of those that have no place nobody waits for a successor.
        let wanted = match self.target.values().sum() {
            0 => self.wanted,
            placed => self.wanted.min(placed),
        };
        let (surge, unavailable) = (self.update.surge.of(wanted), self.update.unavailable.of(wanted));
        let serving: u32 = old.iter().map(|(_, _, ready)| ready).sum();
        let keep = wanted.saturating_sub(unavailable.saturating_add(new_ready)).min(serving);

        // Rules 2 and 3; and rule 4, for a version that is still wanted.
        let there: u32 = new.values().sum();
        let at_once = match (self.condemned.contains(&self.version), self.observing) {
            (true, _) => there,
            (false, true) => surge.max(unavailable).max(1),
            (false, false) => u32::MAX,
        };
        let may = wanted.saturating_add(surge).saturating_sub(keep).min(wanted).min(at_once);
        let missing =
            |node: &NodeName, target: u32| target.saturating_sub(new.get(node).copied().unwrap_or(0));
        let mut room: BinaryHeap<(u32, Reverse<&NodeName>)> = self
            .target
            .iter()
            .filter(|(node, _)| (self.alive)(node))
            .map(|(node, target)| (missing(node, *target), Reverse(node)))
            .filter(|(missing, _)| *missing > 0)
            .collect();
        for _ in there..may {
            let Some((missing, Reverse(node))) = room.pop() else { break };
            *new.entry(node).or_default() += 1;
            if missing > 1 {
                room.push((missing - 1, Reverse(node)));
            }
        }

        // Those go first that are where too many will be, then the oldest.
        let mut crowd: BTreeMap<&NodeName, i64> = BTreeMap::new();
        for (node, _, replicas) in &old {
            *crowd.entry(node).or_default() += i64::from(*replicas);
        }
        for (node, crowd) in &mut crowd {
            let target = self.target.get(*node).copied().unwrap_or(0);
            *crowd += i64::from(new.get(*node).copied().unwrap_or(0)) - i64::from(target);
        }
        let place = |at: usize, crowd: &BTreeMap<&NodeName, i64>| {
            let (node, version, _) = old[at];
            (crowd.get(node).copied().unwrap_or(0), Reverse(version), Reverse(node), at)
        };
        let mut order: BinaryHeap<_> = (0..old.len()).map(|at| place(at, &crowd)).collect();
        let mut left: Vec<u32> = old.iter().map(|(_, _, replicas)| *replicas).collect();
        let mut goes = serving - keep;
        while goes > 0
            && let Some(next) = order.pop()
        {
            let at = next.3;
            let now = place(at, &crowd);
            if now != next {
                // Another version on the same node went meanwhile.
                order.push(now);
                continue;
            }
            left[at] -= 1;
            goes -= 1;
            if let Some(crowd) = crowd.get_mut(old[at].0) {
                *crowd -= 1;
            }
            if left[at] > 0 {
                order.push(place(at, &crowd));
            }
        }
        for (node, replicas) in new {
            if replicas > 0 {
                orders.entry(node.clone()).or_default().insert(self.version, replicas);
            }
        }
        for ((node, version, _), replicas) in old.iter().zip(left) {
            if replicas > 0 {
                orders.entry((*node).clone()).or_default().insert(*version, replicas);
            }
        }
        orders
    }
}

/// Why a new version is no good, by what its replicas did so far.
pub(super) fn broken(health: impl Iterator<Item = Health>, bound: Percent) -> Option<String> {
    let (mut crashes, mut handled, mut failed) = (0u64, 0u64, 0u64);
    for one in health {
        crashes += one.crashes;
        handled += one.handled;
        failed += one.failed;
    }
    // One trap may take many turns along, so that many failures alone say little.
    let bad = crashes.max(failed);
    let over = bad.saturating_mul(100) > u64::from(bound.0) * handled.max(1);
    (crashes >= CRASHES && over)
        .then(|| format!("its replicas crashed {crashes} times, and {failed} of {handled} turns failed"))
}

#[cfg(test)]
mod tests;
