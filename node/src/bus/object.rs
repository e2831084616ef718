//! The object store: bytes under a name, in chunks.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::object_store::{
    Config, DeleteErrorKind, GetErrorKind, InfoErrorKind, ObjectInfo, ObjectStore,
};
use async_nats::jetstream::stream::{DirectGetErrorKind, RawMessageErrorKind, Stream};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::OnceCell;

use super::{Connection, Error, space};
use crate::causes::full;

/// What is known of an object.
#[derive(Debug, Clone)]
pub struct Stored {
    /// In bytes.
    pub size: u64,
    /// When it was stored: milliseconds since 1970.
    pub stored_ms: i64,
    /// Where its chunks are.
    chunks_at: String,
    chunks: usize,
}

/// Reads an object chunk by chunk: there is never more than one of them in memory, however slowly they are taken.
pub struct Chunks {
    connection: Connection,
    stream: Stream<()>,
    subject: String,
    /// The first place at which the next one may be.
    next: u64,
    left: usize,
}

impl Chunks {
    /// The next one; none at the end.
    ///
    /// # Errors
    /// Also when the object was replaced or removed meanwhile.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        if !self.connection.is_up() {
            return Err(Error::Unreachable);
        }
        let read = self.stream.direct_get_next_for_subject(self.subject.as_str(), Some(self.next)).await;
        let chunk = match read {
            Ok(chunk) => chunk,
            // A copy of the stream may be behind its leader.
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => {
                let read = self.stream.get_first_raw_message_by_subject(&self.subject, self.next).await;
                read.map_err(|error| match error.kind() {
                    RawMessageErrorKind::NoMessageFound => {
                        Error::failed(READ, "it was replaced or removed meanwhile")
                    }
                    _ => Error::failed(READ, full(&error)),
                })?
            }
            Err(error) => return Err(Error::failed(READ, full(&error))),
        };
        self.left -= 1;
        self.next = chunk.sequence + 1;
        Ok(Some(chunk.payload))
    }
}

/// What failed, in errors.
const READ: &str = "reading an object";

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
            Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::failed("looking for an object", full(&error))),
        }
    }

    /// What is known of what is stored under a name.
    pub async fn look(&self, name: &str) -> Result<Option<Stored>, Error> {
        match self.open().await?.info(name).await {
            Ok(info) if info.deleted => Ok(None),
            Ok(ObjectInfo { nuid, size, chunks, modified, .. }) => Ok(Some(Stored {
                size: size as u64,
                stored_ms: modified.map_or(0, space::millis),
                chunks_at: format!("$O.{}.C.{nuid}", self.bucket),
                chunks,
            })),
            Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::failed("looking for an object", full(&error))),
        }
    }

    /// Reads an object that [`Self::look`] has found.
    pub async fn chunks(&self, stored: &Stored) -> Result<Chunks, Error> {
        let stream = self.connection.jetstream()?.get_stream_no_info(self.stream()).await;
        let stream = stream.map_err(|error| Error::failed(READ, full(&error)))?;
        let (connection, subject) = (self.connection.clone(), stored.chunks_at.clone());
        Ok(Chunks { connection, stream, subject, next: 1, left: stored.chunks })
    }

    /// The names that are taken, as they are asked for.
    pub async fn names(&self) -> Result<BoxStream<'static, Result<String, Error>>, Error> {
        let failed = |reason: String| Error::failed("listing objects", reason);
        let list = self.open().await?.list().await.map_err(|error| failed(full(&error)))?;
        Ok(list.map_ok(|object| object.name).map_err(move |error| failed(full(&error))).boxed())
    }

    /// When this store was made, in milliseconds since 1970; none where there is none.
    pub async fn made_ms(&self) -> Result<Option<i64>, Error> {
        if !self.connection.is_up() {
            return Err(Error::Unreachable);
        }
        match self.connection.jetstream()?.get_stream(self.stream()).await {
            Ok(stream) => Ok(Some(space::millis(stream.cached_info().created))),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(reason)
                    if reason.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(Error::failed("looking for an object store", full(&error))),
            },
        }
    }

    /// Takes all objects away.
    pub async fn clear(&self) -> Result<(), Error> {
        let failed = |reason: String| Error::failed("emptying an object store", reason);
        if !self.connection.is_up() {
            return Err(Error::Unreachable);
        }
        let stream = self.connection.jetstream()?.get_stream_no_info(self.stream()).await;
        let purged = stream.map_err(|error| failed(full(&error)))?.purge().await;
        purged.map(drop).map_err(|error| failed(full(&error)))
    }

    /// Takes the store away with all that is in it.
    pub async fn destroy(&self) -> Result<(), Error> {
        if !self.connection.is_up() {
            return Err(Error::Unreachable);
        }
        let destroyed = self.connection.jetstream()?.delete_object_store(&self.bucket).await;
        destroyed.map(drop).map_err(|error| Error::failed("removing an object store", full(&error)))
    }

    /// The stream that it is made of.
    fn stream(&self) -> String {
        format!("OBJ_{}", self.bucket)
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
