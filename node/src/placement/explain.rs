//! Why an actor is where it is, and why it is nowhere else.

use std::collections::BTreeMap;
use std::sync::Arc;

use lattice_proto::{ActorName, NodeName};

use super::planner::{Actor, Planner};
use super::{Intake, Misfit, Wanted, fit};

/// Of one actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Replicas that are wanted.
    pub wanted: u32,
    /// Every node.
    pub nodes: BTreeMap<NodeName, Verdict>,
    /// What is missing, if anything is.
    pub shortfall: Option<String>,
}

/// Of one actor on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It has so many, for this reason.
    Placed(u32, Arc<str>),
    /// It cannot be there.
    Misfit(Misfit),
    /// It could be there, and others come first: here is why.
    Spare(String),
}

impl Planner {
    /// Why here, why not there.
    pub fn explain(&self, name: &ActorName) -> Option<Explanation> {
        let actor = self.actor(*self.ids.get(name)?)?;
        let nodes = self.roster.entries().map(|(id, entry)| {
            let verdict = match (actor.seats.get(&id), self.misfit(actor, entry)) {
                (Some(seat), _) => Verdict::Placed(seat.replicas, seat.why.clone()),
                (None, Err(misfit)) => Verdict::Misfit(misfit),
                (None, Ok(())) => match (entry.offer.intake, entry.room(&actor.demand)) {
                    (Intake::Open, Ok(())) => Verdict::Spare(self.spare(actor, entry)),
                    (Intake::Open, Err(misfit)) => Verdict::Misfit(misfit),
                    (Intake::Kept | Intake::Closed, _) => Verdict::Misfit(Misfit::Kept),
                },
            };
            (entry.name.clone(), verdict)
        });
        Some(Explanation { wanted: actor.wanted, nodes: nodes.collect(), shortfall: actor.shortfall.clone() })
    }

    fn spare(&self, actor: &Actor, entry: &super::roster::Entry) -> String {
        if actor.wanted == 0 {
            return "fits; no replica is wanted".to_owned();
        }
        let placement = &actor.demand.placement;
        let rank = fit::rank(placement, &entry.offer.labels);
        let holders = || actor.seats.keys().filter_map(|id| self.roster.get(*id));
        let preferred = holders().all(|holder| fit::rank(placement, &holder.offer.labels) < rank);
        if preferred && rank > 0 {
            return "fits; those with more of the preferred labels come first".to_owned();
        }
        "fits; what runs stays where it is, and others had fewer replicas when it was placed".to_owned()
    }

    /// What is missing.
    pub(super) fn shortfall(&self, actor: &Actor, wanted: u32) -> String {
        let demand = &actor.demand;
        let placement = &demand.placement;
        let missing = wanted - actor.total;
        let open = self.roster.open();
        let head = match (actor.total, demand.replicas) {
            (0, _) => String::new(),
            (_, Wanted::Count(_)) => format!("{missing} of {wanted} replicas have no place: "),
            (_, Wanted::Each(_)) => format!("{missing} of {wanted} nodes have no room: "),
        };
        if open == 0 {
            return format!("{head}no node is ready to take it");
        }
        let has = |label: &lattice_proto::manifest::Label| {
            self.roster.classes().any(|class| class.labels.get(&label.key) == Some(&label.value))
        };
        if let Some(label) = placement.require.iter().find(|label| !has(label)) {
            return format!("{head}no ready node has the label {label}; start one with `--label {label}`");
        }
        let mut fitting = self.roster.fitting(placement).flat_map(|(_, class)| &class.open).peekable();
        if fitting.peek().is_none() {
            let list = |labels: &std::collections::BTreeSet<_>| {
                labels.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            };
            return match (placement.forbid.is_empty(), placement.require.is_empty(), &placement.spread) {
                (true, false, None) => {
                    format!("{head}no ready node has all of {}", list(&placement.require))
                }
                (_, _, Some(key)) if placement.forbid.is_empty() => {
                    format!("{head}no ready node that fits has the label `{key}` to spread over")
                }
                _ => format!("{head}no ready node fits; every one has one of {}", list(&placement.forbid)),
            };
        }
        // The first node that has no place tells what to look at; `lattice explain` tells it of each.
        let reason = fitting.find_map(|standing| {
            let entry = self.roster.get(standing.id)?;
            let misfit = self.beside(actor, entry).and_then(|()| entry.room(demand)).err()?;
            Some(format!("{} {misfit}", entry.name))
        });
        match reason {
            Some(reason) => format!("{head}{reason} (`lattice explain {}` tells of each node)", actor.name),
            None if placement.apart.contains(&actor.name) => {
                format!("{head}each of the {open} ready nodes has one, and no node may have two")
            }
            None => format!(
                "{head}what is free does not suit `spread`; `lattice explain {}` tells more",
                actor.name
            ),
        }
    }
}
