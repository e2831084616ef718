//! Where the compiled actors are: `LATTICE_ARTIFACTS` names their folder, otherwise they are where `lattice build` puts
//! them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use lattice_proto::Digest;
use lattice_proto::admin::{FindArtifactsRequest, PutArtifactRequest};
use lattice_proto::manifest::{Artifact, Manifest};

use crate::Fault;
use crate::lattice::AdminClient;

/// What the admin API takes in one message.
const CHUNK: usize = 256 << 10;

/// The file of an artifact, such as `greeter.wasm`.
pub fn file(name: &str) -> PathBuf {
    let path = Path::new(name);
    if path.is_absolute() {
        return path.to_owned();
    }
    let folders = folders();
    let found = folders.iter().map(|folder| folder.join(name)).find(|file| file.exists());
    found.unwrap_or_else(|| {
        panic!("{name} is in none of {folders:?}: `lattice build` makes it, or set LATTICE_ARTIFACTS")
    })
}

/// The bytes of an artifact.
pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(file(name)).unwrap()
}

/// The same actor as another artifact: a section that nobody reads tells them apart.
pub fn variant(name: &str, mark: u8) -> Vec<u8> {
    let mut bytes = bytes(name);
    // Kind 0 is a custom section; then its size, the size of its name, and the name.
    bytes.extend([0, 3, 1, b'v', mark]);
    bytes
}

fn folders() -> Vec<PathBuf> {
    if let Some(folder) = std::env::var_os("LATTICE_ARTIFACTS") {
        return vec![folder.into()];
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    [
        "examples/greeter",
        "examples/shop",
        "examples/bank",
        "examples/orders",
        "tests/guests",
        "tests/guests/ledger",
        "tests/guests/web",
        "tests/guests/keeper",
        "tests/guests/service",
        "tests/guests/links/exporter",
        "tests/guests/links/importer",
        "tests/guests/links/page",
    ]
    .map(|folder| workspace.join(folder))
    .to_vec()
}

/// Stores one artifact and returns its digest.
pub async fn put(client: &mut AdminClient, bytes: Vec<u8>) -> Result<Digest, Fault> {
    let digest = Digest::of(&bytes);
    put_as(client, bytes, digest.as_str()).await?;
    Ok(digest)
}

/// Claims a digest for some bytes, rightly or not.
pub async fn put_as(client: &mut AdminClient, bytes: Vec<u8>, digest: &str) -> Result<(), Fault> {
    let mut chunks: Vec<PutArtifactRequest> = bytes
        .chunks(CHUNK)
        .map(|chunk| PutArtifactRequest { digest: String::new(), chunk: chunk.to_vec().into() })
        .collect();
    if chunks.is_empty() {
        chunks.push(PutArtifactRequest::default());
    }
    digest.clone_into(&mut chunks[0].digest);
    client.put_artifact(tokio_stream::iter(chunks)).await?;
    Ok(())
}

/// Stores what a manifest names and the lattice lacks; returns the digests by actor. A manifest that cannot be read
/// needs none: the node is going to refuse it.
pub async fn put_all(client: &mut AdminClient, manifest: &str) -> Result<HashMap<String, String>, Fault> {
    let mut digests = HashMap::new();
    let Ok(manifest) = Manifest::parse(manifest, "lattice.toml") else { return Ok(digests) };
    for (actor, settings) in &manifest.actors {
        let Artifact::Path(path) = &settings.artifact else { continue };
        let bytes = bytes(&path.display().to_string());
        let digest = Digest::of(&bytes).to_string();
        let asked = FindArtifactsRequest { digests: vec![digest.clone()] };
        if client.find_artifacts(asked).await?.into_inner().digests.is_empty() {
            put_as(client, bytes, &digest).await?;
        }
        digests.insert(actor.to_string(), digest);
    }
    Ok(digests)
}
