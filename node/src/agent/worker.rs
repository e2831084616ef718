//! One actor on this node: brings the number, revision and settings of its replicas to what is wanted.
//!
//! A change of artifact or settings starts the new replicas first, then lets the old ones finish: no message is lost,
//! because what still reaches them is answered.

use std::sync::Arc;
use std::time::Duration;

use lattice_proto::manifest::Settings;
use lattice_proto::record::{self, Assigned, Running};
use lattice_proto::{ActorName, Digest};
use tokio::sync::watch;

use super::Tools;
use crate::engine::{Compiled, Home};
use crate::replica::{LocalActor, Replica};

/// The pause before what failed is tried again, doubled each time.
const BACKOFF: std::ops::RangeInclusive<u64> = 500..=30_000;

/// What runs now.
struct Deployed {
    local: Arc<LocalActor>,
    compiled: Compiled,
    digest: Digest,
    settings: Settings,
}

/// Works until nothing is wanted any more, or the agent is gone.
pub(super) async fn run(actor: ActorName, mut orders: watch::Receiver<Option<Assigned>>, tools: Arc<Tools>) {
    let mut now: Option<Deployed> = None;
    let mut failures = 0u32;
    loop {
        let wanted = orders.borrow_and_update().clone();
        let Some(wanted) = wanted else {
            stop_all(&actor, now.take(), &tools).await;
            // A new order may have come while the last replicas finished.
            if orders.borrow_and_update().is_none() {
                tools.inventory.report(&actor, None);
                return;
            }
            continue;
        };
        let outcome = tokio::select! {
            outcome = converge(&actor, &mut now, &wanted, &tools) => outcome,
            // What is being fetched may not be wanted any more.
            changed = orders.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let ready = now.as_ref().map_or(0, |now| u32::try_from(now.local.count()).unwrap_or(u32::MAX));
        let problem = outcome.err();
        failures = if problem.is_some() { failures + 1 } else { 0 };
        if let Some(problem) = &problem {
            tracing::warn!(%actor, problem, "an actor cannot run as assigned");
        }
        let revision = wanted.revision;
        tools.inventory.report(&actor, Some(Running { revision, ready, problem }));
        let pause = match failures {
            0 => None,
            n => Some(Duration::from_millis(
                BACKOFF.start().saturating_mul(1 << n.saturating_sub(1).min(16)).min(*BACKOFF.end()),
            )),
        };
        let again = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = orders.changed() => if changed.is_err() { return },
            () = again => {}
        }
    }
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
        grow(&local, &compiled, wanted.replicas).await?;
        tools.local.insert(actor.clone(), local.clone());
        let new = Deployed { local, compiled, digest: digest.clone(), settings: settings.clone() };
        if let Some(old) = now.replace(new) {
            finish(&old.local);
        }
        return Ok(());
    }
    if let Some(now) = now {
        while now.local.count() > wanted.replicas as usize {
            let Some(replica) = now.local.remove() else { break };
            // It has left the rotation; what it took before is answered while this goes on.
            tokio::spawn(async move { replica.stop().await });
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

/// Lets every replica finish what it has, without waiting for it.
fn finish(local: &LocalActor) {
    while let Some(replica) = local.remove() {
        tokio::spawn(async move { replica.stop().await });
    }
}

/// Takes the actor out of the rotation and waits for what it was given before.
async fn stop_all(actor: &ActorName, now: Option<Deployed>, tools: &Tools) {
    let Some(now) = now else { return };
    tools.local.remove(actor);
    let mut stopping = tokio::task::JoinSet::new();
    while let Some(replica) = now.local.remove() {
        stopping.spawn(async move { replica.stop().await });
    }
    tools.inventory.report(actor, Some(Running { revision: 0, ready: 0, problem: None }));
    // Every turn ends by its deadline, and the watchdog sees to it.
    while stopping.join_next().await.is_some() {}
}

/// An error with its causes, for the status that operators read.
fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
