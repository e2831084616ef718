//! Declarations: apply, scale and delete, each a new revision of one app.
//!
//! Any node takes them, leader or not. A revision and the catalog that names it are written in one atomic batch,
//! guarded by the catalog's own sequence: of two declarations at once one is made anew on top of the other, and nothing
//! is ever half declared.

mod diff;
mod error;
mod fits;
mod links;
mod next;
pub(super) mod revision;

use std::collections::{BTreeMap, BTreeSet};

use lattice_proto::manifest::{self, Artifact, HttpRoutes, Manifest, Settings};
use lattice_proto::record::{Actor, App, Head, Origin};
use lattice_proto::subject::{Control, Subjects};
use lattice_proto::{ActorName, AppName, Digest, Reference};

pub use self::error::Error;
use self::links::{Linked, Versions};
use self::next::Next;
use self::revision::Snapshot;
use crate::artifact::{self, Artifacts};
use crate::bus::{self, Bus, Guard};
use crate::engine::Compiled;
use crate::events::Events;
use crate::registry::Registries;
use crate::router::ENVELOPE_ROOM;

/// How often a declaration that collides with others is made anew.
const TRIES: u32 = 10;

/// Revisions of each app that are kept.
const HISTORY: u64 = 10;

/// A declaration that was stored, or would have been.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The app.
    pub app: AppName,
    /// Its new revision; the current one when nothing changes.
    pub revision: u64,
    /// What changes, line by line.
    pub changes: Vec<String>,
}

/// Takes declarations.
#[derive(Clone)]
pub struct Declarations {
    bus: Bus,
    subjects: Subjects,
    artifacts: Artifacts,
    registries: Registries,
    events: Events,
}

/// How a declaration is to be taken.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// The same id makes the same request.
    pub request_id: String,
    /// Only if the app is at this revision: 0 if there is none.
    pub if_revision: Option<u64>,
    /// Says what would change, and changes nothing.
    pub dry_run: bool,
}

/// An actor as links see it.
fn linked_by(settings: &Settings, compiled: &Compiled) -> Linked {
    let (settings, links) = (settings.clone(), compiled.links().clone());
    Linked { settings, is_http: compiled.is_http(), links, beside: None }
}

/// The version of an actor that serves most calls while another one is on trial.
fn beside(snapshot: &Snapshot, app: &AppName, name: &ActorName, actor: &Actor) -> Option<(u64, Actor)> {
    let revision = actor.beside?;
    Some((revision, snapshot.revision(app, revision)?.actors.remove(name)?))
}

/// What links see of artifacts, as far as these were looked at.
type Seen = BTreeMap<Digest, Compiled>;

/// Makes sure that no actor is to answer what another one answers. What the app itself had before stays its own, and what others have
/// in common is not for this app to mend.
fn routes_are_free<'a>(
    actors: &BTreeMap<ActorName, Actor>,
    before: Option<&App>,
    others: impl Iterator<Item = &'a App>,
) -> Result<(), Error> {
    let mut routes = HttpRoutes::default();
    for (name, actor) in others.flat_map(|app| &app.actors) {
        for route in &actor.settings.http {
            let _ = routes.add(name, route);
        }
    }
    for (name, actor) in actors {
        let had = before.and_then(|app| app.actors.get(name)).map(|actor| actor.settings.http.as_slice());
        for route in actor.settings.http.iter().filter(|route| !had.unwrap_or_default().contains(route)) {
            routes.add(name, route).map_err(|other| {
                Error::Invalid(format!(
                    "`{other}` answers requests at `{route}` already, and `{name}` is to; give one of them another host, path or \
                     methods"
                ))
            })?;
        }
    }
    Ok(())
}

impl Declarations {
    /// Over this store.
    pub fn new(
        bus: Bus,
        subjects: Subjects,
        artifacts: Artifacts,
        registries: Registries,
        events: Events,
    ) -> Self {
        Self { bus, subjects, artifacts, registries, events }
    }

    /// Declares an app as its manifest says; `artifacts` are the digests of those that the manifest names by path.
    ///
    /// # Errors
    /// Everything that is wrong with it, before anything is stored.
    pub async fn apply(
        &self,
        text: &str,
        file: &str,
        artifacts: &BTreeMap<ActorName, Digest>,
        terms: Terms,
    ) -> Result<Declared, Error> {
        let manifest = Manifest::parse(text, file)?;
        let (actors, linked) = self.resolve(&manifest, artifacts).await?;
        let actors = |_: &Snapshot| Ok(Next { actors: Some(actors.clone()), origin: Origin::Apply });
        self.change(&manifest.app, terms, Some(&linked), actors).await
    }

