//! Writes what this node follows to its disk, together with what the versions in it are. It decides nothing.

use std::time::Duration;

use lattice_proto::record::Assignment;
use tokio::sync::watch;

use super::Specs;
use super::last::{Last, Versions};

/// The pause before what could not be looked up or written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Works for as long as the agent lives. Of several assignments in a row only the last is written.
pub(super) async fn run(last: Last, specs: Specs, mut followed: watch::Receiver<Option<Assignment>>) {
    // What is on disk already.
    let mut written = None;
    let mut told = String::new();
    loop {
        let assignment = followed.borrow_and_update().clone();
        if let Some(assignment) = assignment.filter(|assignment| Some(assignment) != written.as_ref()) {
            match write(&last, &specs, assignment.clone()).await {
                Ok(()) => {
                    written = Some(assignment);
                    told.clear();
                }
                // The old file is whole, and better than half a new one.
                Err(problem) => {
                    if problem != told {
                        tracing::warn!(
                            problem,
                            "what this node runs is not on its disk yet; it is tried again"
                        );
                        told = problem;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(RETRY) => {}
                        changed = followed.changed() => if changed.is_err() { return },
                    }
                    continue;
                }
            }
        }
        if followed.changed().await.is_err() {
            return;
        }
    }
}

async fn write(last: &Last, specs: &Specs, assignment: Assignment) -> Result<(), String> {
    let mut versions = Versions::new();
    for (actor, assigned) in &assignment.actors {
        for version in assigned.versions.keys() {
            let spec = match specs.known(&assigned.app, *version, actor) {
                Some(spec) => spec,
                None => specs.get(&assigned.app, *version, actor).await?,
            };
            versions.entry(actor.clone()).or_default().insert(*version, spec);
        }
    }
    specs.retain(|(app, actor, version)| {
        let assigned = assignment.actors.get(actor).filter(|assigned| assigned.app == *app);
        assigned.is_some_and(|assigned| assigned.versions.contains_key(version))
    });
    let last = last.clone();
    let written = tokio::task::spawn_blocking(move || last.write(assignment, versions)).await;
    match written {
        Ok(written) => written.map_err(|error| error.to_string()),
        Err(_) => Err("the node is stopping".to_owned()),
    }
}
