//! Declarations: apply, scale and delete, each a new revision of one app.
//!
//! Any node takes them, leader or not. A revision and the catalog that names it are written in one atomic batch,
//! guarded by the catalog's own sequence: of two declarations at once one is made anew on top of the other, and nothing
//! is ever half declared.

mod diff;
pub(super) mod revision;

use std::collections::{BTreeMap, BTreeSet};

use lattice_proto::manifest::{self, Artifact, Manifest, Replicas};
use lattice_proto::record::{Actor, App, Head, Origin};
use lattice_proto::subject::{Control, Subjects};
use lattice_proto::{ActorName, AppName, Digest};

use self::revision::Snapshot;
use crate::artifact::{self, Artifacts};
use crate::bus::{self, Bus, Guard};
use crate::events::Events;
use crate::router::ENVELOPE_ROOM;

/// How often a declaration that collides with others is made anew.
const TRIES: u32 = 10;

/// Revisions of each app that are kept.
const HISTORY: u64 = 10;

/// Why a declaration was not taken. Nothing of it was stored, except perhaps where the bus did not answer in time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// An actor's artifact cannot be used.
    #[error("actor `{actor}`, artifact {artifact}: {source}")]
    Artifact {
        /// The actor.
        actor: ActorName,
        /// As the manifest calls it.
        artifact: String,
        /// What is wrong.
        source: artifact::Error,
    },
    /// The manifest asks for what cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Another app has it.
    #[error("the actor `{actor}` belongs to the app `{app}` already; actor names are unique in a lattice")]
    NameTaken {
        /// The actor.
        actor: ActorName,
        /// Who has it.
        app: AppName,
    },
    /// There is none of that name.
    #[error("no {what} named `{name}` is deployed in this lattice; `lattice ps` lists what is")]
    NotFound {
        /// App or actor.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The app is no longer what the caller saw.
    #[error(
        "the app `{app}` is at revision {current} by now, and this was made for revision {expected}{}; look at what \
         changed, and apply it again",
        if changes.is_empty() { String::new() } else { format!(". Since then: {}", changes.join("; ")) }
    )]
    Stale {
        /// The app.
        app: AppName,
        /// What the caller saw.
        expected: u64,
        /// What it is.
        current: u64,
        /// What changed in between.
        changes: Vec<String>,
    },
    /// There is no node of that name.
    #[error("no node named `{0}` is in this lattice; `lattice nodes` lists those that are")]
    NoNode(lattice_proto::NodeName),
    /// There is no such revision any more.
    #[error("the app `{app}` has no revision {revision}; `lattice history {app}` lists those that are kept")]
    NoRevision {
        /// The app.
        app: AppName,
        /// What was asked for.
        revision: u64,
    },
    /// Too many others declare things at the same time.
    #[error("others changed the lattice at the same time, again and again; try once more")]
    Busy,
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] bus::Error),
}

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
    events: Events,
}

/// What somebody wants an app to be.
struct Next {
    /// None to delete it.
    actors: Option<BTreeMap<ActorName, Actor>>,
    origin: Origin,
}

/// How a declaration is to be taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms<'a> {
    /// The same id makes the same request.
    pub request_id: &'a str,
    /// Only if the app is at this revision: 0 if there is none.
    pub if_revision: Option<u64>,
    /// Says what would change, and changes nothing.
    pub dry_run: bool,
}

impl Declarations {
    /// Over this store.
    pub fn new(bus: Bus, subjects: Subjects, artifacts: Artifacts, events: Events) -> Self {
        Self { bus, subjects, artifacts, events }
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
        terms: Terms<'_>,
    ) -> Result<Declared, Error> {
        let manifest = Manifest::parse(text, file)?;
        let actors = self.resolve(&manifest, artifacts).await?;
        let actors = |_: &Snapshot| Ok(Next { actors: Some(actors.clone()), origin: Origin::Apply });
        self.change(&manifest.app, terms, actors).await
    }