    /// Sets the number of replicas of one actor.
    ///
    /// # Errors
    /// When there is no such actor or the number is out of bounds.
    pub async fn scale(&self, actor: &ActorName, replicas: u32, terms: Terms) -> Result<Declared, Error> {
        if replicas > manifest::bound::REPLICAS {
            return Err(Error::Invalid(format!(
                "an actor has at most {} replicas",
                manifest::bound::REPLICAS
            )));
        }
        let snapshot = Snapshot::read(&self.bus, &self.subjects).await?;
        let app = next::app_of(&snapshot, actor)?.app.clone();
        self.change(&app, terms, None, |snapshot| next::scaled(snapshot, &app, actor, replicas)).await
    }

    /// Removes an app.
    ///
    /// # Errors
    /// When there is no such app.
    pub async fn delete(&self, app: &AppName, terms: Terms) -> Result<Declared, Error> {
        self.change(app, terms, None, |snapshot| next::deleted(snapshot, app)).await
    }

    /// Declares once more what an earlier revision said: the given one, or the last that ran as declared before this.
    ///
    /// # Errors
    /// When there is no such app, or no such revision.
    pub async fn roll_back(&self, app: &AppName, to: Option<u64>, terms: Terms) -> Result<Declared, Error> {
        self.change(app, terms, None, |snapshot| next::rolled_back(snapshot, app, to)).await
    }

    /// Gives all calls to what is on trial.
    ///
    /// # Errors
    /// When there is no such app, or nothing of it is on trial.
    pub async fn promote(&self, app: &AppName, terms: Terms) -> Result<Declared, Error> {
        self.change(app, terms, None, |snapshot| next::promoted(snapshot, app)).await
    }

    /// Takes back what is on trial.
    ///
    /// # Errors
    /// When there is no such app, or nothing of it is on trial.
    pub async fn abort(&self, app: &AppName, terms: Terms) -> Result<Declared, Error> {
        self.change(app, terms, None, |snapshot| next::aborted(snapshot, app)).await
    }

    /// All revisions of an app that are kept, the oldest first, and the last good one.
    ///
    /// # Errors
    /// When there never was such an app.
    pub async fn history(&self, app: &AppName) -> Result<(Vec<App>, Head), Error> {
        let snapshot = Snapshot::read(&self.bus, &self.subjects).await?;
        let head = snapshot.catalog.apps.get(app).cloned();
        let head = head.ok_or_else(|| Error::NotFound { what: "app", name: app.to_string() })?;
        Ok((snapshot.revisions(app), head))
    }

    /// Checks every artifact and fills in what it says of itself.
    async fn resolve(
        &self,
        manifest: &Manifest,
        artifacts: &BTreeMap<ActorName, Digest>,
    ) -> Result<(BTreeMap<ActorName, Actor>, BTreeMap<ActorName, Linked>), Error> {
        let room = self.bus.calls.max_payload().saturating_sub(ENVELOPE_ROOM) as u64;
        let (mut actors, mut linked, mut known) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (name, actor) in &manifest.actors {
            let (digest, shown, from) = match &actor.artifact {
                Artifact::Stored(digest) => (digest.clone(), digest.to_string(), None),
                Artifact::Registry(reference) => {
                    let (reference, digest) = self.get(name, reference, &mut known).await?;
                    (digest, reference.to_string(), Some(reference))
                }
                Artifact::Path(path) => {
                    let missing = || {
                        Error::Invalid(format!(
                            "the artifact of `{name}`, {}, was not sent along",
                            path.display()
                        ))
                    };
                    let digest = artifacts.get(name).ok_or_else(missing)?.clone();
                    (digest, format!("`{}`", path.display()), None)
                }
            };
            fits::is_carried(name, &actor.settings, room)?;
            let compiled = self.artifacts.compiled(&digest).await;
            let compiled = compiled.map_err(|source| Error::Artifact {
                actor: name.clone(),
                artifact: shown,
                source,
            })?;
            fits::is_as_it_says(name, &actor.settings, &compiled)?;
            let operations = &compiled.metadata().operations;
            let idempotent = operations
                .iter()
                .filter(|operation| operation.idempotent)
                .map(|operation| operation.name.clone());
            linked.insert(name.clone(), linked_by(&actor.settings, &compiled));
            let (settings, idempotent) = (actor.settings.clone(), idempotent.collect());
            let actor = Actor { version: 0, since: 0, beside: None, digest, from, settings, idempotent };
            actors.insert(name.clone(), actor);
        }
        Ok((actors, linked))
    }

