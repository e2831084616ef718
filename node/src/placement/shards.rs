//! Who owns which shard. Pure, as all of placement.
//!
//! Rules, the earlier ones first:
//! 1. A shard whose owner is lost has another one at once. Each change of the owner raises the epoch.
//! 2. A shard whose owner lives changes hands only when that owner has let go of it: until then it has a next owner. What it
//!    has let go of it never acts on again in that epoch, so if the next owner is lost meanwhile another one gets it.
//! 3. A shard stays where it is, unless its node is being emptied, or others have too few.
//! 4. Nodes own shards in proportion to their processors. What follows from that when a node joins is moved a few shards
//!    at a time.

use std::collections::BTreeMap;

use lattice_proto::NodeName;
use lattice_proto::record::{Owned, Owner, Shards};
use lattice_proto::shard::Shard;

/// Shards that are on their way only so that all have their part.
const MOVING: usize = 16;

/// A node that may own shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub owner: Owner,
    /// Its processors.
    pub weight: u32,
    /// Whether it takes more.
    pub open: bool,
    /// Whether it is to keep what it has.
    pub keeps: bool,
}

/// What should be, from what is. `released` are the shards that a node says to have let go of, with their epochs.
pub fn plan(
    known: &Shards,
    candidates: &BTreeMap<NodeName, Candidate>,
    released: impl Fn(&Owner, Shard) -> Option<u64>,
) -> Shards {
    let mut table = Table::new(known, candidates);
    for number in 0..table.shards.len() {
        table.look_at(number, &released);
    }
    for number in 0..table.shards.len() {
        if table.shards[number].owner.is_none() {
            table.give(number);
        }
    }
    for number in 0..table.shards.len() {
        table.empty(number);
    }
    table.even_out();
    table.into_shards(known.term)
}

/// One shard, with its owners by name.
#[derive(Debug, Clone)]
struct Place {
    epoch: u64,
    owner: Option<NodeName>,
    next: Option<NodeName>,
    /// Whether the owner before was lost; where there is none, whether the last one was.
    lost: bool,
}

struct Table<'a> {
    candidates: &'a BTreeMap<NodeName, Candidate>,
    shards: Vec<Place>,
    /// What each has or is to have.
    held: BTreeMap<&'a NodeName, usize>,
    /// What each open one should have.
    due: BTreeMap<&'a NodeName, usize>,
}

impl<'a> Table<'a> {
    fn new(known: &Shards, candidates: &'a BTreeMap<NodeName, Candidate>) -> Self {
        // Another start of a node owns nothing of what this one did.
        let alive =
            |owner: &Owner| candidates.get(&owner.name).is_some_and(|candidate| candidate.owner == *owner);
        let name = |index: Option<u16>| {
            let owner = known.owners.get(usize::from(index?))?;
            alive(owner).then(|| owner.name.clone())
        };
        let place = |owned: &Owned| {
            let owner = name(owned.owner);
            let lost = owned.lost || (owned.owner.is_some() && owner.is_none());
            let next = name(owned.next).filter(|next| candidates[next].open);
            Place { epoch: owned.epoch, owner, next, lost }
        };
        let mut table = Self {
            candidates,
            shards: known.shards.iter().map(place).collect(),
            held: BTreeMap::new(),
            due: BTreeMap::new(),
        };
        table.count();
        table
    }

