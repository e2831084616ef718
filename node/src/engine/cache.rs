//! Compiled code on disk, so that a replica starts in a fraction of a millisecond.
//!
//! Compiled code is native code: whoever can write it can run anything. Rules:
//!
//! 1. The folder is open to this user only, and compiled code never travels between nodes.
//! 2. Each file begins with a MAC by a key that is kept outside of the folder. What does not verify is compiled anew.
//! 3. What was verified is what is loaded: the buffer, never the file.
//! 4. The name of a file covers the artifact's digest, the engine's version and its settings.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use lattice_proto::Digest;
use sha2::Sha256;
use wasmtime::component::Component;

const MAC_BYTES: usize = 32;
const KEY_BYTES: usize = 32;

pub(super) struct Cache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    settings: u64,
}

impl Cache {
    pub(super) fn open(data: &Path, engine: &wasmtime::Engine) -> io::Result<Self> {
        let folder = data.join("compiled");
        private_folder(&folder)?;
        let keys = data.join("keys");
        private_folder(&keys)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { folder, key: load_key(&keys.join("compiled-code"))?, settings: hasher.finish() })
    }

    /// Whether there is a file for it, good or not.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// The compiled form of an artifact, if it is here and nobody touched it.
    #[allow(
        unsafe_code,
        reason = "deserialize trusts its input; the MAC has just shown that this node wrote it"
    )]
    pub(super) fn load(&self, engine: &wasmtime::Engine, digest: &Digest) -> Option<Component> {
        let bytes = fs::read(self.path(digest)).ok()?;
        let (mac, code) = bytes.split_at_checked(MAC_BYTES)?;
        if self.mac(digest, code).verify_slice(mac).is_err() {
            tracing::warn!(%digest, "cached code does not verify; it is compiled anew");
            return None;
        }
        // SAFETY: the MAC covers exactly these bytes, and its key never left this node.
        unsafe { Component::deserialize(engine, code) }
            .inspect_err(
                |error| tracing::debug!(%error, %digest, "cached code does not fit; it is compiled anew"),
            )
            .ok()
    }

    /// Keeps a compiled artifact. A failure costs only the time to compile again.
    pub(super) fn store(&self, digest: &Digest, component: &Component) {
        let stored = component.serialize().map_err(io::Error::other).and_then(|code| {
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(&self.mac(digest, &code).finalize().into_bytes())?;
            file.write_all(&code)?;
            file.as_file().sync_all()?;
            file.persist(self.path(digest)).map_err(|error| error.error)
        });
        if let Err(error) = stored {
            tracing::warn!(%error, %digest, "cannot keep compiled code");
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}-{:016x}", digest.hex(), self.settings))
    }

    fn mac(&self, digest: &Digest, code: &[u8]) -> Hmac<Sha256> {
        // HMAC takes keys of any length, so this cannot fail; an empty one would only make every check fail.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key)
            .unwrap_or_else(|_| Hmac::new(&hmac::digest::Key::<Hmac<Sha256>>::default()));
        mac.update(digest.as_str().as_bytes());
        mac.update(&self.settings.to_le_bytes());
        mac.update(code);
        mac
    }
}

/// Makes a folder that only this user can look into, or makes sure that the one which is there is such a folder.
fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let found = fs::symlink_metadata(path)?;
    let own = rustix::process::geteuid().as_raw();
    if !found.is_dir() || found.uid() != own || found.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "{} must be a folder that belongs to the user of this node and is open to nobody else (chmod 700)",
            path.display()
        )));
    }
    Ok(())
}

/// Reads the key, or makes one. Two nodes that share a data folder and race end up with the same one.
fn load_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    for _ in 0..3 {
        match fs::read(path) {
            Ok(bytes) => {
                if let Ok(key) = bytes.try_into() {
                    return Ok(key);
                }
                // A torn write of an earlier start: what it protects is only a cache.
                fs::remove_file(path)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut key = [0; KEY_BYTES];
        let (first, second) = key.split_at_mut(16);
        first.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        second.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                file.write_all(&key)?;
                file.sync_all()?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("cannot make a key at {}", path.display())))
}