    /// Makes sure that what the next revision's actors import is what others export, and that what others import of them is what they export.
    /// A version that serves beside one on trial counts as well, on either end.
    async fn links_hold(
        &self,
        snapshot: &Snapshot,
        next: &App,
        linked: &BTreeMap<ActorName, Linked>,
        seen: &mut Seen,
    ) -> Result<(), Error> {
        let mut own: Versions =
            linked.iter().map(|(name, actor)| (name.clone(), vec![actor.clone()])).collect();
        for (name, actor) in &next.actors {
            let Some((revision, actor)) = beside(snapshot, &next.app, name, actor) else { continue };
            // One that cannot be looked at any more is not for this declaration to mend.
            if let Ok(earlier) = self.linked(&actor, Some(revision), seen).await {
                own.entry(name.clone()).or_default().push(earlier);
            }
        }
        let before: BTreeSet<ActorName> =
            snapshot.apps.get(&next.app).iter().flat_map(|app| app.actors.keys().cloned()).collect();
        let wanted: BTreeSet<ActorName> =
            own.values().flatten().flat_map(|actor| actor.settings.links.values().cloned()).collect();
        let mut others = Versions::new();
        for other in snapshot.apps.values().filter(|other| other.app != next.app) {
            for (name, actor) in &other.actors {
                let earlier = beside(snapshot, &other.app, name, actor);
                let earlier = earlier.iter().map(|(revision, actor)| (Some(*revision), actor));
                for (revision, actor) in [(None, actor)].into_iter().chain(earlier) {
                    let is_wanted = wanted.contains(name);
                    let mut ends = actor.settings.links.values();
                    if !is_wanted && !ends.any(|to| own.contains_key(to) || before.contains(to)) {
                        continue;
                    }
                    match self.linked(actor, revision, seen).await {
                        Ok(linked) => others.entry(name.clone()).or_default().push(linked),
                        // What is wrong with an actor of another app is not for this one to mend.
                        Err(_) if !is_wanted => {}
                        Err(source) => {
                            let (actor, artifact) = (name.clone(), actor.digest.to_string());
                            return Err(Error::Artifact { actor, artifact, source });
                        }
                    }
                }
            }
        }
        // Types may be large, and are many where many actors are linked.
        let held = tokio::task::spawn_blocking(move || links::hold(&own, &others, &before)).await;
        held.unwrap_or_else(|_| Err("the node is stopping".to_owned())).map_err(Error::Invalid)
    }

    /// A deployed actor as links see it.
    async fn linked(
        &self,
        actor: &Actor,
        beside: Option<u64>,
        seen: &mut Seen,
    ) -> Result<Linked, artifact::Error> {
        let compiled = match seen.get(&actor.digest) {
            Some(compiled) => compiled.clone(),
            None => {
                let compiled = self.artifacts.compiled(&actor.digest).await?;
                seen.insert(actor.digest.clone(), compiled.clone());
                compiled
            }
        };
        Ok(Linked { beside, ..linked_by(&actor.settings, &compiled) })
    }

    /// Gets an artifact from a registry, once for all actors of a manifest that name it: they are to be of the same. Tells the
    /// reference as it is pinned, and the digest of the bytes.
    async fn get(
        &self,
        actor: &ActorName,
        reference: &Reference,
        known: &mut BTreeMap<Reference, (Reference, Digest)>,
    ) -> Result<(Reference, Digest), Error> {
        if let Some(got) = known.get(reference) {
            return Ok(got.clone());
        }
        let artifact = || reference.to_string();
        let wrong = |source| Error::Registry {
            actor: actor.clone(),
            reference: artifact(),
            source: Box::new(source),
        };
        let unusable = |source| Error::Artifact { actor: actor.clone(), artifact: artifact(), source };
        let mut found = self.registries.find(reference).await.map_err(wrong)?;
        if !self.artifacts.has(&found.digest).await.map_err(unusable)? {
            let bytes = found.fetch().await.map_err(wrong)?;
            self.artifacts.store(bytes).await.map_err(unusable)?;
        }
        let got = (found.reference.clone(), found.digest.clone());
        known.insert(reference.clone(), got.clone());
        Ok(got)
    }

