//! Where replicas go. Pure: no I/O, no clock, and the same answer whatever the order of the input.
//!
//! Rules, in this order:
//! 1. A node takes an actor only if it has all labels that the actor requires, and only while it is ready.
//! 2. What runs stays where it is, unless its node cannot keep it.
//! 3. The replicas of one actor are spread evenly: no fitting node has two more than another.
//! 4. Among equals the node with the fewest replicas overall is taken, then the first by name.

use std::collections::{BTreeMap, BTreeSet};

use lattice_proto::{ActorName, NodeName};

/// What one actor asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// How many replicas.
    pub replicas: u32,
    /// Labels that a node must have.
    pub require: BTreeMap<String, String>,
}

/// What one node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it takes replicas.
    pub ready: bool,
}

/// Replicas of one actor by node, with why they are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// Every node with at least one.
    pub nodes: BTreeMap<NodeName, u32>,
    /// Why these nodes; one sentence.
    pub reason: String,
    /// Why fewer than asked for; one sentence that says what is missing.
    pub shortfall: Option<String>,
}

/// Replicas by actor and node, as they are now.
pub type Current = BTreeMap<ActorName, BTreeMap<NodeName, u32>>;

/// Decides for all actors.
pub fn place(
    demands: &BTreeMap<ActorName, Demand>,
    offers: &BTreeMap<NodeName, Offer>,
    current: &Current,
) -> BTreeMap<ActorName, Placed> {
    // What stays is counted first, so that one actor's choice does not depend on which actor is looked at before it.
    let mut kept: BTreeMap<&ActorName, BTreeMap<NodeName, u32>> = BTreeMap::new();
    let mut load: BTreeMap<&NodeName, u32> = BTreeMap::new();
    for (actor, demand) in demands {
        let fitting = fitting(demand, offers);
        let stays = current.get(actor).into_iter().flatten();
        let stays: BTreeMap<_, _> = stays
            .filter(|(node, count)| **count > 0 && fitting.contains(*node))
            .map(|(node, count)| (node.clone(), *count))
            .collect();
        for (node, count) in &stays {
            if let Some((node, _)) = offers.get_key_value(node) {
                *load.entry(node).or_default() += count;
            }
        }
        kept.insert(actor, stays);
    }
    let mut placed = BTreeMap::new();
    for (actor, demand) in demands {
        let nodes = kept.remove(actor).unwrap_or_default();
        placed.insert(actor.clone(), place_one(demand, offers, nodes, &mut load));
    }
    placed
}

fn fitting<'a>(demand: &Demand, offers: &'a BTreeMap<NodeName, Offer>) -> BTreeSet<&'a NodeName> {
    let fits = |offer: &Offer| offer.ready && lacking(demand, offer).is_none();
    offers.iter().filter(|(_, offer)| fits(offer)).map(|(name, _)| name).collect()
}

/// The first required label that a node does not have.
fn lacking<'a>(demand: &'a Demand, offer: &Offer) -> Option<(&'a String, &'a String)> {
    demand.require.iter().find(|(key, value)| offer.labels.get(*key) != Some(*value))
}

fn place_one<'a>(
    demand: &Demand,
    offers: &'a BTreeMap<NodeName, Offer>,
    mut nodes: BTreeMap<NodeName, u32>,
    load: &mut BTreeMap<&'a NodeName, u32>,
) -> Placed {
    let fitting = fitting(demand, offers);
    if fitting.is_empty() {
        let shortfall = (demand.replicas > 0).then(|| shortfall(demand, offers));
        return Placed { nodes: BTreeMap::new(), reason: String::new(), shortfall };
    }
    let count = |nodes: &BTreeMap<NodeName, u32>, node: &NodeName| nodes.get(node).copied().unwrap_or(0);
    let mut total: u32 = nodes.values().sum();
    while total < demand.replicas {
        let least = fitting.iter().min_by_key(|node| (count(&nodes, node), load.get(*node).copied(), **node));
        let Some(node) = least.copied() else { break };
        *nodes.entry(node.clone()).or_default() += 1;
        *load.entry(node).or_default() += 1;
        total += 1;
    }
    while total > demand.replicas {
        let Some(node) = fullest(&fitting, &nodes, load) else { break };
        take(&mut nodes, node);
        lower(load, node);
        total -= 1;
    }
    // Rule 3: what stayed may be uneven, after a node joined for example.
    while let (Some(most), Some(least)) = (
        fullest(&fitting, &nodes, load),
        fitting.iter().copied().min_by_key(|node| (count(&nodes, node), load.get(*node).copied(), *node)),
    ) {
        if count(&nodes, most) <= count(&nodes, least) + 1 {
            break;
        }
        take(&mut nodes, most);
        lower(load, most);
        *nodes.entry(least.clone()).or_default() += 1;
        *load.entry(least).or_default() += 1;
    }
    Placed { nodes, reason: reason(demand, fitting.len()), shortfall: None }
}

/// The node with the most replicas of this actor, then the most overall, then the last by name.
fn fullest<'a>(
    fitting: &BTreeSet<&'a NodeName>,
    nodes: &BTreeMap<NodeName, u32>,
    load: &BTreeMap<&'a NodeName, u32>,
) -> Option<&'a NodeName> {
    let holding = fitting.iter().copied().filter(|node| nodes.contains_key(*node));
    holding.max_by_key(|node| (nodes.get(*node).copied(), load.get(node).copied(), *node))
}

fn take(nodes: &mut BTreeMap<NodeName, u32>, node: &NodeName) {
    if let Some(count) = nodes.get_mut(node) {
        *count -= 1;
        if *count == 0 {
            nodes.remove(node);
        }
    }
}

fn lower(load: &mut BTreeMap<&NodeName, u32>, node: &NodeName) {
    if let Some(load) = load.get_mut(node) {
        *load = load.saturating_sub(1);
    }
}

fn labels(require: &BTreeMap<String, String>) -> String {
    require.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

fn reason(demand: &Demand, fitting: usize) -> String {
    let nodes =
        if fitting == 1 { "the only ready node".to_owned() } else { format!("{fitting} ready nodes") };
    match demand.require.is_empty() {
        true => format!("spread evenly over {nodes}"),
        false => format!("spread evenly over {nodes} with {}", labels(&demand.require)),
    }
}

fn shortfall(demand: &Demand, offers: &BTreeMap<NodeName, Offer>) -> String {
    let ready = offers.values().filter(|offer| offer.ready).count();
    if ready == 0 {
        return "no node is ready to take it".to_owned();
    }
    let missing = demand.require.iter().find(|(key, value)| {
        !offers.values().any(|offer| offer.ready && offer.labels.get(*key) == Some(*value))
    });
    match missing {
        Some((key, value)) => {
            format!("no ready node has the label {key}={value}; start one with `--label {key}={value}`")
        }
        None => format!("no ready node has all of {}", labels(&demand.require)),
    }
}

#[cfg(test)]
mod tests;
