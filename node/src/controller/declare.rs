//! Declarations: apply, scale and delete, each a new revision of one app.
//!
//! Any node takes them, leader or not. A revision and the catalog that names it are written in one atomic batch,
//! guarded by the catalog's own sequence: of two declarations at once one is made anew on top of the other, and nothing
//! is ever half declared.

use std::collections::BTreeMap;

use lattice_proto::manifest::{self, Artifact, Manifest};
use lattice_proto::record::{self, Actor, App, Catalog, Head};
use lattice_proto::subject::{Control, Subjects};
use lattice_proto::{ActorName, AppName, Digest};

use super::observe;
use crate::artifact::{self, Artifacts};
use crate::bus::{self, Bus, Guard};
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
}

/// The store as one declaration saw it.
struct Snapshot {
    catalog: Catalog,
    /// The guard.
    catalog_revision: u64,
    apps: BTreeMap<AppName, App>,
}

impl Declarations {
    /// Over this store.
    pub fn new(bus: Bus, subjects: Subjects, artifacts: Artifacts) -> Self {
        Self { bus, subjects, artifacts }
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
        request_id: &str,
        dry_run: bool,
    ) -> Result<Declared, Error> {
        let manifest = Manifest::parse(text, file)?;
        let actors = self.resolve(&manifest, artifacts).await?;
        self.change(&manifest.app, request_id, dry_run, |snapshot| {
            for actor in actors.keys() {
                let owner = snapshot
                    .apps
                    .values()
                    .find(|app| app.app != manifest.app && app.actors.contains_key(actor));
                if let Some(owner) = owner {
                    return Err(Error::NameTaken { actor: actor.clone(), app: owner.app.clone() });
                }
            }
            Ok(Some(actors.clone()))
        })
        .await
    }

    /// Sets the number of replicas of one actor.
    ///
    /// # Errors
    /// When there is no such actor or the number is out of bounds.
    pub async fn scale(&self, actor: &ActorName, replicas: u32, request_id: &str) -> Result<Declared, Error> {
        if replicas > manifest::bound::REPLICAS {
            return Err(Error::Invalid(format!(
                "an actor has at most {} replicas",
                manifest::bound::REPLICAS
            )));
        }
        let missing = || Error::NotFound { what: "actor", name: actor.to_string() };
        let apps = self.snapshot().await?.apps;
        let app = apps.values().find(|app| app.actors.contains_key(actor)).ok_or_else(missing)?.app.clone();
        self.change(&app, request_id, false, |snapshot| {
            let mut actors = snapshot.apps.get(&app).ok_or_else(missing)?.actors.clone();
            actors.get_mut(actor).ok_or_else(missing)?.settings.replicas = replicas;
            Ok(Some(actors))
        })
        .await
    }

