//! Hands the artifacts of a manifest to the lattice, those that it does not hold already.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lattice_proto::admin::{FindArtifactsRequest, PutArtifactRequest};
use lattice_proto::manifest::{Artifact, Manifest};
use lattice_proto::{Digest, Ran};

use crate::admin::Client;
use crate::failure::Failure;
use crate::output::Format;
use crate::progress::Progress;

/// What the admin API takes in one message.
const CHUNK: usize = 256 << 10;

/// An artifact on this machine.
struct Local {
    file: PathBuf,
    bytes: Bytes,
    digest: Digest,
}

/// Uploads what is missing, and tells the digest of every actor whose artifact is a file. Of an actor in `instead` it is the
/// file that is named there.
pub async fn upload(
    client: &mut Client,
    manifest: &Manifest,
    folder: &Path,
    instead: &BTreeMap<String, PathBuf>,
    output: Format,
) -> Result<BTreeMap<String, String>, Failure> {
    let locals = read(manifest, folder, instead)?;
    let digests: Vec<String> = locals.values().map(|local| local.digest.to_string()).collect();
    let request = FindArtifactsRequest { digests };
    let held = client.find_artifacts(request).await?.into_inner().digests;

    let mut missing: BTreeMap<&str, &Local> = BTreeMap::new();
    for local in locals.values().filter(|local| !held.iter().any(|held| held == local.digest.as_str())) {
        missing.insert(local.digest.as_str(), local);
    }
    let total = missing.values().map(|local| local.bytes.len() as u64).sum();
    let mut sent = 0;
    let mut progress = Progress::new(output, "uploading bytes");
    for local in missing.values() {
        progress.update(sent, total, &local.file.display().to_string());
        put(client, local).await?;
        sent += local.bytes.len() as u64;
    }
    Ok(locals.into_iter().map(|(actor, local)| (actor, local.digest.to_string())).collect())
}

fn read(
    manifest: &Manifest,
    folder: &Path,
    instead: &BTreeMap<String, PathBuf>,
) -> Result<BTreeMap<String, Local>, Failure> {
    let mut locals = BTreeMap::new();
    for (name, actor) in &manifest.actors {
        let Artifact::Path(path) = &actor.artifact else { continue };
        let file = instead.get(name.as_str()).cloned().unwrap_or_else(|| folder.join(path));
        let bytes = std::fs::read(&file).map_err(|error| {
            let message = format!(
                "the artifact of `{name}` cannot be read from {}: {error}; `lattice build {}` compiles it",
                file.display(),
                if folder.as_os_str().is_empty() { Path::new(".") } else { folder }.display(),
            );
            Failure::new("no-artifact", Ran::No, message)
        })?;
        let digest = Digest::of(&bytes);
        locals.insert(name.to_string(), Local { file, bytes: bytes.into(), digest });
    }
    Ok(locals)
}

async fn put(client: &mut Client, local: &Local) -> Result<(), Failure> {
    let digest = local.digest.to_string();
    let bytes = local.bytes.clone();
    // An empty file has no chunk, but its digest must be named all the same.
    let count = bytes.len().div_ceil(CHUNK).max(1);
    let chunks = (0..count).map(move |n| PutArtifactRequest {
        digest: if n == 0 { digest.clone() } else { String::new() },
        chunk: bytes.slice(n * CHUNK..bytes.len().min((n + 1) * CHUNK)),
    });
    client.put_artifact(tokio_stream::iter(chunks)).await?;
    Ok(())
}
