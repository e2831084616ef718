//! What a version of an actor is: it stands in the revision of its app that has the same number.

use std::time::Duration;

use lattice_proto::record::{self, Actor, App};
use lattice_proto::subject::{Control, Subjects};
use lattice_proto::{ActorName, AppName};

use crate::bus::Bus;

/// How often what was just declared is asked for. A copy of the store may be a moment behind.
const TRIES: u32 = 5;

/// The pause in between.
const PAUSE: Duration = Duration::from_millis(40);

/// Looks versions up.
#[derive(Clone)]
pub struct Specs {
    bus: Bus,
    subjects: Subjects,
}

impl Specs {
    /// In this store.
    pub fn new(bus: Bus, subjects: Subjects) -> Self {
        Self { bus, subjects }
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
            let entry = self.bus.decisions.get(&key).await.map_err(|error| error.to_string())?;
            let Some(bytes) = entry.and_then(|entry| entry.value) else { continue };
            let mut app: App = record::decode(&bytes)
                .map_err(|error| format!("revision {version} of `{app}` cannot be read: {error}"))?;
            return app
                .actors
                .remove(actor)
                .ok_or_else(|| format!("revision {version} of `{}` has no actor `{actor}`", app.app));
        }
        Err(format!("revision {version} of `{app}` is not in the lattice any more"))
    }
}
