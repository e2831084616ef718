//! Acting: from all that is known to what is written.

use std::collections::BTreeMap;
use std::time::Instant;

use lattice_proto::NodeName;
use lattice_proto::record::{App, Catalog};
use lattice_proto::subject::Control;

use super::Office;
use super::entry::Decision;
use crate::bus::Error;
use crate::controller::reconcile::{Reconciler, Seen};

impl Office<'_> {
    pub(super) async fn act(&mut self) -> Result<(), Error> {
        let unreadable = self.unreadable();
        if !unreadable.is_empty() {
            if !self.complained {
                self.context.counters.malformed_records();
                tracing::error!(
                    ?unreadable,
                    "records are missing or cannot be read, so nothing is planned; was this node updated last?"
                );
            }
            self.complained = true;
            return Ok(());
        }
        self.complained = false;
        let now = Instant::now();
        let seen = self.see(now);
        self.write_states(&seen, now).await?;
        self.chronicle.look(&seen);
        // Where nothing was ever declared there is nothing to plan; where the store lost it, what runs is to run on until
        // somebody says what there should be.
        if self.catalog().is_none() {
            return Ok(());
        }
        // Whoever calls a key waits for its owner, so owners come first.
        self.write_shards(&seen).await?;
        let mut reconciler = self.take_reconciler(&seen, now);
        let plan = reconciler.plan(now);
        self.reconciler = Some(reconciler);
        // Routes say what is there, assignments what should be. Routes go first: a node that loses a replica because
        // another one has it must not do so before callers can know of the other.
        let routed = self.write_routes(plan.routes).await;
        self.write_assignments(plan.assignments).await?;
        self.declare(plan.met, plan.failed).await?;
        routed
    }

    /// With all that is known by now.
    fn take_reconciler(&mut self, seen: &BTreeMap<NodeName, Seen>, now: Instant) -> Reconciler {
        let known = self.reconciler.take();
        let begins = known.is_none();
        let mut reconciler = known.unwrap_or_else(|| Reconciler::new(self.term));
        for seen in seen.values() {
            reconciler.set_node(seen);
        }
        let forgotten: Vec<NodeName> =
            reconciler.nodes().filter(|node| !seen.contains_key(*node)).cloned().collect();
        for node in forgotten {
            reconciler.remove_node(&node);
        }
        let catalog = self.catalog();
        let head = |app: &App| {
            let head = catalog.and_then(|catalog| catalog.apps.get(&app.app));
            head.filter(|head| !head.deleted && head.revision == app.revision)
        };
        let apps = self.decisions.entries().values().filter_map(|entry| match &entry.value {
            Decision::App(app) => Some((app, head(app)?)),
            _ => None,
        });
        // An app must give up an actor before another one may have it.
        reconciler.keep_apps(|app| {
            catalog.and_then(|catalog| catalog.apps.get(app)).is_some_and(|head| !head.deleted)
        });
        for (app, head) in apps {
            reconciler.set_app(app, head.good);
        }
        if begins {
            for entry in self.decisions.entries().values() {
                if let Decision::Assignment(node, assignment) = &entry.value {
                    reconciler.set_assignment(node, assignment);
                }
            }
            for (actor, stored) in self.routes.entries() {
                if let Ok(actor) = actor.parse() {
                    reconciler.set_route(&actor, Some(stored.value.clone()));
                }
            }
            if let Some(earlier) = self.earlier.take() {
                reconciler.inherit(earlier);
            }
        }
        self.set_scales(&mut reconciler, now);
        reconciler
    }

    /// Where the number of replicas is left to the lattice it is decided by their load.
    fn set_scales(&mut self, reconciler: &mut Reconciler, now: Instant) {
        for change in self.scaling.take_changes() {
            self.context.events.scaled(&change.actor, change.from, change.to, &change.why);
        }
        let scaled = reconciler.scaled();
        for (actor, range, has) in &scaled {
            self.scaling.declare(actor, *range, *has, now);
            if let Some(scale) = self.scaling.scale(actor) {
                reconciler.set_scale(actor, scale.replicas, &scale.why);
            }
        }
        // In the order of their names, as they are kept there.
        self.scaling.keep(|actor| scaled.binary_search_by(|(known, ..)| known.cmp(actor)).is_ok());
    }

    pub(super) fn catalog(&self) -> Option<&Catalog> {
        match &self.decisions.get(&self.subjects.control(&Control::Catalog))?.value {
            Decision::Catalog(catalog) => Some(catalog),
            _ => None,
        }
    }

    /// Keys of what is declared or decided whose records cannot be read. While there are any nothing is planned: a plan
    /// over half of what is declared would stop the other half. Revisions that are no longer current do not count, and
    /// neither does what a single node says of itself.
    fn unreadable(&self) -> Vec<String> {
        let entries = || self.decisions.entries().iter();
        let catalog = self.catalog();
        let matters = |key: &str| match (self.subjects.parse_control(key), catalog) {
            (Ok(Control::Spec(app, revision)), Some(catalog)) => {
                catalog.apps.get(&app).is_some_and(|head| !head.deleted && head.revision == revision)
            }
            (Ok(_), _) => true,
            (Err(_), _) => false,
        };
        let unreadable =
            entries().filter(|(key, entry)| matches!(entry.value, Decision::Unreadable) && matters(key));
        // What the catalog names is there, unless it was lost or has not come yet.
        let named = catalog.into_iter().flat_map(|catalog| &catalog.apps).filter(|(_, head)| !head.deleted);
        let specs =
            named.map(|(app, head)| self.subjects.control(&Control::Spec(app.clone(), head.revision)));
        let missing = specs.filter(|key| self.decisions.get(key).is_none());
        unreadable.map(|(key, _)| key.clone()).chain(missing).collect()
    }
}
