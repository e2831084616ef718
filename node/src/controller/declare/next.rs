//! What an app is to be next, made from what is declared. Pure; it stores nothing.

use std::collections::BTreeMap;

use lattice_proto::manifest::{self, Replicas};
use lattice_proto::record::{Actor, App, Origin};
use lattice_proto::{ActorName, AppName};

use super::Error;
use super::revision::Snapshot;

/// What somebody wants an app to be.
pub(super) struct Next {
    /// None to delete it.
    pub(super) actors: Option<BTreeMap<ActorName, Actor>>,
    pub(super) origin: Origin,
}

/// The app that an actor belongs to.
pub(super) fn app_of<'a>(snapshot: &'a Snapshot, actor: &ActorName) -> Result<&'a App, Error> {
    let app = snapshot.apps.values().find(|app| app.actors.contains_key(actor));
    app.ok_or_else(|| Error::NotFound { what: "actor", name: actor.to_string() })
}

/// The same with another number of replicas of one actor.
pub(super) fn scaled(
    snapshot: &Snapshot,
    app: &AppName,
    actor: &ActorName,
    replicas: u32,
) -> Result<Next, Error> {
    if replicas > manifest::bound::REPLICAS {
        return Err(Error::Invalid(format!("an actor has at most {} replicas", manifest::bound::REPLICAS)));
    }
    let missing = || Error::NotFound { what: "actor", name: actor.to_string() };
    let mut actors = snapshot.apps.get(app).ok_or_else(missing)?.actors.clone();
    let settings = &mut actors.get_mut(actor).ok_or_else(missing)?.settings;
    if settings.kind.keyed().is_some() {
        return Err(Error::Invalid(format!(
            "`{actor}` is a keyed actor: it has one activation for each key that is in use, wherever that belongs"
        )));
    }
    if settings.replicas.count().is_none() {
        let replicas = settings.replicas;
        return Err(Error::Invalid(format!(
            "`{actor}` has `replicas = {replicas}` in its manifest, so the lattice decides how many there are; give a \
             number there first"
        )));
    }
    settings.replicas = Replicas::Count(replicas);
    Ok(Next { actors: Some(actors), origin: Origin::Scale })
}

/// Nothing.
pub(super) fn deleted(snapshot: &Snapshot, app: &AppName) -> Result<Next, Error> {
    match snapshot.apps.contains_key(app) {
        true => Ok(Next { actors: None, origin: Origin::Delete }),
        false => Err(no_app(app)),
    }
}

/// The same, with all calls for what is on trial.
pub(super) fn promoted(snapshot: &Snapshot, app: &AppName) -> Result<Next, Error> {
    let actors = Some(on_trial(snapshot, app)?.actors.clone());
    Ok(Next { actors, origin: Origin::Promote })
}

/// The same without what is on trial. What else was changed meanwhile stays: a version is what replicas are made of.
pub(super) fn aborted(snapshot: &Snapshot, app: &AppName) -> Result<Next, Error> {
    let mut actors = on_trial(snapshot, app)?.actors.clone();
    for (name, actor) in &mut actors {
        let Some(beside) = actor.beside else { continue };
        let kept = snapshot.revision(app, beside).and_then(|mut kept| kept.actors.remove(name));
        let mut kept = kept.ok_or_else(|| Error::NoRevision { app: app.clone(), revision: beside })?;
        kept.settings.replicas = actor.settings.replicas;
        kept.settings.placement.clone_from(&actor.settings.placement);
        kept.settings.update.clone_from(&actor.settings.update);
        *actor = Actor { version: beside, beside: None, ..kept };
    }
    Ok(Next { actors: Some(actors), origin: Origin::Abort })
}

/// What an earlier revision said, to be declared once more.
pub(super) fn rolled_back(snapshot: &Snapshot, app: &AppName, to: Option<u64>) -> Result<Next, Error> {
    let head = snapshot.catalog.apps.get(app);
    let head = head.ok_or_else(|| no_app(app))?;
    let to = match to {
        Some(to) => to,
        None => snapshot.before(app, head).ok_or_else(|| {
            Error::Invalid(format!(
                "the app `{app}` has no revision that ran as declared and differs from what runs; `lattice history {app}` \
                 lists those that are kept, and `--to` goes back to any of them"
            ))
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

/// The app, if some of its new versions get a part of the calls only.
fn on_trial<'a>(snapshot: &'a Snapshot, app: &AppName) -> Result<&'a App, Error> {
    let current = snapshot.apps.get(app).ok_or_else(|| no_app(app))?;
    match current.is_on_trial() {
        true => Ok(current),
        false => Err(Error::Invalid(format!(
            "nothing of the app `{app}` is on trial; `update = {{ canary = \"10%\" }}` in its manifest puts new versions \
             on trial"
        ))),
    }
}

fn no_app(app: &AppName) -> Error {
    Error::NotFound { what: "app", name: app.to_string() }
}
