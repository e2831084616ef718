//! Makes a queue of the stream of topics for each subscription that is declared, and takes away what nobody declares any more. The
//! leader does it; it never reads a message.
//!
//! Rules:
//! 1. A queue begins when the revision was stored that made its version the current one: what was published after that and before
//!    the leader came to make it is in it. Both times are the server's; in a cluster the two streams may be led by two servers, and
//!    the beginning is as exact as their clocks agree.
//! 2. What cannot be read says nothing: queues are taken away only when all that is declared is known. They are made for all the rest
//!    meanwhile, and one that cannot be made or taken away holds up none of the others.
//! 3. A queue that is gone although it is declared is made once more. What lies in the stream since that revision then comes once
//!    more.
//! 4. Where an actor has no replica until it is called, a queue that holds something stands for a call: also what somebody had and
//!    gave back, and nobody may be there to take again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::FutureExt;
use lattice_proto::ActorName;
use lattice_proto::envelope::Wake;
use lattice_proto::manifest::{Replicas, Settings};
use lattice_proto::record::App;
use lattice_proto::subject::{self, Control, Inbox, Subjects};

use super::{Context, observe};
use crate::bus::{self, Entry, Queue};
use crate::membership::ToLeader;
use crate::telemetry::metrics::{self, Backlog};

/// How often it is looked what waits in the queues.
const LOOK: Duration = Duration::from_secs(1);

/// How long what changes again and again may be read once.
const GATHER: Duration = Duration::from_millis(50);

/// What is declared.
#[derive(Debug, Default)]
struct Declared {
    /// By name.
    queues: BTreeMap<String, Queue>,
    /// Actors that may have no replica until somebody wants something of them.
    on_demand: BTreeSet<ActorName>,
    /// What could not be read, if anything.
    unread: Option<String>,
}

/// Goes on for as long as it is let.
pub(super) async fn run(context: Context) {
    let leader = ToLeader::new(context.bus.calls.clone(), context.subjects.clone(), context.leader.clone());
    let mut changes = context.bus.decisions.watch(&context.subjects.control(&Control::Catalog));
    let mut declared: Option<Declared> = None;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let _measured = metrics::subscriptions();
    let mut told = None;
    loop {
        tokio::select! {
            _ = changes.next() => {
                tokio::time::sleep(GATHER).await;
                while changes.next().now_or_never().is_some() {}
                declared = None;
            }
            _ = look.tick() => {}
        }
        // Where nobody subscribes, nobody is to be asked either.
        if declared.as_ref().is_some_and(|declared| declared.queues.is_empty()) {
            continue;
        }
        let outcome = round(&context, &leader, &mut declared).await;
        let unread = declared.as_ref().and_then(|declared| declared.unread.clone());
        if outcome.is_err() {
            declared = None;
        }
        let problem = match outcome {
            // The connection says so itself.
            Err(bus::Error::Unreachable) => continue,
            Err(error) => Some(error.to_string()),
            Ok(()) => unread,
        };
        // Once for each, and not every second.
        if let Some(problem) = problem.as_ref().filter(|problem| told.as_ref() != Some(*problem)) {
            tracing::warn!(problem, "some subscriptions are not looked after for now");
        }
        told = problem;
    }
}

