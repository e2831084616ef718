//! What the leader itself declares: which revisions are good, and going back to them.

use std::collections::BTreeMap;

use lattice_proto::record::{self, Origin};
use lattice_proto::subject::Control;
use lattice_proto::{ActorName, AppName};

use super::Office;
use super::entry::Decision;
use crate::bus::{Error, Guard};
use crate::controller::declare::revision;

impl Office<'_> {
    /// Remembers that revisions came true, so that a later one that fails can be taken back, and takes back one that did.
    /// What fails and is not taken back here is told of again with the next plan.
    pub(super) async fn declare(
        &mut self,
        met: BTreeMap<AppName, u64>,
        failed: BTreeMap<AppName, (u64, String)>,
    ) -> Result<(), Error> {
        let Some((mut stored, mut catalog)) = self.stored_catalog() else { return Ok(()) };
        let before = catalog.clone();
        for (app, revision) in met {
            if let Some(head) = catalog.apps.get_mut(&app).filter(|head| head.revision == revision) {
                head.came_true();
                tracing::info!(%app, revision, "everything runs as declared");
                self.context.events.met(&app, revision);
            }
        }
        let key = self.subjects.control(&Control::Catalog);
        if catalog != before {
            // When somebody declared something at the same moment, this is looked at again.
            stored = self.context.bus.decisions.put_if(&key, record::encode(&catalog), stored).await?;
        }
        for (app, (from, reason)) in failed {
            match self.way_back(&catalog, &app, from) {
                Ok(good) => {
                    tracing::warn!(%app, from, to = good.revision, reason, "an update failed and is taken back");
                    self.context.events.update_failed(&app, from, &reason, None);
                    let origin = Origin::Rollback { from, to: good.revision, reason: Some(reason) };
                    let id = format!("automatic-rollback-of-{app}-{from}");
                    let actors = self.taken_back(&app, from, good);
                    let next = revision::next(&catalog, &app, actors, origin, &id);
                    let next = revision::with_beginnings(next, self.revision(&app, from));
                    let guard = Guard { key: &key, revision: stored };
                    let writes = revision::writes(&self.subjects, &catalog, &next);
                    // One at a time: each moves the guard.
                    self.context.bus.decisions.put_all_guarded(&guard, &writes).await?;
                    self.context.events.declared(&app, next.revision, &next.origin, &[]);
                    return Ok(());
                }
                Err(why) => {
                    if self.stays.insert((app.clone(), from)) {
                        tracing::error!(%app, revision = from, reason, why, "an update failed and is not taken back");
                        self.context.events.update_failed(&app, from, &reason, Some(why));
                    }
                }
            }
        }
        Ok(())
    }

    /// What a good revision says, with as many replicas, and where, as the failed one asks for: what failed is what they
    /// are made of, and going back to fewer would cost what serves.
    fn taken_back(&self, app: &AppName, from: u64, good: &record::App) -> BTreeMap<ActorName, record::Actor> {
        let failed = self.revision(app, from);
        let mut actors = good.actors.clone();
        for (name, actor) in &mut actors {
            let Some(failed) = failed.and_then(|failed| failed.actors.get(name)) else { continue };
            actor.settings.replicas = failed.settings.replicas;
            actor.settings.placement.clone_from(&failed.settings.placement);
        }
        actors
    }

    /// The revision that a failed one is taken back to, or why it is not.
    fn way_back(
        &self,
        catalog: &record::Catalog,
        app: &AppName,
        from: u64,
    ) -> Result<&record::App, &'static str> {
        const NOTHING: &str = "there is no earlier revision that ran as declared";
        let spec = |revision| self.revision(app, revision);
        let head = catalog.apps.get(app).filter(|head| head.revision == from && !head.deleted);
        let head = head.ok_or("another revision took its place")?;
        let good = head.good.filter(|good| *good < from).and_then(spec).ok_or(NOTHING)?;
        // What fails now ran well before, so the cause is elsewhere, and going back again would not end.
        if spec(from).is_some_and(|failed| matches!(failed.origin, Origin::Rollback { reason: Some(_), .. }))
        {
            return Err("it was itself the way back from another");
        }
        let taken = self.decisions.entries().values().any(|entry| match &entry.value {
            Decision::App(other) => {
                other.app != *app
                    && catalog
                        .apps
                        .get(&other.app)
                        .is_some_and(|head| !head.deleted && head.revision == other.revision)
                    && other.actors.keys().any(|actor| good.actors.contains_key(actor))
            }
            _ => false,
        });
        if taken { Err("another app has one of its actors by now") } else { Ok(good) }
    }

    fn revision(&self, app: &AppName, revision: u64) -> Option<&record::App> {
        let key = self.subjects.control(&Control::Spec(app.clone(), revision));
        match &self.decisions.get(&key)?.value {
            Decision::App(spec) => Some(spec),
            _ => None,
        }
    }

    fn stored_catalog(&self) -> Option<(u64, record::Catalog)> {
        let stored = self.decisions.get(&self.subjects.control(&Control::Catalog))?;
        match &stored.value {
            Decision::Catalog(catalog) => Some((stored.revision, catalog.clone())),
            _ => None,
        }
    }
}
