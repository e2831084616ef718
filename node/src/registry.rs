//! Artifacts from registries: which this node gets for a declaration, and what must admit them first.
//!
//! Rules:
//! 1. Nothing is got from a registry that the operator did not name.
//! 2. What a tag means is found out once for a declaration, by whoever takes it. From then on there are bytes with a digest, as of any
//!    artifact: no other node, and no later start, asks a registry.
//! 3. What must admit an artifact is asked before anything of it is fetched, each time, and by what the registry's manifest says of it.
//! 4. A few are got at once, and a few more wait; others are told to come back. What waits holds no bytes, and a registry that is slow holds
//!    up what comes from it, and nothing else.
//! 5. What may be done is in the configuration, which is read once. What changes by itself, credentials and authorities, is read each time.

mod hook;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use lattice_oci::{Access, Client, Credentials, Login, Pull, SILENCE};
use lattice_proto::manifest::Reach;
use lattice_proto::{Digest, Reference};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::Registries as Settings;
use crate::port;

/// Artifacts whose bytes are got, or stored, at the same time. Each has as many as an artifact may.
const AT_ONCE: usize = 2;

/// Those of them that come from one registry.
const AT_ONCE_FROM_ONE: usize = 1;

/// What is asked of one registry, and of what must admit its artifacts, at the same time.
const ASKED: usize = 2;

/// What waits for that, or for its bytes, or is got, of one registry.
const UNDER_WAY: usize = 32;

/// Why an artifact is not got from a registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operator did not name the registry.
    #[error("this node gets nothing from there; to have it do so, {0}")]
    NotAllowed(String),
    /// What must admit it did not.
    #[error("it is not admitted: {0}")]
    NotAdmitted(String),
    /// What must admit it could not be asked.
    #[error("what must admit it, `registries.verify`, {0}")]
    Hook(String),
    /// A file that says how to speak with registries.
    #[error("{setting} of this node: {reason}")]
    File {
        /// Which.
        setting: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Too many at the same time.
    #[error(
        "this node is getting many artifacts from there at the moment; try once more, or ask another node"
    )]
    Busy,
    /// The registry.
    #[error("{source}{}", advice(source))]
    Oci {
        /// What went wrong there.
        #[from]
        source: lattice_oci::Error,
    },
}

/// What an operator can do about it, where there is something.
fn advice(error: &lattice_oci::Error) -> String {
    use lattice_oci::Error;
    match error {
        Error::Unauthorized { known: false, .. } => {
            "; give this node some with `credentials = \"/path/to/config.json\"` in the table `[registries]` of its configuration, a file \
             as `docker login` writes it"
        }
        Error::Unauthorized { known: true, .. } => "; look at the file that `registries.credentials` names",
        Error::InTheClear { .. } => {
            "; if that is meant, name it as `insecure` in the table `[registries]` of this node's configuration"
        }
        Error::Tls { .. } => {
            "; an authority that this system does not know can be named with `ca = \"/path/to/ca.pem\"` in the table `[registries]` of \
             this node's configuration"
        }
        Error::Inward { .. } => {
            "; if it is meant to lead there, name that host as `elsewhere` in the table `[registries]` of this node's configuration"
        }
        _ => "",
    }
    .to_owned()
}

/// What a reference means, and a place among those that are got until it is dropped.
pub struct Found<'a> {
    /// Pinned.
    pub reference: Reference,
    /// Of the bytes.
    pub digest: Digest,
    pull: Pull,
    shared: &'a Shared,
    host: &'a Host,
    /// For its bytes, from when they are asked for until it is dropped: by then they are stored.
    held: Option<Place<'a>>,
    _under_way: SemaphorePermit<'a>,
}

/// Among those whose bytes are got: from one registry, and from all.
type Place<'a> = (SemaphorePermit<'a>, SemaphorePermit<'a>);

/// A cheap handle on what a node gets from registries.
#[derive(Clone)]
pub struct Registries(Arc<Shared>);

struct Shared {
    settings: Settings,
    /// As many as the operator has named.
    hosts: BTreeMap<String, Host>,
    bytes: Semaphore,
}

/// The places of one registry.
struct Host {
    under_way: Semaphore,
    asked: Semaphore,
    bytes: Semaphore,
}

impl Registries {
    /// As the operator says.
    pub fn new(settings: Settings) -> Self {
        let hosts = settings.hosts().map(|host| (host.to_owned(), Host::new())).collect();
        Self(Arc::new(Shared { settings, hosts, bytes: Semaphore::new(AT_ONCE) }))
    }

    /// Finds out what a reference means, and whether it is admitted.
    ///
    /// # Errors
    /// Why it may not be used, in words that say what to do.
    pub async fn find(&self, reference: &Reference) -> Result<Found<'_>, Error> {
        let found = self.look(reference).await;
        found.inspect_err(|error| refused(reference, error))
    }

    async fn look(&self, reference: &Reference) -> Result<Found<'_>, Error> {
        let shared = &*self.0;
        let settings = &shared.settings;
        let host = shared.hosts.get(reference.host()).filter(|_| settings.admit(reference));
        let host = host.ok_or_else(|| Error::NotAllowed(settings.line_for(reference.host())))?;
        let under_way = host.under_way.try_acquire().map_err(|_| Error::Busy)?;
        let _asked = place(&host.asked).await?;
        let (client, login) = shared.prepare(reference).await?;
        let pull = client.resolve(reference, login).await?;
        let (reference, digest) = (reference.pinned(pull.manifest.clone()), pull.layer.digest.clone());
        hook::admit(&settings.verify, &reference, &digest).await?;
        tracing::info!(%reference, %digest, "what a registry has may be used");
        Ok(Found { reference, digest, pull, shared, host, held: None, _under_way: under_way })
    }
}

