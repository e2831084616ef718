//! What guests keep by interfaces of the standard: values in key-value buckets, and objects in containers, all of it in JetStream.
//!
//! It never decides who may open what.

mod values;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lattice_proto::StoreName;
use lattice_proto::subject::Subjects;

use crate::bus::{self, Bus, Objects, Space};

pub use values::{Key, Swap, Values};

/// Buckets that are remembered to be there. Manifests name them, and hardly ever so many.
const REMEMBERED: usize = 1_024;

/// Why something is not kept or given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bus could not do it.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// It may be done or not.
    #[error("it is not known whether the value was stored: {0}")]
    Unsure(String),
    /// No key can look so.
    #[error("a key has 1 to 256 bytes, and this one has {0}")]
    Key(usize),
    /// More than the server carries.
    #[error("the value has {size} bytes, and this NATS server carries at most {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: usize,
        /// In bytes.
        size: usize,
    },
    /// What is to be counted up is something else.
    #[error("the value is no number in decimal digits, so it cannot be incremented")]
    NoNumber,
    /// There is no such number.
    #[error("the number would be out of its range")]
    OutOfRange,
}

/// A cheap handle on all of them.
#[derive(Clone)]
pub struct Stores {
    bus: Bus,
    subjects: Subjects,
    /// Buckets that are there, and since which connection that is known: a server that lost its data begins another one.
    known: Arc<Mutex<HashMap<StoreName, (u64, Space)>>>,
}

impl Stores {
    /// Those of this lattice.
    pub fn new(bus: Bus, subjects: Subjects) -> Self {
        Self { bus, subjects, known: Arc::default() }
    }

    /// A key-value store, made at its first use.
    ///
    /// # Errors
    /// When it is not there and cannot be made.
    pub async fn values(&self, name: &StoreName) -> Result<Values, Error> {
        let generation = self.bus.calls.link().borrow().generation;
        let known = self.known().get(name).filter(|known| known.0 == generation).map(|known| known.1.clone());
        if let Some(space) = known {
            return Ok(Values::new(space));
        }
        let space = self.bus.keyvalue(self.subjects.keyvalue_bucket(name)).await?;
        let mut known = self.known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(name.clone(), (generation, space.clone()));
        Ok(Values::new(space))
    }

    /// A container of objects, which may not be there.
    pub fn container(&self, name: &StoreName) -> Objects {
        self.bus.container(self.subjects.blob_bucket(name))
    }

    /// Makes a container; that it is there already is as good.
    ///
    /// # Errors
    /// When there are too many, or NATS says no.
    pub async fn make_container(&self, name: &StoreName) -> Result<Objects, Error> {
        let container = self.container(name);
        self.bus.make_container(&container, &self.subjects.blob_buckets()).await?;
        Ok(container)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<StoreName, (u64, Space)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