    /// Removes an app.
    ///
    /// # Errors
    /// When there is no such app.
    pub async fn delete(&self, app: &AppName, request_id: &str) -> Result<Declared, Error> {
        self.change(app, request_id, false, |snapshot| match snapshot.apps.contains_key(app) {
            true => Ok(None),
            false => Err(Error::NotFound { what: "app", name: app.to_string() }),
        })
        .await
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
            let actor = Actor { digest, settings: actor.settings.clone(), idempotent: idempotent.collect() };
            actors.insert(name.clone(), actor);
        }
        Ok(actors)
    }

    /// Makes the next revision of one app; `next` gives its actors, or none to delete it.
    async fn change(
        &self,
        name: &AppName,
        request_id: &str,
        dry_run: bool,
        next: impl Fn(&Snapshot) -> Result<Option<BTreeMap<ActorName, Actor>>, Error>,
    ) -> Result<Declared, Error> {
        for _ in 0..TRIES {
            let snapshot = self.snapshot().await?;
            let before = snapshot.apps.get(name);
            let head = snapshot.catalog.apps.get(name).copied();
            if let Some(before) =
                before.filter(|before| !request_id.is_empty() && before.request_id == request_id)
            {
                return Ok(Declared { app: name.clone(), revision: before.revision, changes: Vec::new() });
            }
            let actors = next(&snapshot)?;
            let deleted = actors.is_none();
            let actors = actors.unwrap_or_default();
            let changes = changes(before, &actors, deleted);
            if dry_run || changes.is_empty() {
                return Ok(Declared {
                    app: name.clone(),
                    revision: head.map_or(0, |head| head.revision),
                    changes,
                });
            }
            let revision = head.map_or(0, |head| head.revision) + 1;
            let app = App { app: name.clone(), revision, request_id: request_id.to_owned(), actors };
            let mut catalog = snapshot.catalog;
            catalog.apps.insert(name.clone(), Head { revision, deleted });
            let catalog_key = self.subjects.control(&Control::Catalog);
            let guard = Guard { key: &catalog_key, revision: snapshot.catalog_revision };
            let writes = [
                (self.subjects.control(&Control::Spec(name.clone(), revision)), record::encode(&app)),
                (catalog_key.clone(), record::encode(&catalog)),
            ];
            match self.bus.decisions.put_all_guarded(&guard, &writes).await {
                Ok(()) => {
                    self.forget_old(name, revision).await;
                    return Ok(Declared { app: name.clone(), revision, changes });
                }
                Err(bus::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Busy)
    }

    /// Keeps the store from growing with every declaration.
    async fn forget_old(&self, app: &AppName, latest: u64) {
        if let Some(old) = latest.checked_sub(HISTORY).filter(|old| *old > 0) {
            let key = self.subjects.control(&Control::Spec(app.clone(), old));
            if let Err(error) = self.bus.decisions.purge(&key).await {
                tracing::debug!(%error, %app, old, "an old revision was not removed");
            }
        }
    }

    async fn snapshot(&self) -> Result<Snapshot, Error> {
        let entries = observe::read_all(&self.bus.decisions, &self.subjects.control_filter()).await?;
        let catalog_key = self.subjects.control(&Control::Catalog);
        let mut snapshot =
            Snapshot { catalog: Catalog::default(), catalog_revision: 0, apps: BTreeMap::new() };
        if let Some(entry) = entries.iter().find(|entry| entry.key == catalog_key) {
            snapshot.catalog_revision = entry.revision;
            snapshot.catalog = observe::decode(entry)?;
        }
        for entry in &entries {
            let Ok(Control::Spec(name, revision)) = self.subjects.parse_control(&entry.key) else { continue };
            let head = snapshot.catalog.apps.get(&name);
            if head.is_some_and(|head| !head.deleted && head.revision == revision) {
                snapshot.apps.insert(name, observe::decode(entry)?);
            }
        }
        Ok(snapshot)
    }
}

/// What a person would want to know before saying yes.
fn changes(before: Option<&App>, after: &BTreeMap<ActorName, Actor>, deleted: bool) -> Vec<String> {
    let empty = BTreeMap::new();
    let old = before.map_or(&empty, |app| &app.actors);
    let mut lines = Vec::new();
    for (name, actor) in after {
        match old.get(name) {
            None => lines.push(format!(
                "+ {name}: {} replicas of {}",
                actor.settings.replicas,
                short(&actor.digest)
            )),
            Some(old) if old == actor => {}
            Some(old) => {
                if old.digest != actor.digest {
                    lines.push(format!(
                        "~ {name}: artifact {} -> {}",
                        short(&old.digest),
                        short(&actor.digest)
                    ));
                }
                if old.settings.replicas != actor.settings.replicas {
                    lines.push(format!(
                        "~ {name}: replicas {} -> {}",
                        old.settings.replicas, actor.settings.replicas
                    ));
                }
                let rest =
                    |settings: &manifest::Settings| manifest::Settings { replicas: 0, ..settings.clone() };
                if rest(&old.settings) != rest(&actor.settings) {
                    lines.push(format!("~ {name}: settings"));
                }
            }
        }
    }
    for name in old.keys().filter(|name| !after.contains_key(*name)) {
        lines.push(format!("- {name}"));
    }
    if deleted && lines.is_empty() {
        lines.push("- the app".to_owned());
    }
    lines
}

fn short(digest: &Digest) -> &str {
    &digest.as_str()[.."sha256:".len() + 12]
}