    /// Sets the number of replicas of one actor.
    ///
    /// # Errors
    /// When there is no such actor or the number is out of bounds.
    pub async fn scale(&self, actor: &ActorName, replicas: u32, terms: Terms<'_>) -> Result<Declared, Error> {
        if replicas > manifest::bound::REPLICAS {
            return Err(Error::Invalid(format!(
                "an actor has at most {} replicas",
                manifest::bound::REPLICAS
            )));
        }
        let missing = || Error::NotFound { what: "actor", name: actor.to_string() };
        let apps = Snapshot::read(&self.bus, &self.subjects).await?.apps;
        let app = apps.values().find(|app| app.actors.contains_key(actor)).ok_or_else(missing)?.app.clone();
        self.change(&app, terms, |snapshot| {
            let mut actors = snapshot.apps.get(&app).ok_or_else(missing)?.actors.clone();
            let settings = &mut actors.get_mut(actor).ok_or_else(missing)?.settings;
            if settings.replicas.count().is_none() {
                let replicas = settings.replicas;
                return Err(Error::Invalid(format!(
                    "`{actor}` has `replicas = {replicas}` in its manifest, so the lattice decides how many there are; \
                     give a number there first"
                )));
            }
            settings.replicas = Replicas::Count(replicas);
            Ok(Next { actors: Some(actors), origin: Origin::Scale })
        })
        .await
    }

    /// Removes an app.
    ///
    /// # Errors
    /// When there is no such app.
    pub async fn delete(&self, app: &AppName, terms: Terms<'_>) -> Result<Declared, Error> {
        self.change(app, terms, |snapshot| match snapshot.apps.contains_key(app) {
            true => Ok(Next { actors: None, origin: Origin::Delete }),
            false => Err(Error::NotFound { what: "app", name: app.to_string() }),
        })
        .await
    }

    /// Declares once more what an earlier revision said: the given one, or the last that ran as declared before this.
    ///
    /// # Errors
    /// When there is no such app, or no such revision.
    pub async fn roll_back(
        &self,
        app: &AppName,
        to: Option<u64>,
        terms: Terms<'_>,
    ) -> Result<Declared, Error> {
        self.change(app, terms, |snapshot| way_back(snapshot, app, to)).await
    }

    /// Gives all calls to what is on trial.
    ///
    /// # Errors
    /// When there is no such app, or nothing of it is on trial.
    pub async fn promote(&self, app: &AppName, terms: Terms<'_>) -> Result<Declared, Error> {
        self.change(app, terms, |snapshot| {
            let actors = Some(on_trial(snapshot, app)?.actors.clone());
            Ok(Next { actors, origin: Origin::Promote })
        })
        .await
    }

    /// Takes back what is on trial.
    ///
    /// # Errors
    /// When there is no such app, or nothing of it is on trial.
    pub async fn abort(&self, app: &AppName, terms: Terms<'_>) -> Result<Declared, Error> {
        self.change(app, terms, |snapshot| {
            // What else was changed meanwhile stays: only what is on trial becomes again what it is tried beside.
            let mut actors = on_trial(snapshot, app)?.actors.clone();
            for (name, actor) in &mut actors {
                let Some(beside) = actor.beside else { continue };
                let none = || Error::NoRevision { app: app.clone(), revision: beside };
                let kept = snapshot.revision(app, beside).and_then(|mut kept| kept.actors.remove(name));
                let mut kept = kept.ok_or_else(none)?;
                kept.settings.replicas = actor.settings.replicas;
                *actor = Actor { version: beside, beside: None, ..kept };
            }
            Ok(Next { actors: Some(actors), origin: Origin::Abort })
        })
        .await
    }

    /// All revisions of an app that are kept, the oldest first, and the last good one.
    ///
    /// # Errors
    /// When there never was such an app.
    pub async fn history(&self, app: &AppName) -> Result<(Vec<App>, Head), Error> {
        let snapshot = Snapshot::read(&self.bus, &self.subjects).await?;
        let head = snapshot.catalog.apps.get(app).copied();
        let head = head.ok_or_else(|| Error::NotFound { what: "app", name: app.to_string() })?;
        Ok((snapshot.revisions(app), head))
    }