    /// Counts what each has or is to have, and what each should have: all shards less those that stay with nodes which
    /// take no more, in proportion to their processors.
    fn count(&mut self) {
        let mut held: BTreeMap<&NodeName, usize> = self.candidates.keys().map(|name| (name, 0)).collect();
        for place in &self.shards {
            if let Some(count) =
                place.next.as_ref().or(place.owner.as_ref()).and_then(|name| held.get_mut(name))
            {
                *count += 1;
            }
        }
        let is_stuck = |name: &NodeName| self.candidates[name].keeps && !self.candidates[name].open;
        let stuck: usize = held.iter().filter(|(name, _)| is_stuck(name)).map(|(_, count)| count).sum();
        let left = self.shards.len().saturating_sub(stuck);
        let open: Vec<&Candidate> = self.candidates.values().filter(|candidate| candidate.open).collect();
        let weight: usize = open.iter().map(|candidate| candidate.weight.max(1) as usize).sum();
        let mut due: BTreeMap<&NodeName, usize> = BTreeMap::new();
        let mut given = 0;
        for candidate in &open {
            let part = left * candidate.weight.max(1) as usize / weight;
            due.insert(&candidate.owner.name, part);
            given += part;
        }
        // What does not divide stays with those that have it, so that nothing moves for its sake.
        let mut rest: Vec<&NodeName> = due.keys().copied().collect();
        rest.sort_by_key(|name| (held[name] <= due[name], *name));
        for name in rest.into_iter().take(left - given) {
            if let Some(due) = due.get_mut(name) {
                *due += 1;
            }
        }
        (self.held, self.due) = (held, due);
    }

    /// Takes in what became of one shard.
    fn look_at(&mut self, number: usize, released: &impl Fn(&Owner, Shard) -> Option<u64>) {
        let place = &self.shards[number];
        let shard = Shard(u16::try_from(number).unwrap_or(u16::MAX));
        let owner = place.owner.as_ref().and_then(|owner| self.candidates.get_key_value(owner));
        let let_go =
            owner.is_some_and(|(_, candidate)| released(&candidate.owner, shard) == Some(place.epoch));
        if owner.is_some() && !let_go {
            return;
        }
        let place = &mut self.shards[number];
        place.lost &= !let_go;
        match place.next.take() {
            Some(next) => (place.owner, place.epoch) = (Some(next), place.epoch + 1),
            None => {
                place.owner = None;
                self.lose(owner.map(|(name, _)| name));
            }
        }
    }

    /// Gives a shard that has no owner to whoever has too few.
    fn give(&mut self, number: usize) {
        if let Some(owner) = self.neediest() {
            let place = &mut self.shards[number];
            (place.owner, place.epoch) = (Some(owner.clone()), place.epoch + 1);
            self.take(owner);
        }
    }

    /// A shard of a node that is being emptied is to go elsewhere.
    fn empty(&mut self, number: usize) {
        let place = &self.shards[number];
        let Some(owner) = place.owner.as_ref().filter(|owner| !self.candidates[*owner].keeps) else { return };
        if place.next.is_some() {
            return;
        }
        let owner = self.candidates.get_key_value(owner).map(|(name, _)| name);
        if let Some(next) = self.neediest() {
            self.shards[number].next = Some(next.clone());
            self.take(next);
            self.lose(owner);
        }
    }

    /// Whoever has more than its part gives some away, a few at a time.
    fn even_out(&mut self) {
        let mut moving = self.shards.iter().filter(|place| place.next.is_some()).count();
        for number in 0..self.shards.len() {
            if moving >= MOVING {
                return;
            }
            let place = &self.shards[number];
            let Some((owner, _)) = place.owner.as_ref().and_then(|name| self.candidates.get_key_value(name))
            else {
                continue;
            };
            let has_more = self.due.get(owner).is_some_and(|due| self.held[owner] > *due);
            if place.next.is_some() || !has_more {
                continue;
            }
            let Some(next) = self.neediest().filter(|next| self.held[next] < self.due[next]) else { return };
            self.shards[number].next = Some(next.clone());
            self.take(next);
            self.lose(Some(owner));
            moving += 1;
        }
    }

