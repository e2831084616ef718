//! One actor on this node: brings the number of replicas of each version to what is wanted.
//!
//! What is to come is started before what is to go is told to finish, and what finishes does so in the background, so
//! that no message is lost and a new order never waits for an old turn. How fast one version takes the place of another is
//! not decided here.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lattice_proto::manifest::Kind;
use lattice_proto::record::{Assigned, Health, Running};
use lattice_proto::{ActorName, AppName};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Tools;
use crate::causes::full;
use crate::engine::{Compiled, Home};
use crate::logs::Once;
use crate::replica::{Count, LocalActor, Replica, Tally};
use crate::telemetry::metrics;

/// The pause before what failed is tried again, doubled each time.
const BACKOFF: std::ops::RangeInclusive<u64> = 500..=30_000;

/// How often crashes and failures are reported while an update goes on.
const OBSERVE: Duration = Duration::from_millis(200);

/// How often replicas are looked at that may have ended by themselves.
const LOOK: Duration = Duration::from_secs(1);

/// One version that runs here.
struct Deployed {
    local: Arc<LocalActor>,
    compiled: Compiled,
    /// When its first replica began to take messages.
    since: Option<Instant>,
}

/// What runs here, by version.
type Versions = BTreeMap<u64, Deployed>;

/// Works for as long as the agent lives; an actor that is not wanted any more costs a waiting task.
pub(super) async fn run(actor: ActorName, mut orders: watch::Receiver<Option<Assigned>>, tools: Arc<Tools>) {
    let mut now = Versions::new();
    let mut finishing = JoinSet::new();
    let mut failures = 0u32;
    // Starts that failed, of versions that never ran here.
    let mut not_started: BTreeMap<u64, u64> = BTreeMap::new();
    let mut app: Option<AppName> = None;
    let (mut was_observed, mut before) = (false, BTreeMap::<u64, Count>::new());
    loop {
        let wanted = orders.borrow_and_update().clone();
        let versions: Vec<u64> = wanted.iter().flat_map(|wanted| wanted.versions.keys().copied()).collect();
        not_started.retain(|version, _| versions.contains(version));
        if let Some(wanted) = &wanted
            && app.as_ref() != Some(&wanted.app)
        {
            // Another app has the name now, and its versions only look like those of the first.
            withdraw(&actor, &mut now, |_| false, &tools, &mut finishing);
            not_started.clear();
            app = Some(wanted.app.clone());
        }
        let observed = wanted.as_ref().is_some_and(|wanted| wanted.observed);
        if observed && !was_observed {
            // What was before says nothing of this update.
            before = now.iter().map(|(version, deployed)| (*version, deployed.local.tally())).collect();
        }
        was_observed = observed;
        let outcome = match &wanted {
            Some(wanted) => {
                let same_work = |latest: &Option<Assigned>| {
                    let same = |latest: &Assigned| {
                        latest.app == wanted.app && latest.versions.keys().eq(wanted.versions.keys())
                    };
                    latest.as_ref().is_some_and(same)
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
                withdraw(&actor, &mut now, |_| false, &tools, &mut finishing);
                Ok(())
            }
        };
        let problem = outcome.err();
        failures = if problem.is_some() { failures + 1 } else { 0 };
        match &problem {
            Some((version, problem)) => {
                // That something cannot be fetched says nothing of what it is.
                if matches!(problem, Problem::Start(_)) {
                    *not_started.entry(*version).or_default() += 1;
                    tools.events.crashed(&actor, &format!("it did not start: {}", problem.as_str()));
                }
                let problem = problem.as_str();
                tracing::warn!(%actor, version, problem, "an actor cannot run as assigned");
            }
            None => not_started.clear(),
        }
        let problem = problem.map(|(_, problem)| problem.as_str().to_owned());
        let report = |now: &Versions, finishing: &JoinSet<()>| {
            let since = Since { before: &before, not_started: &not_started };
            let running = running(wanted.as_ref(), now, problem.clone(), &since, !finishing.is_empty());
            let running = running.map(|running| Running { app: app.clone(), ..running });
            tools.inventory.report(&actor, running);
        };
        report(&now, &finishing);

        let again = async {
            match failures {
                0 => std::future::pending().await,
                n => tokio::time::sleep(backoff(n)).await,
            }
        };
        let mut again = std::pin::pin!(again);
        let mut look = tokio::time::interval(LOOK);
        look.reset();
        let mut observe = tokio::time::interval(OBSERVE);
        observe.reset();
        loop {
            tokio::select! {
                changed = orders.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = &mut again => break,
                // A defect in a replica's own loop must not leave a hole that nobody sees.
                _ = look.tick() => {
                    let dead: usize = now.values().map(|deployed| deployed.local.bury()).sum();
                    if dead > 0 {
                        break;
                    }
                }
                _ = observe.tick(), if observed => report(&now, &finishing),
                Some(_) = finishing.join_next() => if finishing.is_empty() && wanted.is_none() {
                    tools.inventory.report(&actor, None);
                },
            }
        }
    }
}

/// Why something does not run.
enum Problem {
    /// It cannot be had.
    Fetch(String),
    /// It was made, and did not start.
    Start(String),
}

impl Problem {
    fn as_str(&self) -> &str {
        let (Problem::Fetch(text) | Problem::Start(text)) = self;
        text
    }
}

/// What an update is judged by.
struct Since<'a> {
    /// The tallies when it began.
    before: &'a BTreeMap<u64, Count>,
    /// Starts that failed.
    not_started: &'a BTreeMap<u64, u64>,
}

