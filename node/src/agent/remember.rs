//! Keeps on disk what this node follows, together with what the versions in it are. It decides nothing.
//!
//! What is kept can be run without NATS: of an actor that is not here yet, in the version that is to come, what was kept
//! before is kept still.

use std::collections::BTreeMap;
use std::time::Duration;

use lattice_proto::ActorName;
use lattice_proto::record::{Actor, Assigned, Assignment};
use tokio::sync::watch;

use super::Specs;
use super::last::{Last, Orders};
use crate::artifact::Artifacts;

/// How soon what is not here yet, or could not be written, is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// Where it looks, and where it writes.
pub(super) struct Memory {
    pub last: Last,
    /// What is on disk.
    pub kept: Option<Orders>,
    pub specs: Specs,
    pub artifacts: Artifacts,
}

/// Works for as long as the agent lives. Of several assignments in a row only the last is kept.
pub(super) async fn run(mut memory: Memory, mut followed: watch::Receiver<Option<Assignment>>) {
    let mut told = String::new();
    loop {
        let assignment = followed.borrow_and_update().clone();
        let is_whole = match assignment {
            Some(assignment) => match keep(&mut memory, assignment).await {
                Ok(is_whole) => is_whole,
                Err(problem) => {
                    if problem != told {
                        tracing::warn!(
                            problem,
                            "what this node runs is not kept on its disk; it is tried again"
                        );
                        told = problem;
                    }
                    false
                }
            },
            None => true,
        };
        let again = async {
            match is_whole {
                true => std::future::pending().await,
                false => tokio::time::sleep(AGAIN).await,
            }
        };
        tokio::select! {
            () = again => {}
            changed = followed.changed() => if changed.is_err() { return },
        }
    }
}

/// Writes what changed; false when something is not here yet.
async fn keep(memory: &mut Memory, assignment: Assignment) -> Result<bool, String> {
    let mut orders = memory.last.empty(assignment.term);
    let mut is_whole = true;
    for (actor, assigned) in assignment.actors {
        if let Some(versions) = all_here(memory, &actor, &assigned).await {
            orders.versions.insert(actor.clone(), versions);
            orders.assignment.actors.insert(actor, assigned);
            continue;
        }
        is_whole = false;
        let Some(kept) = &memory.kept else { continue };
        if let Some(before) = kept.assignment.actors.get(&actor) {
            orders.versions.extend(kept.versions.get_key_value(&actor).map(|(k, v)| (k.clone(), v.clone())));
            orders.assignment.actors.insert(actor, before.clone());
        }
    }
    if memory.kept.as_ref() == Some(&orders) {
        return Ok(is_whole);
    }
    let (last, written) = (memory.last.clone(), orders.clone());
    match tokio::task::spawn_blocking(move || last.write(&written)).await {
        Ok(written) => written.map_err(|error| error.to_string())?,
        Err(_) => return Err("the node is stopping".to_owned()),
    }
    memory.specs.retain(|(app, actor, version)| orders.version(app, actor, *version).is_some());
    memory.kept = Some(orders);
    Ok(is_whole)
}

/// What the versions of one actor are, if their artifacts are on this disk.
async fn all_here(memory: &Memory, actor: &ActorName, assigned: &Assigned) -> Option<BTreeMap<u64, Actor>> {
    let mut versions = BTreeMap::new();
    for version in assigned.versions.keys() {
        let spec = match memory.specs.known(&assigned.app, *version, actor) {
            Some(spec) => spec,
            None => memory.specs.get(&assigned.app, *version, actor).await.ok()?,
        };
        if !memory.artifacts.is_kept(&spec.digest) {
            return None;
        }
        versions.insert(*version, spec);
    }
    Some(versions)
}
