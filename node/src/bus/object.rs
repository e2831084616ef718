//! The object store: bytes under a name, in chunks.

use async_nats::jetstream::object_store::{Config, DeleteErrorKind, GetErrorKind, ObjectStore};
use futures::StreamExt;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::OnceCell;

use super::{Connection, Error};
use crate::causes::full;

/// A cheap handle on one object store.
#[derive(Clone)]
pub struct Objects {
    connection: Connection,
    bucket: String,
    store: Arc<OnceCell<ObjectStore>>,
}

impl Objects {
    pub(super) fn new(connection: Connection, bucket: String) -> Self {
        Self { connection, bucket, store: Arc::default() }
    }

    pub(super) async fn ensure(&self, copies: usize) -> Result<(), Error> {
        let jetstream = self.connection.jetstream()?;
        if jetstream.get_object_store(&self.bucket).await.is_ok() {
            return Ok(());
        }
        let config = Config { bucket: self.bucket.clone(), num_replicas: copies, ..Default::default() };
        match jetstream.create_object_store(config).await {
            Ok(_) => Ok(()),
            // Somebody created it before; opening it tells whether it is usable.
            Err(_) => self.open().await.map(|_| ()),
        }
    }

    async fn open(&self) -> Result<&ObjectStore, Error> {
        // The library would wait for a server's answer all the same.
        if !self.connection.is_up() {
            return Err(Error::Unreachable);
        }
        let jetstream = self.connection.jetstream()?;
        let open = || jetstream.get_object_store(&self.bucket);
        self.store
            .get_or_try_init(open)
            .await
            .map_err(|error| Error::failed("opening the object store", full(&error)))
    }

    /// Stores what the reader gives under a name.
    pub async fn put(&self, name: &str, reader: &mut (impl AsyncRead + Unpin)) -> Result<(), Error> {
        let stored = self.open().await?.put(name, reader).await;
        stored.map(|_| ()).map_err(|error| Error::failed("storing an object", full(&error)))
    }

    /// Every name that is taken.
    pub async fn list(&self) -> Result<Vec<String>, Error> {
        let listing = |reason: String| Error::failed("listing objects", reason);
        let mut list = self.open().await?.list().await.map_err(|error| listing(full(&error)))?;
        let mut names = Vec::new();
        while let Some(object) = list.next().await {
            names.push(object.map_err(|error| listing(full(&error)))?.name);
        }
        Ok(names)
    }

    /// Takes an object away; that it is gone already is as good.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        match self.open().await?.delete(name).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == DeleteErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::failed("removing an object", full(&error))),
        }
    }

    /// Whether the name is taken, and by how many bytes.
    pub async fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        match self.open().await?.info(name).await {
            Ok(info) => Ok(Some(info.size as u64).filter(|_| !info.deleted)),
            Err(error) if error.kind() == async_nats::jetstream::object_store::InfoErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(Error::failed("looking for an object", full(&error))),
        }
    }

    /// What is stored under a name, at most `limit` bytes of it.
    pub async fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let object = match self.open().await?.get(name).await {
            Ok(object) => object,
            Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::failed("reading an object", full(&error))),
        };
        let mut bytes = Vec::new();
        let read = object.take(limit).read_to_end(&mut bytes).await;
        read.map_err(|error| Error::failed("reading an object", error))?;
        Ok(Some(bytes))
    }
}