/// What is to be said of the actor; nothing when nothing of it is here any more.
fn running(
    wanted: Option<&Assigned>,
    now: &Versions,
    problem: Option<String>,
    since: &Since<'_>,
    finishing: bool,
) -> Option<Running> {
    if wanted.is_none() && !finishing {
        return None;
    }
    let observed = wanted.is_some_and(|wanted| wanted.observed);
    let mut versions: BTreeMap<u64, Health> = BTreeMap::new();
    for (version, deployed) in now {
        let ready = u32::try_from(deployed.local.count()).unwrap_or(u32::MAX);
        let mut health = Health { ready, ..Health::default() };
        if observed {
            let (now, before) =
                (deployed.local.tally(), since.before.get(version).copied().unwrap_or_default());
            health.crashes = now.crashes.saturating_sub(before.crashes);
            health.handled = now.handled.saturating_sub(before.handled);
            health.failed = now.failed.saturating_sub(before.failed);
            let since = deployed.since.map_or(Duration::ZERO, |since| since.elapsed());
            health.observed_ms = Some(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        }
        versions.insert(*version, health);
    }
    if observed {
        for (version, failures) in since.not_started {
            versions.entry(*version).or_default().crashes += failures;
        }
    }
    Some(Running { app: None, versions, problem })
}

fn backoff(failures: u32) -> Duration {
    let doubled = BACKOFF.start().saturating_mul(1 << failures.saturating_sub(1).min(16));
    Duration::from_millis(doubled.min(*BACKOFF.end()))
}

/// Brings what runs to what is wanted. An error names the first version that cannot be had; what can be done for the
/// others is done.
async fn converge(
    actor: &ActorName,
    now: &mut Versions,
    wanted: &Assigned,
    tools: &Tools,
    finishing: &mut JoinSet<()>,
) -> Result<(), (u64, Problem)> {
    let mut outcome = Ok(());
    for (version, replicas) in &wanted.versions {
        let raised = raise(actor, now, wanted, *version, *replicas, tools).await;
        if let (Err(problem), Ok(())) = (raised, &outcome) {
            outcome = Err((*version, problem));
        }
    }
    // What cannot be had yet, over a link that comes and goes, must not cost what serves in its place.
    let is_missing = matches!(outcome, Err((_, Problem::Fetch(_))));
    let serves = wanted.versions.keys().filter_map(|version| now.get(version));
    if is_missing && serves.map(|deployed| deployed.local.count()).sum::<usize>() == 0 {
        return outcome;
    }
    for (version, deployed) in now.iter().filter(|(_, deployed)| deployed.local.keys().is_none()) {
        let replicas = wanted.versions.get(version).copied().unwrap_or(0);
        while deployed.local.count() > replicas as usize {
            let Some(replica) = deployed.local.remove() else { break };
            finishing.spawn(async move { replica.stop().await });
        }
    }
    withdraw(actor, now, |version| wanted.versions.contains_key(&version), tools, finishing);
    for deployed in now.values() {
        deployed.local.measure(wanted.measured);
    }
    tools.local.set_canary(actor, wanted.canary);
    outcome
}

/// Starts what is missing of one version.
async fn raise(
    actor: &ActorName,
    now: &mut Versions,
    wanted: &Assigned,
    version: u64,
    replicas: u32,
    tools: &Tools,
) -> Result<(), Problem> {
    let Deployed { local, compiled, since } = match now.entry(version) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => {
            let spec = tools.specs.get(&wanted.app, version, actor).await.map_err(Problem::Fetch)?;
            let compiled = tools.artifacts.compiled(&spec.digest).await;
            let compiled = compiled.map_err(|error| Problem::Fetch(full(&error)))?;
            let home = Arc::new(Home {
                actor: actor.clone().into(),
                client: tools.clients.of(actor.clone(), &spec.settings.grants.http),
                settings: spec.settings,
                router: tools.router.clone(),
                stores: tools.stores.clone(),
                topics: tools.topics.clone(),
                tally: Tally::default(),
                events: tools.events.clone(),
                version,
                meter: metrics::meter(actor),
                edges: metrics::edges(Some(actor)),
                lines: tools.lines.clone(),
                taps: tools.taps.clone(),
                refused: Once::default(),
            });
            let local = match home.settings.kind {
                Kind::Replicated => LocalActor::new(home),
                Kind::Keyed(_) => {
                    tools.keyed.ensure().await.map_err(|error| Problem::Fetch(full(&error)))?;
                    let keys = tools.keyed.keys(home.clone(), compiled.clone());
                    LocalActor::keyed(home, keys)
                }
            };
            let local = Arc::new(local);
            // The first of them serve while the others are made, and if not all can be made, some are better than none.
            tools.local.insert(actor.clone(), version, local.clone());
            // Before it has its first replica, or it would get more calls than are its part.
            tools.local.set_canary(actor, wanted.canary);
            let since = local.keys().map(|_| Instant::now());
            new.insert(Deployed { local, compiled, since })
        }
    };
    while local.count() < replicas as usize {
        let replica = Replica::start(compiled.clone(), local.home.clone()).await.map_err(Problem::Start)?;
        local.add(Arc::new(replica));
        since.get_or_insert_with(Instant::now);
    }
    Ok(())
}

/// Takes versions out of the rotation, all but those that stay. Every turn ends by its deadline; each replica sees to that
/// itself.
fn withdraw(
    actor: &ActorName,
    now: &mut Versions,
    stays: impl Fn(u64) -> bool,
    tools: &Tools,
    finishing: &mut JoinSet<()>,
) {
    for (version, deployed) in now.extract_if(.., |version, _| !stays(*version)) {
        tools.local.remove(actor, version);
        if let Some(keys) = deployed.local.keys().cloned() {
            keys.close();
            finishing.spawn(keys.stop());
        }
        while let Some(replica) = deployed.local.remove() {
            finishing.spawn(async move { replica.stop().await });
        }
    }
}
