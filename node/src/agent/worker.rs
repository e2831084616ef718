//! One actor on this node: brings the number, revision and settings of its replicas to what is wanted.
//!
//! A change of artifact or settings starts the new replicas first, then lets the old ones finish: no message is lost,
//! because what still reaches them is answered. What finishes does so in the background, so that a new order never
//! waits for an old turn.

use std::sync::Arc;
use std::time::Duration;

use lattice_proto::manifest::Settings;
use lattice_proto::record::{self, Assigned, Running};
use lattice_proto::{ActorName, Digest};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Tools;
use crate::causes::full;
use crate::engine::{Compiled, Home};
use crate::replica::{LocalActor, Replica};

/// The pause before what failed is tried again, doubled each time.
const BACKOFF: std::ops::RangeInclusive<u64> = 500..=30_000;

/// How often replicas are looked at that may have ended by themselves.
const LOOK: Duration = Duration::from_secs(1);

/// What runs now.
struct Deployed {
    local: Arc<LocalActor>,
    compiled: Compiled,
    digest: Digest,
    settings: Settings,
    /// The revision that it was last found to be right for.
    revision: u64,
}

/// Works for as long as the agent lives; an actor that is not wanted any more costs a waiting task.
pub(super) async fn run(actor: ActorName, mut orders: watch::Receiver<Option<Assigned>>, tools: Arc<Tools>) {
    let mut now: Option<Deployed> = None;
    let mut finishing = JoinSet::new();
    let mut failures = 0u32;
    loop {
        let wanted = orders.borrow_and_update().clone();
        let outcome = match &wanted {
            Some(wanted) => {
                let same_work = |latest: &Option<Assigned>| {
                    latest.as_ref().is_some_and(|latest| latest.spec.digest == wanted.spec.digest)
                };
                // A receiver of its own: looking for an order must not count as having seen it.
                let mut latest = orders.clone();
                tokio::select! {
                    outcome = converge(&actor, &mut now, wanted, &tools, &mut finishing) => outcome,
                    // What is being fetched is left only when something else is wanted.
                    changed = latest.wait_for(|latest| !same_work(latest)) => match changed.map(|_| ()) {
                        Ok(()) => continue,
                        Err(_) => return,
                    },
                }
            }
            None => {
                withdraw(&actor, now.take(), &tools, &mut finishing);
                Ok(())
            }
        };
        let problem = outcome.err();
        failures = if problem.is_some() { failures + 1 } else { 0 };
        if let Some(problem) = &problem {
            tracing::warn!(%actor, problem, "an actor cannot run as assigned");
        }
        report(&actor, wanted.as_ref(), now.as_ref(), problem, !finishing.is_empty(), &tools);

        let again = async {
            match failures {
                0 => std::future::pending().await,
                n => tokio::time::sleep(backoff(n)).await,
            }
        };
        let mut again = std::pin::pin!(again);
        let mut look = tokio::time::interval(LOOK);
        look.reset();
        loop {
            tokio::select! {
                changed = orders.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = &mut again => break,
                // A defect in a replica's own loop must not leave a hole that nobody sees.
                _ = look.tick() => if now.as_ref().is_some_and(|now| now.local.bury() > 0) { break },
                Some(_) = finishing.join_next() => if finishing.is_empty() && wanted.is_none() {
                    tools.inventory.report(&actor, None);
                },
            }
        }
    }
}

fn report(
    actor: &ActorName,
    wanted: Option<&Assigned>,
    now: Option<&Deployed>,
    problem: Option<String>,
    finishing: bool,
    tools: &Tools,
) {
    if wanted.is_none() && !finishing {
        return tools.inventory.report(actor, None);
    }
    let ready = now.map_or(0, |now| u32::try_from(now.local.count()).unwrap_or(u32::MAX));
    // What runs is reported under the revision that it belongs to, so that nobody takes the old for the new.
    let revision = now.map_or(0, |now| now.revision);
    tools.inventory.report(actor, Some(Running { revision, ready, problem }));
}

fn backoff(failures: u32) -> Duration {
    let doubled = BACKOFF.start().saturating_mul(1 << failures.saturating_sub(1).min(16));
    Duration::from_millis(doubled.min(*BACKOFF.end()))
}

/// Everything of a manifest that a running replica was made with.
fn same(settings: &Settings, other: &Settings) -> bool {
    // The number of replicas is the one setting that can change under a running replica.
    Settings { replicas: 0, ..settings.clone() } == Settings { replicas: 0, ..other.clone() }
}

async fn converge(
    actor: &ActorName,
    now: &mut Option<Deployed>,
    wanted: &Assigned,
    tools: &Tools,
    finishing: &mut JoinSet<()>,
) -> Result<(), String> {
    let record::Actor { digest, settings, .. } = &wanted.spec;
    let fits = now.as_ref().is_some_and(|now| now.digest == *digest && same(&now.settings, settings));
    if !fits {
        let compiled = match now.as_ref().filter(|now| now.digest == *digest) {
            Some(now) => now.compiled.clone(),
            None => tools.artifacts.compiled(digest).await.map_err(|error| full(&error))?,
        };
        let home = Arc::new(Home {
            actor: actor.clone().into(),
            settings: settings.clone(),
            router: tools.router.clone(),
        });
        let local = Arc::new(LocalActor::new(home));
        let (digest, settings, revision) = (digest.clone(), settings.clone(), wanted.revision);
        let Some(old) = now else {
            // The first of them serve while the others are made, and if not all can be made, some are better than none.
            tools.local.insert(actor.clone(), local.clone());
            let new = now.insert(Deployed { local, compiled, digest, settings, revision });
            return grow(&new.local, &new.compiled, wanted.replicas).await;
        };
        grow(&local, &compiled, wanted.replicas).await?;
        tools.local.insert(actor.clone(), local.clone());
        finish(&old.local, finishing);
        *now = Some(Deployed { local, compiled, digest, settings, revision });
        return Ok(());
    }
    if let Some(now) = now {
        now.revision = wanted.revision;
        while now.local.count() > wanted.replicas as usize {
            let Some(replica) = now.local.remove() else { break };
            finishing.spawn(async move { replica.stop().await });
        }
        grow(&now.local, &now.compiled, wanted.replicas).await?;
    }
    Ok(())
}

async fn grow(local: &LocalActor, compiled: &Compiled, replicas: u32) -> Result<(), String> {
    while local.count() < replicas as usize {
        local.add(Arc::new(Replica::start(compiled.clone(), local.home.clone()).await?));
    }
    Ok(())
}

/// Lets every replica finish what it has. Every turn ends by its deadline; each replica sees to that itself.
fn finish(local: &LocalActor, finishing: &mut JoinSet<()>) {
    while let Some(replica) = local.remove() {
        finishing.spawn(async move { replica.stop().await });
    }
}

/// Takes the actor out of the rotation. Until its last replica has finished it is reported as being there, not ready.
fn withdraw(actor: &ActorName, now: Option<Deployed>, tools: &Tools, finishing: &mut JoinSet<()>) {
    let Some(now) = now else { return };
    tools.local.remove(actor);
    finish(&now.local, finishing);
}
