//! From a reference to the bytes of a component: first what it means, then, if that is wanted, the bytes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, StatusCode};
use lattice_proto::{Digest, Reference};
use sha2::Digest as _;

use crate::Client;
use crate::credentials::Login;
use crate::error::Error;
use crate::manifest::{self, ACCEPTED, Found, Layer};
use crate::session::{Session, Wish};

/// What a manifest may have, in bytes. That of a component has less than one KiB.
const MAX_MANIFEST: u64 = 1 << 20;

/// How long it may take to find out what a reference means.
const RESOLVE: Duration = Duration::from_secs(60);

/// How long the bytes may take: 64 MiB in this time is what a bad line has.
const FETCH: Duration = Duration::from_secs(300);

/// The least that has to come within a while: 16 KiB/s. What comes slower would hold the place of others until it takes too long.
const WHILE: Duration = Duration::from_secs(30);
const LEAST: u64 = (16 << 10) * WHILE.as_secs();

/// What a reference means, and the way to it.
pub struct Pull {
    /// The digest of the manifest that it names.
    pub manifest: Digest,
    /// Its component.
    pub layer: Layer,
    session: Session,
}

impl Client {
    /// Finds out what a reference means, by the registry's manifest.
    ///
    /// # Errors
    /// When the registry does not say it, or when it is no component that could be an artifact.
    pub async fn resolve(&self, reference: &Reference, login: Option<Login>) -> Result<Pull, Error> {
        let mut session = Session::new(self.wire.clone(), reference, login, Wish::Pull);
        let host = reference.host();
        let resolving = async {
            let (bytes, manifest) = document(&mut session, reference.tag(), reference.digest()).await?;
            let layer = match manifest::read(host, &bytes)? {
                Found::Layer(layer) => layer,
                Found::Listed(digest) => {
                    let (bytes, _) = document(&mut session, None, Some(&digest)).await?;
                    match manifest::read(host, &bytes)? {
                        Found::Layer(layer) => layer,
                        Found::Listed(_) => {
                            return Err(Error::NoComponent("this is an index of an index".to_owned()));
                        }
                    }
                }
            };
            Ok((manifest, layer))
        };
        let resolved = tokio::time::timeout(RESOLVE, resolving).await;
        let (manifest, layer) =
            resolved.map_err(|_| slow(host, "takes longer than 60 s to say what it has"))??;
        Ok(Pull { manifest, layer, session })
    }
}

impl Pull {
    /// The component's bytes, which have its digest; `progress` is told how many have come.
    ///
    /// # Errors
    /// When the registry sends others, or more, or none.
    pub async fn fetch(&mut self, progress: impl FnMut(u64)) -> Result<Bytes, Error> {
        let host = self.session.host().to_owned();
        let fetched = tokio::time::timeout(FETCH, self.read(progress)).await;
        fetched.map_err(|_| slow(&host, "takes longer than 300 s to send it"))?
    }

    async fn read(&mut self, mut progress: impl FnMut(u64)) -> Result<Bytes, Error> {
        let Layer { digest, size, .. } = &self.layer;
        let mut answer = self.session.get(&format!("blobs/{digest}"), HeaderMap::new()).await?;
        let host = || self.session.host().to_owned();
        if answer.status != StatusCode::OK {
            return Err(answer.refused(&format!("layer {digest}, which its manifest names")).await);
        }
        let (mut bytes, mut hash) = (Vec::new(), sha2::Sha256::new());
        let mut pace = Pace { since: Instant::now(), before: 0 };
        while let Some(more) = answer.next().await? {
            if (bytes.len() + more.len()) as u64 > *size {
                return Err(Error::Overrun { host: host(), what: "a component", limit: *size });
            }
            hash.update(&more);
            make_room(&mut bytes, more.len(), *size);
            bytes.extend_from_slice(&more);
            if !pace.holds(Instant::now(), bytes.len() as u64) {
                return Err(slow(&host(), "sends less than 16 KiB a second"));
            }
            progress(bytes.len() as u64);
        }
        let found = Digest::finish(hash);
        match found == *digest {
            true => Ok(bytes.into()),
            false => {
                Err(Error::WrongDigest { host: host(), what: "the component", wanted: digest.clone(), found })
            }
        }
    }
}

/// Makes room as bytes come: what is only said to come takes no memory. It is doubled up to a half of the whole, and from there on it is the
/// whole, so that never more than that is held, and half of it once more while they are moved.
fn make_room(bytes: &mut Vec<u8>, more: usize, size: u64) {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let half = size / 2;
        let room = if needed <= half { needed.saturating_mul(2).min(half) } else { size };
        bytes.reserve_exact(room.max(needed) - bytes.len());
    }
}

/// How fast bytes come, judged over a while at a time.
struct Pace {
    since: Instant,
    before: u64,
}

impl Pace {
    /// Whether they come fast enough; `come` is how many have.
    fn holds(&mut self, now: Instant, come: u64) -> bool {
        if now.saturating_duration_since(self.since) < WHILE {
            return true;
        }
        let holds = come - self.before >= LEAST;
        *self = Self { since: now, before: come };
        holds
    }
}

/// A manifest, with its digest.
async fn document(
    session: &mut Session,
    tag: Option<&str>,
    pinned: Option<&Digest>,
) -> Result<(Vec<u8>, Digest), Error> {
    let name = pinned.map(Digest::as_str).or(tag).unwrap_or_default();
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    let mut answer = session.get(&format!("manifests/{name}"), headers).await?;
    if answer.status != StatusCode::OK {
        let what = match pinned {
            Some(digest) => format!("manifest {digest}"),
            None => format!("tag `{name}`"),
        };
        return Err(answer.refused(&what).await);
    }
    let said =
        answer.headers.get("docker-content-digest").and_then(|digest| digest.to_str().ok()?.parse().ok());
    let bytes = answer.all("a manifest", MAX_MANIFEST).await?;
    let found = Digest::of(&bytes);
    let wanted = pinned.cloned().or(said).unwrap_or_else(|| found.clone());
    match found == wanted {
        true => Ok((bytes, found)),
        false => {
            Err(Error::WrongDigest { host: session.host().to_owned(), what: "the manifest", wanted, found })
        }
    }
}

fn slow(host: &str, what: &str) -> Error {
    Error::TooSlow { host: host.to_owned(), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_too_slowly_is_told_from_what_is_only_slow() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pace = Pace { since: start, before: 0 };
        assert!(pace.holds(at(29), 1));
        assert!(pace.holds(at(31), LEAST), "just enough");
        assert!(pace.holds(at(60), LEAST + 1), "a while has not gone by since");
        assert!(!pace.holds(at(62), 2 * LEAST - 1));
    }

    #[test]
    fn room_is_made_for_what_has_come_and_never_for_more_than_will() {
        const SIZE: usize = 1 << 20;
        let mut bytes = Vec::new();
        while bytes.len() < SIZE {
            let more = [0; 4096];
            make_room(&mut bytes, more.len(), SIZE as u64);
            bytes.extend_from_slice(&more);
            let (len, room) = (bytes.len(), bytes.capacity());
            assert!(room <= SIZE && room <= 2 * len, "{room} for {len}");
        }
        assert_eq!(bytes.capacity(), SIZE);
    }
}
