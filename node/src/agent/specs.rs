//! What a version of an actor is: it stands in the revision of its app that has the same number. While the store cannot be
//! reached it is as it was last looked up, by this start of the node or, on its disk, by an earlier one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lattice_proto::record::{self, Actor, App};
use lattice_proto::subject::{Control, Subjects};
use lattice_proto::{ActorName, AppName};

use super::last::Orders;
use crate::bus::Bus;

/// How often what was just declared is asked for. A copy of the store may be a moment behind.
const TRIES: u32 = 5;

/// The pause in between.
const PAUSE: Duration = Duration::from_millis(40);

/// One version of one actor; another app may have an actor of that name later.
pub(super) type Key = (AppName, ActorName, u64);

/// Looks versions up.
#[derive(Clone)]
pub struct Specs {
    bus: Bus,
    subjects: Subjects,
    /// A plain lock: it is held for a look, and never while anything is waited for.
    known: Arc<Mutex<BTreeMap<Key, Actor>>>,
}

impl Specs {
    /// In this store, and in what was kept of it.
    pub fn new(bus: Bus, subjects: Subjects, kept: Option<&Orders>) -> Self {
        let mut known = BTreeMap::new();
        for (actor, assigned) in kept.into_iter().flat_map(|kept| &kept.assignment.actors) {
            for (version, spec) in kept.into_iter().filter_map(|kept| kept.versions.get(actor)).flatten() {
                known.insert((assigned.app.clone(), actor.clone(), *version), spec.clone());
            }
        }
        Self { bus, subjects, known: Arc::new(Mutex::new(known)) }
    }

    /// One version of an actor.
    ///
    /// # Errors
    /// One sentence, when it cannot be found or read.
    pub async fn get(&self, app: &AppName, version: u64, actor: &ActorName) -> Result<Actor, String> {
        let key = self.subjects.control(&Control::Spec(app.clone(), version));
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let entry = match self.bus.decisions.get(&key).await {
                Ok(entry) => entry,
                // A version never changes, so an old copy is as good as a new one.
                Err(error) => {
                    return self.known(app, version, actor).ok_or_else(|| error.to_string());
                }
            };
            let Some(bytes) = entry.and_then(|entry| entry.value) else { continue };
            let mut read: App = record::decode(&bytes)
                .map_err(|error| format!("revision {version} of `{app}` cannot be read: {error}"))?;
            let spec = read
                .actors
                .remove(actor)
                .ok_or_else(|| format!("revision {version} of `{app}` has no actor `{actor}`"))?;
            self.lock().insert((app.clone(), actor.clone(), version), spec.clone());
            return Ok(spec);
        }
        Err(format!("revision {version} of `{app}` is not in the lattice any more"))
    }

    /// The same, as it was last looked up.
    pub(super) fn known(&self, app: &AppName, version: u64, actor: &ActorName) -> Option<Actor> {
        self.lock().get(&(app.clone(), actor.clone(), version)).cloned()
    }

    /// Forgets all others.
    pub(super) fn retain(&self, wanted: impl Fn(&Key) -> bool) {
        self.lock().retain(|key, _| wanted(key));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Actor>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
