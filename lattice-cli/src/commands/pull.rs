//! `lattice pull`: gets a component from a registry, and checks it by its digest.

use std::io::Write;
use std::path::{Path, PathBuf};

use lattice_oci::Component;
use lattice_proto::{Ran, Reference};

use super::registry::{View, Way, failure};
use crate::cli::Global;
use crate::failure::Failure;
use crate::progress::Progress;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to get, such as oci://ghcr.io/acme/cart:1.2
    reference: Reference,
    /// The file to write, in place of what it held [default: the last part of the name, with .wasm]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    registry: Way,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let Args { reference, to, registry } = args;
    let (client, login) = registry.client(&reference)?;
    let said = |error| failure(error, &reference);
    let mut pull = client.resolve(&reference, login).await.map_err(said)?;
    let (manifest, layer) = (pull.manifest.clone(), pull.layer.clone());
    let mut progress = Progress::new(global.output, "pulling bytes");
    let shown = reference.to_string();
    let mut told = 0;
    let bytes = pull.fetch(|come| {
        // Where no bar can be drawn each change is a line.
        if come == layer.size || come >= told + (4 << 20) {
            progress.update(come, layer.size, &shown);
            told = come;
        }
    });
    let bytes = bytes.await.map_err(said)?;
    drop(progress);
    Component::read(bytes.clone()).map_err(|error| {
        Failure::new("invalid-artifact", Ran::No, format!("{reference} is of no use: {error}"))
    })?;
    let file = to.unwrap_or_else(|| {
        let name = reference.repository().rsplit('/').next().unwrap_or_default();
        PathBuf::from(format!("{name}.wasm"))
    });
    write(&file, &bytes).map_err(|error| {
        Failure::new("io", Ran::No, format!("{} cannot be written: {error}", file.display()))
    })?;
    let view = View {
        reference: reference.pinned(manifest).to_string(),
        digest: layer.digest.to_string(),
        size: layer.size,
        media_type: layer.media_type,
    };
    global.output.print(&view, |view| {
        format!("{} ({}) from {}", file.display(), lattice_setup::human_size(view.size), view.reference)
    })
}

/// Puts it there as a whole, or not at all.
fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut unfinished = tempfile::Builder::new().permissions(mode()).tempfile_in(folder)?;
    unfinished.write_all(bytes)?;
    unfinished.persist(file).map(drop).map_err(|error| error.error)
}

/// As other files are made: temporary ones are for their owner alone.
fn mode() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}