    /// Checks every artifact and fills in what it says of itself.
    async fn resolve(
        &self,
        manifest: &Manifest,
        artifacts: &BTreeMap<ActorName, Digest>,
    ) -> Result<BTreeMap<ActorName, Actor>, Error> {
        let room = self.bus.calls.max_payload().saturating_sub(ENVELOPE_ROOM) as u64;
        let mut actors = BTreeMap::new();
        for (name, actor) in &manifest.actors {
            let (digest, shown) = match &actor.artifact {
                Artifact::Stored(digest) => (digest.clone(), digest.to_string()),
                Artifact::Path(path) => {
                    let missing = || {
                        Error::Invalid(format!(
                            "the artifact of `{name}`, {}, was not sent along",
                            path.display()
                        ))
                    };
                    (artifacts.get(name).ok_or_else(missing)?.clone(), format!("`{}`", path.display()))
                }
            };
            let asked = actor.settings.limits.payload;
            if asked.0 > room {
                return Err(Error::Invalid(format!(
                    "actor `{name}`: limits.payload is {asked}, and this NATS server carries at most {room} bytes \
                     besides the envelope; lower it, or raise `max_payload` of the server"
                )));
            }
            let compiled = self.artifacts.compiled(&digest).await;
            let compiled = compiled.map_err(|source| Error::Artifact {
                actor: name.clone(),
                artifact: shown,
                source,
            })?;
            let operations = &compiled.metadata().operations;
            let idempotent = operations
                .iter()
                .filter(|operation| operation.idempotent)
                .map(|operation| operation.name.clone());
            let (settings, idempotent) = (actor.settings.clone(), idempotent.collect());
            let actor = Actor { version: 0, beside: None, digest, settings, idempotent };
            actors.insert(name.clone(), actor);
        }
        Ok(actors)
    }

    /// Makes the next revision of one app.
    async fn change(
        &self,
        name: &AppName,
        terms: Terms<'_>,
        next: impl Fn(&Snapshot) -> Result<Next, Error>,
    ) -> Result<Declared, Error> {
        for _ in 0..TRIES {
            let snapshot = Snapshot::read(&self.bus, &self.subjects).await?;
            let before = snapshot.apps.get(name);
            let head = snapshot.catalog.apps.get(name).copied();
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
            let mut changes = diff::between(before, &actors, deleted);
            if origin == Origin::Promote {
                changes.push("~ the new versions get all calls".to_owned());
            }
            if terms.dry_run || changes.is_empty() {
                return Ok(Declared { app: name.clone(), revision: latest, changes });
            }
            let app = revision::next(&snapshot.catalog, name, actors, origin, terms.request_id);
            let app = revision::with_versions(app, before);
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
        let needed: BTreeSet<u64> = revisions
            .iter()
            .filter(is_kept)
            .flat_map(|app| {
                let versions = |actor: &Actor| [Some(actor.version), actor.beside].into_iter().flatten();
                app.actors.values().flat_map(versions).chain([app.revision])
            })
            .collect();
        for old in revisions.iter().filter(|app| !needed.contains(&app.revision)) {
            let key = self.subjects.control(&Control::Spec(old.app.clone(), old.revision));
            if let Err(error) = self.bus.decisions.purge(&key).await {
                tracing::debug!(%error, app = %old.app, old.revision, "an old revision was not removed");
            }
        }
    }
}

/// The app, if some of its new versions get a part of the calls only.
fn on_trial<'a>(snapshot: &'a Snapshot, app: &AppName) -> Result<&'a App, Error> {
    let missing = || Error::NotFound { what: "app", name: app.to_string() };
    let current = snapshot.apps.get(app).ok_or_else(missing)?;
    match current.is_on_trial() {
        true => Ok(current),
        false => Err(Error::Invalid(format!(
            "nothing of the app `{app}` is on trial; `update = {{ canary = \"10%\" }}` in its manifest puts new versions \
             on trial"
        ))),
    }
}

/// What an earlier revision said, to be declared once more.
fn way_back(snapshot: &Snapshot, app: &AppName, to: Option<u64>) -> Result<Next, Error> {
    let head = snapshot.catalog.apps.get(app);
    let head = head.ok_or_else(|| Error::NotFound { what: "app", name: app.to_string() })?;
    let to = match to {
        Some(to) => to,
        None => snapshot.before(app, head).ok_or_else(|| {
            Error::Invalid(format!("the app `{app}` has no earlier revision to go back to"))
        })?,
    };
    if to == head.revision {
        return Err(Error::Invalid(format!("the app `{app}` is at revision {to} already")));
    }
    let none = || Error::NoRevision { app: app.clone(), revision: to };
    let spec = snapshot.revision(app, to).ok_or_else(none)?;
    if spec.origin == Origin::Delete {
        return Err(Error::Invalid(format!(
            "revision {to} of `{app}` is its deletion; `lattice delete {app}` does that"
        )));
    }
    let origin = Origin::Rollback { from: head.revision, to, reason: None };
    Ok(Next { actors: Some(spec.actors), origin })
}
