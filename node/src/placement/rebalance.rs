//! What would sit better elsewhere, moved a little at a time.
//!
//! Each move makes one of the rules 3 to 6 of the [parent module](super) hold better and none of the earlier ones worse,
//! so that it ends: at some point no move is left.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use lattice_proto::ActorName;
use lattice_proto::manifest::EACH_NODE;

use super::planner::{ActorId, Planner};
use super::roster::{NodeId, Standing};
use super::seats::{Candidate, Domain, Holder};
use super::{Wanted, fit};

/// The busiest and the least busy nodes that are compared in one look.
const LOOK_AT: usize = 4;

/// Actors that are looked at in one go, so that a large lattice does not hold up what is urgent.
const ACTORS_AT_ONCE: usize = 512;

/// Nodes count as unevenly busy from this difference on, in hundredths of the busier one. Moving replicas costs more than
/// a small difference does.
const UNEVEN: u64 = 20;

struct Move {
    from: NodeId,
    to: NodeId,
    why: &'static str,
}

impl Planner {
    /// Moves up to `budget` replicas to where they would sit better, and returns the actors of which any moved.
    pub fn rebalance(&mut self, budget: u32) -> BTreeSet<ActorName> {
        self.apart_from_changes(|planner| {
            planner.improve(budget);
            planner.seat_the_rest();
        })
    }

    fn improve(&mut self, budget: u32) {
        let mut left = budget;
        for _ in 0..ACTORS_AT_ONCE {
            if self.uneasy.is_empty() && std::mem::take(&mut self.stale) {
                self.uneasy.extend(self.ids.keys().cloned());
                self.uneven = true;
            }
            let Some(name) = self.uneasy.first().cloned().filter(|_| left > 0) else { break };
            let better = self.ids.get(&name).copied().and_then(|id| Some((id, self.better(id)?)));
            match better {
                Some((id, better)) => {
                    self.shift(id, &better);
                    left -= 1;
                }
                None => drop(self.uneasy.remove(&name)),
            }
        }
        while left > 0 && self.uneven && self.uneasy.is_empty() {
            match self.relief() {
                Some((id, relief)) => {
                    self.shift(id, &relief);
                    left -= 1;
                }
                // What the next seats change is looked at then.
                None => self.uneven = false,
            }
        }
    }

    /// Whether [`rebalance`](Self::rebalance) may have something to do.
    pub fn is_uneasy(&self) -> bool {
        self.stale || self.uneven || !self.uneasy.is_empty()
    }

    fn shift(&mut self, id: ActorId, Move { from, to, why }: &Move) {
        let at = |node: NodeId| {
            self.actor(id).and_then(|actor| actor.seats.get(&node)).map_or(0, |seat| seat.replicas)
        };
        let (before, after) = (at(*from), at(*to));
        let stays = self.why(id, *from);
        self.put(id, *from, before.saturating_sub(1), &stays);
        self.put(id, *to, after + 1, &Arc::from(*why));
    }

    /// A move that suits the rules of one actor better.
    fn better(&self, id: ActorId) -> Option<Move> {
        let actor = self.actor(id)?;
        if matches!(actor.demand.replicas, Wanted::Each(_)) {
            return None;
        }
        let domains = self.domains(id, 1);
        if domains.len() > 1 {
            let fullest = domains.values().filter(|domain| !domain.holders.is_empty());
            let fullest = fullest.max_by_key(|domain| (domain.replicas, domain.holders.iter().max()))?;
            let emptiest = domains.values().filter(|domain| !domain.candidates.is_empty());
            let emptiest = emptiest.min_by_key(|domain| (domain.replicas, best(domain)));
            if let Some(emptiest) = emptiest
                && fullest.replicas > emptiest.replicas + 1
            {
                let (from, to) = (fullest.holders.iter().max()?, best(emptiest)?);
                let why = "moved to spread evenly over the label";
                return Some(Move { from: from.standing.id, to: to.standing.id, why });
            }
        }
        domains.values().find_map(within)
    }

    /// A move from a busy node to one that is much less so.
    fn relief(&self) -> Option<(ActorId, Move)> {
        let (busiest, idlest) = self.roster.extremes(LOOK_AT);
        for busy in busiest {
            for idle in &idlest {
                if busy.id == idle.id || !self.differ(busy, idle) {
                    continue;
                }
                let there = &self.roster.get(busy.id)?.actors;
                let mut there: Vec<(&ActorName, ActorId)> =
                    there.keys().filter_map(|id| Some((&self.actor(*id)?.name, *id))).collect();
                there.sort_unstable();
                if let Some((_, id)) = there.into_iter().find(|(_, id)| self.may_relieve(*id, busy, idle)) {
                    let why = "moved from a busier node";
                    return Some((id, Move { from: busy.id, to: idle.id, why }));
                }
            }
        }
        None
    }

    /// Whether one node is so much busier that a move is worth it, and would not only turn it round.
    fn differ(&self, busy: &Standing, idle: &Standing) -> bool {
        let one = |standing: &Standing| {
            let cpus = self.roster.get(standing.id).map_or(1, |entry| entry.offer.cpus.max(1));
            1_000_000 / u64::from(cpus)
        };
        let difference = busy.busy.saturating_sub(idle.busy);
        difference * 100 > busy.busy * UNEVEN && difference > one(busy) + one(idle)
    }

    fn may_relieve(&self, id: ActorId, busy: &Standing, idle: &Standing) -> bool {
        let (Some(actor), Some(from), Some(to)) =
            (self.actor(id), self.roster.get(busy.id), self.roster.get(idle.id))
        else {
            return false;
        };
        let placement = &actor.demand.placement;
        let same_value = match placement.spread.as_deref() {
            Some(key) if key != EACH_NODE => from.offer.labels.get(key) == to.offer.labels.get(key),
            _ => true,
        };
        // One more there than here is fewer by one after the move: as even as before.
        !matches!(actor.demand.replicas, Wanted::Each(_))
            && from.replicas_of(id) > to.replicas_of(id)
            && same_value
            && self.misfit(actor, to).is_ok()
            && to.room(&actor.demand).is_ok()
            && fit::rank(placement, &to.offer.labels) <= fit::rank(placement, &from.offer.labels)
    }
}

fn best(domain: &Domain) -> Option<&Candidate> {
    domain.candidates.peek().map(|Reverse(candidate)| candidate)
}

/// A better seat among the nodes of one value of the label to spread over.
fn within(domain: &Domain) -> Option<Move> {
    let to = best(domain)?;
    let from = domain.holders.iter().max_by_key(|holder| (holder.rank, holder.replicas, &holder.standing))?;
    let Holder { rank, replicas, standing, .. } = from;
    let (from, to_id) = (standing.id, to.standing.id);
    if to.rank < *rank {
        return Some(Move { from, to: to_id, why: "moved to a node that is preferred" });
    }
    let why = "moved to spread evenly over the nodes";
    (to.rank == *rank && *replicas > to.replicas + 1).then_some(Move { from, to: to_id, why })
}
