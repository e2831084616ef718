//! Nodes, and where actors are on them, as the API shows them.

use lattice_proto::admin::{Explanation, NodeResponse, NodeVerdict};
use lattice_proto::record::{NodeOrder, Route, Target};
use lattice_proto::{ActorName, NodeName};
use tonic::{Response, Status};

use super::error;
use crate::controller::{DeclareError, Explained};
use crate::placement::Verdict;

/// What became of an order for a node.
pub(super) fn answer(
    node: &NodeName,
    order: Result<NodeOrder, DeclareError>,
) -> Result<Response<NodeResponse>, Status> {
    let order = order.map_err(|error| error::from_declare(&error))?;
    let labels = order.labels.into_iter().map(|(key, value)| (key, value.unwrap_or_default()));
    Ok(Response::new(NodeResponse {
        node: node.to_string(),
        cordoned: order.cordoned,
        draining: order.draining,
        labels: labels.collect(),
    }))
}

/// Why an actor is where it is.
pub(super) fn explain(actor: &ActorName, explained: Explained) -> Explanation {
    let Explained { app, revision, explanation, nodes } = explained;
    let verdicts = nodes.into_iter().map(|view| {
        let verdict = explanation.nodes.get(&view.record.name);
        let (replicas, reason) = match verdict {
            Some(Verdict::Placed(replicas, why)) => (*replicas, why.to_string()),
            Some(Verdict::Misfit(misfit)) => (0, misfit.to_string()),
            Some(Verdict::Spare(why)) => (0, why.clone()),
            // It is no part of the plan any more.
            None => (0, "it was stopped, or is lost".to_owned()),
        };
        let state = view.state.as_str().to_owned();
        NodeVerdict { node: view.record.name.to_string(), state, replicas, reason }
    });
    let nodes: Vec<NodeVerdict> = verdicts.collect();
    Explanation {
        actor: actor.to_string(),
        app: app.to_string(),
        revision,
        desired: explanation.wanted,
        placed: nodes.iter().map(|node| node.replicas).sum(),
        shortfall: explanation.shortfall.unwrap_or_default(),
        nodes,
    }
}

/// How an actor is, in one word.
pub(super) fn condition(route: Option<&Route>, revision: u64) -> &'static str {
    let Some(route) = route else { return "Progressing" };
    let sum = |count: fn(&Target) -> u32| route.targets.iter().map(count).sum::<u32>();
    let (ready, stale) = (sum(|target| target.ready), sum(|target| target.stale));
    if !route.problems.is_empty() || route.targets.is_empty() && route.desired > 0 && !route.updating {
        return "Degraded";
    }
    let settled = match route.canary {
        None => ready == route.desired && stale == 0 && !route.updating,
        // What is on trial has its place until somebody decides.
        Some(canary) => ready >= canary.replicas && ready + stale >= route.desired,
    };
    let there = settled && route.revision >= revision;
    if there { "Available" } else { "Progressing" }
}