    /// The open node that lacks most of its part; the first by name of those that lack the same.
    fn neediest(&self) -> Option<&'a NodeName> {
        let lacks = |name: &NodeName, due: usize| {
            i64::try_from(due).unwrap_or(i64::MAX) - i64::try_from(self.held[name]).unwrap_or(i64::MAX)
        };
        let by_need = self.due.iter().map(|(name, due)| (std::cmp::Reverse(lacks(name, *due)), *name));
        by_need.min().map(|(_, name)| name)
    }

    fn take(&mut self, name: &'a NodeName) {
        *self.held.entry(name).or_default() += 1;
    }

    fn lose(&mut self, name: Option<&'a NodeName>) {
        if let Some(count) = name.and_then(|name| self.held.get_mut(name)) {
            *count = count.saturating_sub(1);
        }
    }

    fn into_shards(self, term: u64) -> Shards {
        let used = self.shards.iter().flat_map(|place| place.owner.iter().chain(&place.next));
        let used: std::collections::BTreeSet<&NodeName> = used.collect();
        let owners: Vec<Owner> = used.iter().map(|name| self.candidates[*name].owner.clone()).collect();
        let index = |name: &Option<NodeName>| {
            let name = name.as_ref()?;
            let at = owners.binary_search_by(|owner| owner.name.cmp(name)).ok()?;
            u16::try_from(at).ok()
        };
        let owned = |place: &Place| Owned {
            epoch: place.epoch,
            owner: index(&place.owner),
            next: index(&place.next),
            lost: place.lost,
        };
        let shards = self.shards.iter().map(owned).collect();
        Shards { term, owners, shards }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lattice_proto::Incarnation;
    use lattice_proto::shard::SHARDS;
    use proptest::prelude::*;

    use super::*;

    fn candidate(name: &str, weight: u32) -> (NodeName, Candidate) {
        let owner = Owner { name: name.parse().unwrap(), incarnation: Incarnation::generate() };
        (owner.name.clone(), Candidate { owner, weight, open: true, keeps: true })
    }

    fn empty() -> Shards {
        Shards { term: 1, owners: Vec::new(), shards: vec![Owned::default(); usize::from(SHARDS)] }
    }

    fn nobody(_: &Owner, _: Shard) -> Option<u64> {
        None
    }

    /// Everybody lets go at once of what is to go elsewhere.
    fn settle(mut known: Shards, candidates: &BTreeMap<NodeName, Candidate>) -> Shards {
        for _ in 0..1_000 {
            let shards = known.shards.clone();
            let next = plan(&known, candidates, |_, shard| {
                let owned = &shards[usize::from(shard.0)];
                owned.next.map(|_| owned.epoch)
            });
            if next == known {
                return next;
            }
            known = next;
        }
        panic!("it does not come to rest");
    }

    fn counts(shards: &Shards) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for number in 0..shards.count() {
            if let Some((owner, _)) = shards.owner(Shard(number)) {
                *counts.entry(owner.name.to_string()).or_default() += 1;
            }
        }
        counts
    }

    #[test]
    fn shards_follow_processors_and_move_a_few_at_a_time() {
        let mut nodes: BTreeMap<_, _> = [candidate("a", 4), candidate("b", 4)].into();
        let first = plan(&empty(), &nodes, nobody);
        assert_eq!(counts(&first), [("a".into(), 128), ("b".into(), 128)].into());
        assert!(first.shards.iter().all(|owned| owned.epoch == 1 && owned.next.is_none()));
        nodes.extend([candidate("c", 8)]);
        let second = plan(&first, &nodes, nobody);
        assert_eq!(counts(&second), counts(&first), "nobody loses what it has not let go of");
        assert_eq!(second.shards.iter().filter(|owned| owned.next.is_some()).count(), MOVING);
        let last = settle(second, &nodes);
        assert_eq!(counts(&last), [("a".into(), 64), ("b".into(), 64), ("c".into(), 128)].into());
        let moved = first.shards.iter().zip(&last.shards).filter(|(a, b)| a.epoch != b.epoch).count();
        assert_eq!(moved, 128, "nothing moves but what the new one gets");
    }

    #[test]
    fn what_a_lost_node_owned_has_another_owner_at_once_and_all_else_stays() {
        let mut nodes: BTreeMap<_, _> = [candidate("a", 4), candidate("b", 4), candidate("c", 4)].into();
        let first = plan(&empty(), &nodes, nobody);
        nodes.remove("c");
        let second = plan(&first, &nodes, nobody);
        for (number, (before, after)) in first.shards.iter().zip(&second.shards).enumerate() {
            let shard = Shard(number as u16);
            let was_lost = first.owner(shard).unwrap().0.name.as_str() == "c";
            assert_eq!(after.epoch - before.epoch, u64::from(was_lost));
            assert_eq!(after.lost, was_lost);
            assert!(was_lost || first.owner(shard) == second.owner(shard));
        }
        assert_eq!(counts(&second), [("a".into(), 128), ("b".into(), 128)].into());
    }

    #[test]
    fn a_node_that_comes_back_owns_nothing_of_what_it_had() {
        let nodes: BTreeMap<_, _> = [candidate("a", 4)].into();
        let first = plan(&empty(), &nodes, nobody);
        let again: BTreeMap<_, _> = [candidate("a", 4)].into();
        let second = plan(&first, &again, nobody);
        assert!(second.shards.iter().all(|owned| owned.epoch == 2));
        assert_eq!(second.owners, [again["a"].owner.clone()]);
    }

    #[test]
    fn a_node_that_is_emptied_keeps_each_shard_until_it_lets_go_of_it() {
        let mut nodes: BTreeMap<_, _> = [candidate("a", 4), candidate("b", 4)].into();
        let first = plan(&empty(), &nodes, nobody);
        let leaving = nodes.get_mut("a").unwrap();
        (leaving.open, leaving.keeps) = (false, false);
        let second = plan(&first, &nodes, nobody);
        assert_eq!(counts(&second), counts(&first));
        assert_eq!(second.shards.iter().filter(|owned| owned.next.is_some()).count(), 128);
        let last = settle(second, &nodes);
        assert_eq!(counts(&last), [("b".into(), 256)].into());
        assert!(last.shards.iter().all(|owned| !owned.lost), "each was let go of");
    }

    #[test]
    fn what_was_let_go_of_in_vain_is_given_out_anew() {
        let mut nodes: BTreeMap<_, _> = [candidate("a", 4), candidate("b", 4)].into();
        let first = plan(&empty(), &nodes, nobody);
        let leaving = nodes.get_mut("a").unwrap();
        (leaving.open, leaving.keeps) = (false, false);
        let second = plan(&first, &nodes, nobody);
        // The next owner is lost, and the first one stays after all.
        nodes.remove("b");
        let back = nodes.get_mut("a").unwrap();
        (back.open, back.keeps) = (true, true);
        let third = plan(&second, &nodes, |_, _| Some(1));
        assert_eq!(counts(&third), [("a".into(), 256)].into());
        for (before, after) in first.shards.iter().zip(&third.shards) {
            assert_eq!(after.epoch, before.epoch + 1);
            let was_lost = first.owners[usize::from(before.owner.unwrap())].name.as_str() == "b";
            assert_eq!(after.lost, was_lost);
        }
    }

    proptest! {
        #[test]
        fn it_comes_to_rest_and_everybody_has_a_part(weights in proptest::collection::vec(1u32..16, 1..12), lost in 0usize..12) {
            let mut nodes: BTreeMap<_, _> =
                weights.iter().enumerate().map(|(n, weight)| candidate(&format!("n{n}"), *weight)).collect();
            let first = settle(empty(), &nodes);
            if nodes.len() > 1 {
                let name = nodes.keys().nth(lost % nodes.len()).unwrap().clone();
                nodes.remove(&name);
            }
            let last = settle(first.clone(), &nodes);
            let all: u32 = nodes.values().map(|node| node.weight).sum();
            for (name, node) in &nodes {
                let ideal = usize::from(SHARDS) * node.weight as usize / all as usize;
                let has = counts(&last).get(name.as_str()).copied().unwrap_or(0);
                prop_assert!((ideal..=ideal + 1).contains(&has), "{name} has {has} of {ideal}");
            }
            for (before, after) in first.shards.iter().zip(&last.shards) {
                prop_assert!(after.epoch >= before.epoch);
            }
            let owners: BTreeSet<_> = last.owners.iter().map(|owner| &owner.name).collect();
            prop_assert!(owners.iter().all(|name| nodes.contains_key(*name)));
        }
    }
}
