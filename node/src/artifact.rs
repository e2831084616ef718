//! Artifacts by digest: from this node's disk, or from the lattice's object store. A name is never trusted; what was
//! read is used only if its digest is the one that was asked for.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use lattice_proto::{Digest, MAX_ARTIFACT};

use crate::bus::{self, Bus};
use crate::engine::{Compiled, Engine, Refused};

/// The largest artifact that is stored: what the engine would refuse needs no room.
pub const LIMIT: u64 = MAX_ARTIFACT;

/// Why an artifact cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lattice does not have it.
    #[error("the artifact {0} is not in the lattice; apply the manifest again from where the file is")]
    Missing(Digest),
    /// What is stored under the digest is something else.
    #[error("what the lattice stores as {0} has another digest; store it again")]
    Damaged(Digest),
    /// Larger than allowed.
    #[error("an artifact of {size} bytes is over the limit of {LIMIT} bytes")]
    TooLarge {
        /// In bytes.
        size: u64,
    },
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// The bytes are no actor.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Not an error of the artifact: the node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// A cheap handle on the store and this node's cache of it.
#[derive(Clone)]
pub struct Artifacts {
    bus: Bus,
    engine: Engine,
    folder: Arc<PathBuf>,
    /// Compiling takes all cores by itself, so one at a time is also the fastest.
    compiling: Arc<tokio::sync::Mutex<()>>,
}

impl Artifacts {
    /// Keeps copies in `folder`.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(bus: Bus, engine: Engine, folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        Ok(Self { bus, engine, folder: Arc::new(folder), compiling: Arc::default() })
    }

    /// Whether the lattice has it.
    pub async fn has(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.bus.objects.size(digest.hex()).await?.is_some())
    }

    /// Stores an artifact under the digest of its bytes.
    pub async fn store(&self, bytes: Bytes) -> Result<Digest, Error> {
        if bytes.len() as u64 > LIMIT {
            return Err(Error::TooLarge { size: bytes.len() as u64 });
        }
        let hashed = bytes.clone();
        let digest =
            tokio::task::spawn_blocking(move || Digest::of(&hashed)).await.map_err(|_| Error::Stopping)?;
        if !self.has(&digest).await? {
            self.bus.objects.put(digest.hex(), &mut bytes.as_ref()).await?;
        }
        self.cache(digest.clone(), bytes).await;
        Ok(digest)
    }

    /// Every artifact that the lattice has. Objects with other names are not ours.
    pub async fn list(&self) -> Result<BTreeSet<Digest>, Error> {
        let names = self.bus.objects.list().await?;
        Ok(names.into_iter().filter_map(|name| format!("sha256:{name}").parse().ok()).collect())
    }

    /// Takes an artifact away from the lattice. Copies on nodes stay.
    pub async fn remove(&self, digest: &Digest) -> Result<(), Error> {
        Ok(self.bus.objects.remove(digest.hex()).await?)
    }

    /// Sees to it that the lattice has an artifact of which this node has a copy.
    ///
    /// # Errors
    /// [`Error::Missing`] where neither has it.
    pub async fn restore(&self, digest: &Digest) -> Result<(), Error> {
        if self.has(digest).await? {
            return Ok(());
        }
        let bytes = self.fetch(digest).await?;
        Ok(self.bus.objects.put(digest.hex(), &mut bytes.as_ref()).await?)
    }

    /// An artifact's bytes, verified, kept on this node's disk from then on.
    ///
    /// # Errors
    /// When the lattice does not have it, or has something else under its digest.
    pub async fn keep(&self, digest: &Digest) -> Result<(), Error> {
        self.fetch(digest).await.map(|_| ())
    }

    /// An artifact, verified and compiled.
    pub async fn compiled(&self, digest: &Digest) -> Result<Compiled, Error> {
        let bytes = self.fetch(digest).await?;
        // Loading what was compiled before takes no time, and must not wait for somebody else's compilation.
        let _one = match self.engine.has_compiled(digest, &bytes) {
            true => None,
            false => Some(self.compiling.lock().await),
        };
        let (engine, digest) = (self.engine.clone(), digest.clone());
        let compiled = tokio::task::spawn_blocking(move || engine.compile(&digest, &bytes)).await;
        Ok(compiled.map_err(|_| Error::Stopping)??)
    }

    /// Whether this node has a copy. Its bytes are verified when they are used.
    pub fn is_kept(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    async fn fetch(&self, digest: &Digest) -> Result<Bytes, Error> {
        if let Ok(bytes) = tokio::fs::read(self.path(digest)).await {
            match verified(bytes.into(), digest).await? {
                Some(bytes) => return Ok(bytes),
                None => {
                    tracing::warn!(%digest, "the copy of an artifact on disk is damaged; it is fetched anew")
                }
            }
        }
        let stored = self.bus.objects.get(digest.hex(), LIMIT + 1).await?;
        let bytes = stored.ok_or_else(|| Error::Missing(digest.clone()))?;
        let verified = verified(bytes.into(), digest).await?;
        let bytes = verified.ok_or_else(|| Error::Damaged(digest.clone()))?;
        self.cache(digest.clone(), bytes.clone()).await;
        Ok(bytes)
    }

    /// A failure costs only the time to fetch it again.
    async fn cache(&self, digest: Digest, bytes: Bytes) {
        let (folder, path) = (self.folder.clone(), self.path(&digest));
        let written = tokio::task::spawn_blocking(move || {
            let mut file = tempfile::NamedTempFile::new_in(&*folder)?;
            file.write_all(&bytes)?;
            file.as_file().sync_all()?;
            file.persist(path).map(|_| ()).map_err(|error| error.error)
        });
        if let Ok(Err(error)) = written.await {
            tracing::warn!(%error, %digest, "cannot keep a copy of an artifact");
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }
}

/// The bytes, if they are what the digest says. Hashing megabytes takes too long for a thread that others wait for.
async fn verified(bytes: Bytes, digest: &Digest) -> Result<Option<Bytes>, Error> {
    let hashed = bytes.clone();
    let found =
        tokio::task::spawn_blocking(move || Digest::of(&hashed)).await.map_err(|_| Error::Stopping)?;
    Ok((found == *digest).then_some(bytes))
}
