//! The revisions of apps: those that are kept, and the next one.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lattice_proto::record::{self, Actor, App, Assignment, Catalog, Head, Origin};
use lattice_proto::subject::{Control, Subjects};
use lattice_proto::{ActorName, AppName};

use crate::bus::{Bus, Entry, Error};
use crate::clock::wall_ms;
use crate::controller::observe;

/// The store as one declaration saw it.
pub struct Snapshot {
    pub catalog: Catalog,
    /// The guard.
    pub catalog_revision: u64,
    /// Current revisions.
    pub apps: BTreeMap<AppName, App>,
    /// All that is kept, earlier revisions included.
    entries: Vec<Entry>,
    subjects: Subjects,
}

impl Snapshot {
    /// The store as it is.
    pub async fn read(bus: &Bus, subjects: &Subjects) -> Result<Self, Error> {
        let listing = observe::read_control(&bus.decisions, subjects).await?;
        let apps = listing.apps(subjects)?.into_iter().map(|app| (app.app.clone(), app)).collect();
        let observe::Listing { catalog, catalog_revision, entries } = listing;
        Ok(Self { catalog, catalog_revision, apps, entries, subjects: subjects.clone() })
    }

    /// One revision of an app, if it is kept.
    pub fn revision(&self, app: &AppName, revision: u64) -> Option<App> {
        self.revisions(app).into_iter().find(|kept| kept.revision == revision)
    }

    /// All revisions of an app that are kept, the oldest first.
    pub fn revisions(&self, app: &AppName) -> Vec<App> {
        let of_app = |entry: &&Entry| matches!(self.subjects.parse_control(&entry.key), Ok(Control::Spec(name, _)) if name == *app);
        let entries = self.entries.iter().filter(of_app);
        // One that cannot be read any more must not keep anybody from declaring the next.
        let mut revisions: Vec<App> = entries.filter_map(|entry| observe::decode(entry).ok()).collect();
        revisions.sort_by_key(|app| app.revision);
        revisions
    }

    /// The versions of an app's actors that nodes were told to run.
    pub fn ordered(&self, app: &AppName) -> BTreeSet<u64> {
        let assignments = self.entries.iter().filter_map(|entry| {
            let is_one = matches!(self.subjects.parse_control(&entry.key), Ok(Control::Assign(_)));
            is_one.then(|| observe::decode::<Assignment>(entry).ok()).flatten()
        });
        let of_app = assignments.flat_map(|assignment| assignment.actors.into_values());
        of_app.filter(|one| one.app == *app).flat_map(|one| one.versions.into_keys()).collect()
    }

    /// The revision that going back without saying where to means: the last one that ran as declared, and asks for
    /// something else than the present one does.
    pub fn before(&self, app: &AppName, head: &Head) -> Option<u64> {
        let revisions = self.revisions(app);
        let kept = |revision: u64| revisions.iter().find(|kept| kept.revision == revision);
        let current = kept(head.revision);
        let differs = |spec: &App| current.is_none_or(|current| !current.says_the_same_as(spec));
        head.good_ones().find(|good| *good != head.revision && kept(*good).is_some_and(differs))
    }
}

/// The revision after the latest, with the versions that its actors bring along.
pub fn next(
    catalog: &Catalog,
    app: &AppName,
    actors: BTreeMap<ActorName, Actor>,
    origin: Origin,
    request_id: &str,
) -> App {
    let revision = catalog.apps.get(app).map_or(0, |head| head.revision) + 1;
    let declared_ms = u64::try_from(wall_ms()).unwrap_or(0);
    let (app, request_id) = (app.clone(), request_id.to_owned());
    App { app, revision, request_id, origin, declared_ms, actors }
}

/// Actors that are made of the same as before keep their version; others begin one, which may be on trial first.
pub fn with_versions(mut app: App, before: Option<&App>) -> App {
    for (name, actor) in &mut app.actors {
        let before = before.and_then(|before| before.actors.get(name));
        let same = before.filter(|before| before.is_made_like(actor));
        actor.version = match same {
            Some(before) => before.version,
            None if actor.version > 0 => actor.version,
            None => app.revision,
        };
        actor.beside = match (&app.origin, same, before) {
            // Whoever takes the word out of the manifest ends the trial as well.
            (Origin::Apply, ..) if actor.settings.update.canary.is_none() => None,
            (Origin::Apply | Origin::Scale, Some(before), _) => before.beside,
            // What was on trial itself gives way to the next one.
            (Origin::Apply, None, Some(before)) => Some(before.beside.unwrap_or(before.version)),
            _ => None,
        };
    }
    with_beginnings(app, before)
}

/// Since when each version has been the current one. One that is gone back to begins anew: what it heard before it gave way, it is not
/// to hear again.
pub fn with_beginnings(mut app: App, before: Option<&App>) -> App {
    for (name, actor) in &mut app.actors {
        let before = before.and_then(|before| before.actors.get(name));
        actor.since = match before.filter(|before| before.version == actor.version) {
            Some(before) => before.since,
            None => app.revision,
        };
    }
    app
}

/// What is written to make a revision the current one. All or none of it may be.
pub fn writes(subjects: &Subjects, catalog: &Catalog, app: &App) -> [(String, Bytes); 2] {
    let mut catalog = catalog.clone();
    let (revision, deleted) = (app.revision, app.origin == Origin::Delete);
    let before = catalog.apps.remove(&app.app);
    let (good, earlier) = before.map_or((None, Vec::new()), |head| (head.good, head.earlier));
    catalog.apps.insert(app.app.clone(), Head { revision, deleted, good, earlier });
    [
        (subjects.control(&Control::Spec(app.app.clone(), revision)), record::encode(app)),
        (subjects.control(&Control::Catalog), record::encode(&catalog)),
    ]
}

#[cfg(test)]
mod tests {
    use lattice_proto::Digest;
    use lattice_proto::manifest::Settings;

    use super::*;

    fn app(revision: u64, origin: Origin, made_of: &str, version: u64, since: u64) -> App {
        let actor = Actor {
            version,
            since,
            beside: None,
            digest: Digest::of(made_of.as_bytes()),
            from: None,
            settings: Settings::default(),
            idempotent: BTreeSet::new(),
        };
        let actors = [("cart".parse().unwrap(), actor)].into();
        App {
            app: "shop".parse().unwrap(),
            revision,
            request_id: String::new(),
            origin,
            declared_ms: 0,
            actors,
        }
    }

    #[test]
    fn a_version_that_is_gone_back_to_begins_anew() {
        let said = |app: &App| app.actors.values().map(|actor| (actor.version, actor.since)).next().unwrap();
        let first = with_versions(app(1, Origin::Apply, "x", 0, 0), None);
        assert_eq!(said(&first), (1, 1));
        let scaled = with_versions(app(2, Origin::Scale, "x", 1, 1), Some(&first));
        assert_eq!(said(&scaled), (1, 1));
        let other = with_versions(app(3, Origin::Apply, "y", 0, 0), Some(&scaled));
        assert_eq!(said(&other), (3, 3));
        let back = Origin::Rollback { from: 3, to: 1, reason: None };
        let back = with_versions(app(4, back, "x", 1, 1), Some(&other));
        assert_eq!(said(&back), (1, 4));
        let scaled = with_versions(app(5, Origin::Scale, "x", 1, 4), Some(&back));
        assert_eq!(said(&scaled), (1, 4));
        // As the leader goes back by itself: what did not fail goes on.
        let alone = with_beginnings(app(6, Origin::Apply, "x", 1, 1), Some(&scaled));
        assert_eq!(said(&alone), (1, 4));
    }
}