impl Host {
    fn new() -> Self {
        let [under_way, asked, bytes] = [UNDER_WAY, ASKED, AT_ONCE_FROM_ONE].map(Semaphore::new);
        Self { under_way, asked, bytes }
    }
}

async fn place(places: &Semaphore) -> Result<SemaphorePermit<'_>, Error> {
    // Nobody closes them.
    places.acquire().await.map_err(|_| Error::Busy)
}

impl Found<'_> {
    /// Its bytes, which have the digest.
    ///
    /// # Errors
    /// When the registry sends others, or more, or none.
    pub async fn fetch(&mut self) -> Result<Bytes, Error> {
        self.held = Some(self.shared.place_for_bytes(self.host).await?);
        let fetched = self.pull.fetch(|_| ()).await.map_err(Error::from);
        let (reference, digest) = (&self.reference, &self.digest);
        match &fetched {
            Ok(bytes) => {
                tracing::info!(%reference, %digest, bytes = bytes.len(), "an artifact was taken from a registry");
            }
            Err(error) => refused(reference, error),
        }
        fetched
    }
}

fn refused(reference: &Reference, error: &Error) {
    tracing::warn!(%reference, %error, "an artifact is not taken from a registry");
}

impl Shared {
    /// That of the registry comes first: who waits for it takes no other's place.
    async fn place_for_bytes<'a>(&'a self, host: &'a Host) -> Result<Place<'a>, Error> {
        let of_one = place(&host.bytes).await?;
        Ok((of_one, place(&self.bytes).await?))
    }

    async fn prepare(&self, reference: &Reference) -> Result<(Client, Option<Login>), Error> {
        let Settings { insecure, elsewhere, credentials, ca, .. } = &self.settings;
        let read = async |setting: &'static str, path: &PathBuf| {
            let contents = port::read(std::slice::from_ref(path)).await.pop();
            let contents = contents.unwrap_or_else(|| Err("cannot be read".to_owned()));
            contents.map_err(|reason| Error::File { setting, reason: format!("{} {reason}", path.display()) })
        };
        let wrong = |setting: &'static str, reason: String| Error::File { setting, reason };
        let login = match credentials {
            Some(path) => {
                let text = read("registries.credentials", path).await?;
                let all = Credentials::parse(&text).map_err(|reason| {
                    wrong("registries.credentials", format!("{}, {reason}", path.display()))
                })?;
                all.of(reference).map_err(|reason| wrong("registries.credentials", reason))?
            }
            None => None,
        };
        let ca = match ca {
            Some(path) => Some(read("registries.ca", path).await?),
            None => None,
        };
        let (insecure, elsewhere) = (insecure.clone(), elsewhere.clone());
        let access = Access { insecure, ca, elsewhere, reach: Reach::Public, silence: SILENCE };
        // Whom the system trusts is read from files.
        let client = tokio::task::spawn_blocking(|| Client::new(access)).await;
        let client = client.map_err(|_| wrong("registries.ca", "the node is stopping".to_owned()))??;
        Ok((client, login))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_registry_that_is_slow_holds_up_no_other() {
        let shared = Registries::new(Settings::default()).0;
        let (slow, other, third) = (Host::new(), Host::new(), Host::new());
        let held = shared.place_for_bytes(&slow).await.unwrap();
        let mut waiting = Box::pin(shared.place_for_bytes(&slow));
        assert!(waiting.as_mut().now_or_never().is_none());
        let _other = shared.place_for_bytes(&other).now_or_never().expect("there is a place").unwrap();
        // No more bytes are held than that, whoever they are from.
        let mut last = Box::pin(shared.place_for_bytes(&third));
        assert!(last.as_mut().now_or_never().is_none());
        drop(held);
        let last = last.now_or_never().expect("there is a place now").unwrap();
        assert!(waiting.as_mut().now_or_never().is_none(), "it waits for its own turn");
        drop(last);
        assert!(waiting.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_few_wait_and_others_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.toml");
        std::fs::write(&file, "[registries]\nallow = [\"127.0.0.1:1\"]\n").unwrap();
        let name = Some("a".to_owned());
        let options = crate::config::Options { name, config: Some(file), ..Default::default() };
        let registries = Registries::new(crate::config::Config::read(options).unwrap().registries);
        let reference: Reference = "oci://127.0.0.1:1/a:1".parse().unwrap();
        let host = &registries.0.hosts[reference.host()];
        let busy = host.asked.acquire_many(u32::try_from(ASKED).unwrap()).await.unwrap();
        let mut waiting: Vec<_> = (0..UNDER_WAY).map(|_| Box::pin(registries.find(&reference))).collect();
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        assert!(matches!(registries.find(&reference).await, Err(Error::Busy)));
        // Whoever has gone makes room for one that waits, and for one more to do so.
        drop(busy);
        let gone = waiting.remove(0).await.err().unwrap();
        assert!(matches!(gone, Error::Oci { .. }), "{gone}");
        assert!(host.under_way.try_acquire().is_ok());
    }

    #[tokio::test]
    async fn nobody_is_asked_whom_the_operator_did_not_name() {
        let reference = "oci://127.0.0.1:1/a:1".parse().unwrap();
        let error = Registries::new(Settings::default()).find(&reference).await.err().unwrap();
        assert!(matches!(error, Error::NotAllowed(_)), "{error}");
    }
}
