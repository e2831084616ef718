//! What the leader itself declares: which revisions are good, and going back to them.

use std::collections::BTreeMap;

use lattice_proto::AppName;
use lattice_proto::record::{self, Origin};
use lattice_proto::subject::Control;

use super::Office;
use super::entry::Decision;
use crate::bus::{Error, Guard};
use crate::controller::declare::{self, next_revision};

impl Office<'_> {
    /// Remembers that revisions came true, so that a later one that fails can be taken back.
    pub(super) async fn note(&self, met: BTreeMap<AppName, u64>) -> Result<(), Error> {
        let Some((revision, mut catalog)) = self.stored_catalog() else { return Ok(()) };
        let before = catalog.clone();
        for (app, revision) in met {
            if let Some(head) = catalog.apps.get_mut(&app).filter(|head| head.revision == revision) {
                head.good = Some(revision);
                tracing::info!(%app, revision, "everything runs as declared");
            }
        }
        if catalog == before {
            return Ok(());
        }
        let key = self.subjects.control(&Control::Catalog);
        // When somebody declared something at the same moment, this is looked at again.
        self.context.bus.decisions.put_if(&key, record::encode(&catalog), revision).await.map(|_| ())
    }

    /// Takes back updates that failed, as new revisions that say what the last good ones said.
    pub(super) async fn go_back(&self, failed: BTreeMap<AppName, (u64, String)>) -> Result<(), Error> {
        for (app, (from, reason)) in failed {
            let Some((catalog_revision, catalog)) = self.stored_catalog() else { return Ok(()) };
            let Some(head) = catalog.apps.get(&app).filter(|head| head.revision == from) else { continue };
            let good = head.good.filter(|good| *good < from).and_then(|good| {
                let key = self.subjects.control(&Control::Spec(app.clone(), good));
                match &self.decisions.get(&key)?.value {
                    Decision::App(spec) => Some(spec),
                    _ => None,
                }
            });
            let Some(good) = good else {
                tracing::error!(%app, revision = from, reason, "an update failed, and there is nothing to go back to");
                continue;
            };
            tracing::warn!(%app, from, to = good.revision, reason, "an update failed and is taken back");
            let origin = Origin::Rollback { from, to: good.revision, reason: Some(reason) };
            let id = format!("automatic-rollback-of-{app}-{from}");
            let next = next_revision(&catalog, &app, good.actors.clone(), origin, &id);
            let key = self.subjects.control(&Control::Catalog);
            let guard = Guard { key: &key, revision: catalog_revision };
            let writes = declare::writes(&self.subjects, &catalog, &next);
            self.context.bus.decisions.put_all_guarded(&guard, &writes).await?;
        }
        Ok(())
    }

    fn stored_catalog(&self) -> Option<(u64, record::Catalog)> {
        let stored = self.decisions.get(&self.subjects.control(&Control::Catalog))?;
        match &stored.value {
            Decision::Catalog(catalog) => Some((stored.revision, catalog.clone())),
            _ => None,
        }
    }
}
