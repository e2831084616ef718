//! Makes a guest for a key, and wakes it with what is known of it.

use std::sync::Arc;

use bytes::Bytes;
use lattice_proto::{ActorId, Fault};
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, Instance};

use super::super::compile::Entry;
use super::super::guest::Guest;
use super::super::instance::{START, Unmade, story, unmade};
use super::super::{Compiled, Failure, Home, abi};
use super::{KeyedInstance, Limits};

/// Why a guest does not wake.
#[derive(Debug)]
pub enum Asleep {
    /// This machine has no room for another guest at the moment; one sentence.
    NoRoom(String),
    /// It cannot be made, or traps; one sentence.
    Broken(String),
    /// It says that it cannot live with its state.
    Refused(Fault),
}

impl From<Unmade> for Asleep {
    fn from(unmade: Unmade) -> Self {
        match unmade {
            Unmade::NoRoom(reason) => Asleep::NoRoom(reason),
            Unmade::Broken(reason) => Asleep::Broken(reason),
        }
    }
}

/// A guest that was made for one key, and knows nothing of it.
pub struct Unwoken {
    store: Store<Guest>,
    instance: Instance,
    activate: ComponentExportIndex,
    turn: ComponentExportIndex,
}

impl Compiled {
    /// Makes a guest for one key and wakes it with its state.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn wake(
        &self,
        home: &Arc<Home>,
        actor: &ActorId,
        state: Option<Bytes>,
        state_limit: u64,
    ) -> Result<KeyedInstance, Asleep> {
        self.unwoken(home, actor).await?.wake(state, state_limit).await
    }

    /// Makes a guest for one key.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn unwoken(&self, home: &Arc<Home>, actor: &ActorId) -> Result<Unwoken, Asleep> {
        let Entry::Keyed { activate, turn } = self.inner.entry else {
            return Err(Asleep::Broken(
                "it is a replicated actor, and its manifest does not say so".to_owned(),
            ));
        };
        let (store, instance) = self.make(home, actor.clone()).await?;
        Ok(Unwoken { store, instance, activate, turn })
    }
}

impl Unwoken {
    /// Wakes it with the state of its key.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn wake(self, state: Option<Bytes>, state_limit: u64) -> Result<KeyedInstance, Asleep> {
        let Self { mut store, instance, activate, turn } = self;
        let (home, actor) = (store.data().home.clone(), store.data().actor.clone());
        let missing = |what: &str| Asleep::Broken(format!("its `{what}` is gone or has another type"));
        let activate = instance
            .get_func(&mut store, activate)
            .and_then(|f| f.typed::<(String, Option<Vec<u8>>), (Result<(), Failure>,)>(&store).ok())
            .ok_or_else(|| missing(abi::ACTIVATE))?;
        let turn = instance
            .get_func(&mut store, turn)
            .and_then(|f| f.typed(&store).ok())
            .ok_or_else(|| missing(abi::TURN))?;
        let key = actor.key.as_deref().unwrap_or_default().to_owned();
        let woken = activate.call_async(&mut store, (key, state.map(Vec::from)));
        match tokio::time::timeout(START, woken).await {
            Ok(Ok((Ok(()),))) => {}
            Ok(Ok((Err(failure),))) => return Err(Asleep::Refused(failure.into_answer(false))),
            Ok(Err(error)) => {
                let (version, detail) = (home.version, story(&error));
                tracing::warn!(%actor, version, detail, "a keyed actor trapped as it was woken");
                return Err(unmade(&error, &store).into());
            }
            Err(_) => {
                return Err(Asleep::Broken(format!("it did not wake within {} seconds", START.as_secs())));
            }
        }
        let payload = usize::try_from(home.settings.limits.payload.0).unwrap_or(usize::MAX);
        Ok(KeyedInstance { store, turn, limits: Limits { payload, state: state_limit } })
    }
}