    /// Makes the next revision of one app. Its links are checked where `linked` says what they are.
    async fn change(
        &self,
        name: &AppName,
        terms: Terms,
        linked: Option<&BTreeMap<ActorName, Linked>>,
        next: impl Fn(&Snapshot) -> Result<Next, Error>,
    ) -> Result<Declared, Error> {
        let mut seen = Seen::new();
        for _ in 0..TRIES {
            let snapshot = Snapshot::read(&self.bus, &self.subjects).await?;
            let before = snapshot.apps.get(name);
            let head = snapshot.catalog.apps.get(name);
            let latest = head.map_or(0, |head| head.revision);
            // A request that was taken before is not taken twice, and whoever sent it again hears the same.
            if !terms.request_id.is_empty()
                && let Some(known) =
                    snapshot.revisions(name).into_iter().find(|app| app.request_id == terms.request_id)
            {
                return Ok(Declared { app: name.clone(), revision: known.revision, changes: Vec::new() });
            }
            let current = if before.is_some() { latest } else { 0 };
            if let Some(expected) = terms.if_revision.filter(|expected| *expected != current) {
                let seen = snapshot.revision(name, expected);
                let (app, none) = (name.clone(), BTreeMap::new());
                let changes = match before {
                    // Nothing has changed since what is not there yet.
                    _ if expected > current && seen.is_none() => Vec::new(),
                    Some(before) => diff::between(seen.as_ref(), &before.actors, false),
                    None => diff::between(seen.as_ref(), &none, true),
                };
                return Err(Error::Stale { app, expected, current, changes });
            }
            let Next { actors, origin } = next(&snapshot)?;
            let deleted = actors.is_none();
            let actors = actors.unwrap_or_default();
            for actor in actors.keys() {
                let others = snapshot.apps.values().filter(|app| app.app != *name);
                if let Some(owner) = others.into_iter().find(|app| app.actors.contains_key(actor)) {
                    return Err(Error::NameTaken { actor: actor.clone(), app: owner.app.clone() });
                }
            }
            let others = snapshot.apps.values().filter(|app| app.app != *name);
            routes_are_free(&actors, before, others)?;
            let mut changes = diff::between(before, &actors, deleted);
            if origin == Origin::Promote {
                changes.push("~ the new versions get all calls".to_owned());
            }
            let app = revision::next(&snapshot.catalog, name, actors, origin, &terms.request_id);
            let app = revision::with_versions(app, before);
            // With what this round saw: the write below counts only if that is still so.
            if let Some(linked) = linked {
                self.links_hold(&snapshot, &app, linked, &mut seen).await?;
            }
            if terms.dry_run || changes.is_empty() {
                return Ok(Declared { app: name.clone(), revision: latest, changes });
            }
            let catalog_key = self.subjects.control(&Control::Catalog);
            let guard = Guard { key: &catalog_key, revision: snapshot.catalog_revision };
            let writes = revision::writes(&self.subjects, &snapshot.catalog, &app);
            match self.bus.decisions.put_all_guarded(&guard, &writes).await {
                Ok(()) => {
                    self.events.declared(name, app.revision, &app.origin, &changes);
                    self.forget_old(&snapshot, &app).await;
                    self.restore_artifacts(&app).await;
                    return Ok(Declared { app: name.clone(), revision: app.revision, changes });
                }
                Err(bus::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }

    /// What a revision names is not to be taken away as what nobody needs: it may have been, just before it was stored.
    async fn restore_artifacts(&self, app: &App) {
        for (name, actor) in &app.actors {
            if let Err(error) = self.artifacts.restore(&actor.digest).await {
                tracing::warn!(actor = %name, digest = %actor.digest, %error, "the lattice may lack an artifact");
            }
        }
    }

    /// Keeps the store from growing with every declaration. What a kept revision still runs, or may go back to, stays.
    async fn forget_old(&self, snapshot: &Snapshot, latest: &App) {
        let mut revisions = snapshot.revisions(&latest.app);
        revisions.push(latest.clone());
        let good = snapshot.catalog.apps.get(&latest.app).and_then(|head| head.good);
        let first = latest.revision.saturating_sub(HISTORY - 1);
        let is_kept = |app: &&App| app.revision >= first || Some(app.revision) == good;
        // What a node was told to run may serve still, although no revision that is kept asks for it.
        let ordered = snapshot.ordered(&latest.app);
        let needed: BTreeSet<u64> = revisions
            .iter()
            .filter(is_kept)
            .flat_map(|app| {
                // By the one since when it subscribes, a queue that was lost is made again.
                let versions = |actor: &Actor| {
                    [Some(actor.version), Some(actor.since), actor.beside].into_iter().flatten()
                };
                app.actors.values().flat_map(versions).chain([app.revision])
            })
            .chain(ordered)
            .collect();
        for old in revisions.iter().filter(|app| !needed.contains(&app.revision)) {
            let key = self.subjects.control(&Control::Spec(old.app.clone(), old.revision));
            if let Err(error) = self.bus.decisions.purge(&key).await {
                tracing::debug!(%error, app = %old.app, old.revision, "an old revision was not removed");
            }
        }
    }
}
