//! A step of an actor of which a new version is on trial, beside the one that serves most calls.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use lattice_proto::NodeName;

use super::{Orders, Standing};

/// A new version beside another one.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// The version that serves all other calls.
    pub beside: u64,
    /// Replicas of the new one.
    pub replicas: u32,
}

impl Standing<'_> {
    /// Brings both versions to their numbers, where replicas of the actor are to be.
    pub(super) fn try_beside(&self, trial: &Trial) -> Orders {
        let new = self.new_ones(trial);
        let old = self.old_ones(&new);
        let aims = [(self.version, &new), (trial.beside, &old)];
        let mut orders = Orders::new();
        for (version, aim) in aims {
            for (node, replicas) in aim.iter().filter(|(_, replicas)| **replicas > 0) {
                orders.entry((*node).clone()).or_default().insert(version, *replicas);
            }
        }
        let ready = |version: u64, aim: &BTreeMap<&NodeName, u32>| -> u32 {
            aim.iter().map(|(node, replicas)| (self.ready)(node, version).min(*replicas)).sum()
        };
        let there = aims.iter().all(|(version, aim)| ready(*version, aim) >= aim.values().sum());
        for (node, versions) in self.before {
            let alive = (self.alive)(node);
            // What does not answer is left as it is; what is too much goes when the rest is there, but what was found to be
            // broken at once.
            for (version, before) in versions {
                if !alive || (!there && !self.condemned.contains(version)) {
                    let now = orders.entry(node.clone()).or_default().entry(*version).or_default();
                    *now = (*now).max(*before);
                }
            }
        }
        orders
    }

    /// Where the new version is to run: where it does already, then where most replicas are to be.
    fn new_ones(&self, trial: &Trial) -> BTreeMap<&NodeName, u32> {
        let known = |node: &NodeName| {
            self.before.get(node).and_then(|versions| versions.get(&self.version)).copied().unwrap_or(0)
        };
        let alive = self.target.iter().filter(|(node, _)| (self.alive)(node));
        let mut places: Vec<(&NodeName, u32)> = alive.map(|(node, room)| (node, *room)).collect();
        places.sort_by_key(|(node, room)| (Reverse(known(node).min(*room)), Reverse(*room), *node));
        let mut left = trial.replicas;
        let mut new = BTreeMap::new();
        for (node, room) in &places {
            let takes = known(node).min(*room).min(left);
            left -= takes;
            new.insert(*node, takes);
        }
        // One on each node, before any has two more.
        while left > 0 {
            let before = left;
            for (node, room) in &places {
                let takes = new.entry(*node).or_default();
                if left > 0 && *takes < *room {
                    *takes += 1;
                    left -= 1;
                }
            }
            if left == before {
                break;
            }
        }
        new
    }

    /// Where the other version is to run: wherever there are to be replicas and the new one has none.
    fn old_ones(&self, new: &BTreeMap<&NodeName, u32>) -> BTreeMap<&NodeName, u32> {
        let alive = self.target.iter().filter(|(node, _)| (self.alive)(node));
        let rest =
            |(node, room): (&'_ NodeName, &u32)| room.saturating_sub(new.get(node).copied().unwrap_or(0));
        let mut old: BTreeMap<&NodeName, u32> =
            alive.map(|(node, room)| (node, rest((node, room)))).collect();
        // A trial beside nothing would be none.
        if old.values().all(|replicas| *replicas == 0)
            && let Some(mut first) = old.first_entry()
        {
            first.insert(1);
        }
        old
    }
}