async fn round(
    context: &Context,
    leader: &ToLeader,
    declared: &mut Option<Declared>,
) -> Result<(), bus::Error> {
    let topics = &context.bus.topics;
    // Listed before what is declared is read: what is declared in between is not taken for a leftover. Nothing is taken away later
    // than in the round that read it, as there may be another leader by then, and only the very queue that was listed: one that
    // another leader has made anew is another one. Should one be lost to a leader that was late all the same, rule 3 holds.
    let there = topics.queues().await?;
    let is_fresh = declared.is_none();
    let declared = match declared {
        Some(declared) => declared,
        None => {
            let listing = observe::read_control(&context.bus.decisions, &context.subjects).await?;
            declared.insert(Declared::of(&listing, &context.subjects))
        }
    };
    let mut failed = None;
    let (mut known, mut backlogs) = (BTreeSet::new(), Vec::new());
    for queued in there {
        let Some((actor, pattern)) = subject::parse_subscription(&queued.name) else { continue };
        if !declared.queues.contains_key(&queued.name) {
            if is_fresh && declared.unread.is_none() {
                match topics.remove_queue(&queued).await {
                    Ok(()) => tracing::info!(name = queued.name, "a subscription ends"),
                    Err(error) => failed = Some(error),
                }
            }
            continue;
        }
        // What is in hand may have been given back by a replica that was about to stop.
        let waits = queued.pending.saturating_add(queued.in_hand);
        if waits > 0 && declared.on_demand.contains(&actor) {
            let held = u32::try_from(waits).unwrap_or(u32::MAX);
            let wake = Wake { origin: context.me.incarnation.clone(), actor: actor.clone(), held };
            leader.tell(&Inbox::Wake, wake.encode()).await;
        }
        backlogs.push(Backlog {
            actor: actor.to_string(),
            topics: pattern.to_string(),
            pending: queued.pending,
            in_hand: queued.in_hand,
        });
        known.insert(queued.name);
    }
    metrics::backlogs(backlogs);
    // After those that are taken away: there may be as many as the server lets be.
    for (name, queue) in declared.queues.iter().filter(|(name, _)| !known.contains(*name)) {
        match topics.make_queue(name, queue).await {
            Ok(()) => tracing::info!(name, filter = queue.filter, "a subscription begins"),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(()), Err)
}

impl Declared {
    /// What is declared by all that can be read.
    fn of(listing: &observe::Listing, subjects: &Subjects) -> Self {
        let mut declared = Self::default();
        for app in listing.each_app(subjects) {
            let app = match app {
                Ok(app) => app,
                Err(error) => {
                    declared.unread = Some(error.to_string());
                    continue;
                }
            };
            let revision = |revision| {
                let key = subjects.control(&Control::Spec(app.app.clone(), revision));
                listing.entries.iter().find(|entry| entry.key == key)
            };
            for (name, actor) in &app.actors {
                // Records of earlier versions do not say it.
                let since = if actor.since > 0 { actor.since } else { actor.version };
                let now = revision(since).or_else(|| revision(app.revision));
                declared.add(subjects, name, &actor.settings, now);
                // What a new version is tried beside goes on as it was.
                if let Some(entry) = actor.beside.and_then(revision) {
                    match observe::decode::<App>(entry) {
                        Ok(before) => {
                            if let Some(before) = before.actors.get(name) {
                                declared.add(subjects, name, &before.settings, Some(entry));
                            }
                        }
                        Err(error) => declared.unread = Some(error.to_string()),
                    }
                }
            }
        }
        declared
    }

    fn add(&mut self, subjects: &Subjects, actor: &ActorName, settings: &Settings, since: Option<&Entry>) {
        if settings.subscribe.is_empty() {
            return;
        }
        if matches!(settings.replicas, Replicas::Range(range) if range.min == 0) {
            self.on_demand.insert(actor.clone());
        }
        for subscription in &settings.subscribe {
            let name = subject::subscription(actor, &subscription.topic);
            let filter = subjects.topic_filter(&subscription.topic);
            let from_ms = since.map_or(0, |entry| entry.stored_ms);
            self.queues.entry(name).or_insert(Queue { filter, from_ms });
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lattice_proto::manifest::Subscription;
    use lattice_proto::record::{self, Actor, Catalog, Head, Origin};
    use lattice_proto::{AppName, Digest};

    use super::*;

    fn app(name: &AppName, actor: &str, since: u64) -> Bytes {
        let subscription =
            Subscription { topic: "orders.>".parse().unwrap(), operation: "on_message".parse().unwrap() };
        let actor_of = Actor {
            version: 1,
            since,
            beside: None,
            digest: Digest::of(b"x"),
            from: None,
            settings: Settings { subscribe: vec![subscription], ..Settings::default() },
            idempotent: BTreeSet::new(),
        };
        record::encode(&App {
            app: name.clone(),
            revision: 3,
            request_id: String::new(),
            origin: Origin::Apply,
            declared_ms: 0,
            actors: [(actor.parse().unwrap(), actor_of)].into(),
        })
    }

    #[test]
    fn one_app_that_cannot_be_read_hides_no_other_one() {
        let subjects = Subjects::new("shop".parse().unwrap());
        let [first, second, third] = ["a", "b", "c"].map(|name| name.parse::<AppName>().unwrap());
        let entry = |app: &AppName, revision: u64, value: Bytes| Entry {
            key: subjects.control(&Control::Spec(app.clone(), revision)),
            value: Some(value),
            expired: false,
            revision,
            stored_ms: i64::try_from(revision).unwrap() * 1_000,
        };
        let head = |app: &AppName| {
            (app.clone(), Head { revision: 3, deleted: false, good: None, earlier: Vec::new() })
        };
        let mut listing = observe::Listing {
            catalog: Catalog { apps: [&first, &second, &third].map(head).into() },
            catalog_revision: 1,
            entries: vec![
                // An earlier version of Lattice wrote the first one.
                entry(&first, 3, app(&first, "one", 0)),
                entry(&first, 1, app(&first, "one", 0)),
                entry(&third, 1, app(&third, "three", 1)),
                entry(&third, 2, app(&third, "three", 2)),
                entry(&third, 3, app(&third, "three", 2)),
            ],
        };
        let begins = |declared: &Declared| -> Vec<(String, i64)> {
            declared.queues.iter().map(|(name, queue)| (name.clone(), queue.from_ms)).collect()
        };
        let readable = [("one_orders+~".to_owned(), 1_000), ("three_orders+~".to_owned(), 2_000)];
        let declared = Declared::of(&listing, &subjects);
        assert_eq!((begins(&declared), declared.unread), (readable.to_vec(), None));
        listing.entries.insert(1, entry(&second, 3, Bytes::from_static(b"nonsense")));
        let declared = Declared::of(&listing, &subjects);
        assert_eq!(begins(&declared), readable);
        assert!(declared.unread.is_some_and(|unread| unread.contains("spec.b.3")));
    }
}
