//! Puts a component into a registry: its bytes, what it says of itself, and a manifest of both under a tag.
//!
//! What is made of the same bytes is the same, whoever pushes it and whenever: no time is written unless the caller names one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use lattice_proto::{Digest, Reference};
use serde::Serialize;

use crate::Client;
use crate::component::Component;
use crate::credentials::Login;
use crate::error::Error;
use crate::manifest::{CONFIG, Descriptor, MANIFEST, WASM};
use crate::session::{Session, Wish};
use crate::wire::{Ask, Upload};

/// How long all of it may take.
const PUSH: Duration = Duration::from_secs(900);

/// How often progress is told.
const TELL: Duration = Duration::from_millis(100);

/// What is said of a component besides.
#[derive(Debug, Clone)]
pub struct About {
    /// When it was made, in the manner of RFC 3339. Readers of the configuration want one.
    pub created: String,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// What was put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The manifest's digest.
    pub manifest: Digest,
    /// The component's.
    pub layer: Digest,
    /// How the component is marked.
    pub media_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    created: &'a str,
    architecture: &'static str,
    os: &'static str,
    layer_digests: [&'a str; 1],
    component: World<'a>,
}

#[derive(Serialize)]
struct World<'a> {
    exports: &'a [String],
    imports: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: [Descriptor; 1],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl Client {
    /// Puts a component there, under the tag of the reference; `progress` is told how many of its bytes have gone.
    ///
    /// # Errors
    /// When the registry does not take it. What was sent by then may stay there, under no name.
    pub async fn push(
        &self,
        reference: &Reference,
        component: &Component,
        about: &About,
        login: Option<Login>,
        progress: impl FnMut(u64),
    ) -> Result<Pushed, Error> {
        let session = Session::new(self.wire.clone(), reference, login, Wish::Push);
        let pushing = push(session, reference, component, about, progress);
        let host = || reference.host().to_owned();
        let pushed = tokio::time::timeout(PUSH, pushing).await;
        let slow = || Error::TooSlow { host: host(), what: "takes longer than 900 s to take it".to_owned() };
        pushed.map_err(|_| slow())?
    }
}

async fn push(
    mut session: Session,
    reference: &Reference,
    component: &Component,
    about: &About,
    mut progress: impl FnMut(u64),
) -> Result<Pushed, Error> {
    let layer = Digest::of(&component.bytes);
    let config = Config {
        created: &about.created,
        architecture: "wasm",
        os: "wasip2",
        layer_digests: [layer.as_str()],
        component: World { exports: &component.exports, imports: &component.imports },
    };
    let config = json(&config);
    let config_digest = Digest::of(&config);

    put(&mut session, &layer, component.bytes.clone(), &mut progress).await?;
    put(&mut session, &config_digest, config.clone(), &mut |_| {}).await?;

    let manifest = json(&Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: Descriptor::new(CONFIG, &config_digest, config.len() as u64),
        layers: [Descriptor::new(WASM, &layer, component.size())],
        annotations: &about.annotations,
    });
    let digest = Digest::of(&manifest);
    let name = reference.tag().unwrap_or(digest.as_str());
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MANIFEST));
    let upload = Upload { bytes: manifest, ..Upload::default() };
    let url = session.at(&format!("manifests/{name}"));
    let answer = session.ask(Ask { method: Method::PUT, url, headers, upload }).await?;
    match answer.status {
        StatusCode::CREATED => Ok(Pushed { manifest: digest, layer, media_type: WASM }),
        _ => Err(answer.refused("such repository").await),
    }
}

/// Puts some bytes there, unless the registry has them.
async fn put(
    session: &mut Session,
    digest: &Digest,
    bytes: Bytes,
    progress: &mut impl FnMut(u64),
) -> Result<(), Error> {
    let size = bytes.len() as u64;
    let ask = |method: Method, url, upload| Ask { method, url, headers: HeaderMap::new(), upload };
    let there = session.at(&format!("blobs/{digest}"));
    let answer = session.ask(ask(Method::HEAD, there, Upload::default())).await?;
    if answer.status == StatusCode::OK {
        progress(size);
        return Ok(());
    }
    let begin = session.at("blobs/uploads/");
    let answer = session.ask(ask(Method::POST, begin, Upload::default())).await?;
    if answer.status != StatusCode::ACCEPTED {
        return Err(answer.refused("such repository").await);
    }
    let place = session.led(&answer)?.with("digest", digest.as_str());
    let gone = Arc::<AtomicU64>::default();
    let mut ask = ask(Method::PUT, place, Upload { bytes, gone: gone.clone() });
    ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let mut sending = Box::pin(session.ask(ask));
    let answer = loop {
        match tokio::time::timeout(TELL, &mut sending).await {
            Ok(answer) => break answer?,
            // A second try, with what the registry wants to see, sends all of it again.
            Err(_) => progress(gone.load(Ordering::Relaxed).min(size)),
        }
    };
    match answer.status {
        StatusCode::CREATED => {
            progress(size);
            Ok(())
        }
        _ => Err(answer.refused("such upload").await),
    }
}

fn json(value: &impl Serialize) -> Bytes {
    // Plain structs with keys of text, which JSON can always hold.
    serde_json::to_vec(value).unwrap_or_default().into()
}
