//! `lattice apply`: hands a manifest and its artifacts over, and waits until the app runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lattice_proto::Ran;
use lattice_proto::admin::ApplyRequest;
use lattice_proto::manifest::Manifest;

use super::{artifacts, operation};
use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The manifest, or the folder that holds a lattice.toml
    manifest: PathBuf,
    /// Check everything and show what would change, but change nothing that runs
    #[arg(long)]
    dry_run: bool,
    /// Only if the app is at this revision, 0 meaning that there is none; `lattice history` shows it
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    /// Do not wait until it runs
    #[arg(long)]
    detach: bool,
}

/// A manifest that was read and found good.
pub(super) struct Source {
    pub file: PathBuf,
    pub text: String,
    pub manifest: Manifest,
}

impl Source {
    /// Reads a manifest, or the one in a folder.
    pub fn read(place: PathBuf) -> Result<Self, Failure> {
        let file = if place.is_dir() { place.join("lattice.toml") } else { place };
        let text = std::fs::read_to_string(&file).map_err(|error| {
            let message =
                format!("{} cannot be read: {error}; name a manifest, or the folder of one", file.display());
            Failure::new("no-manifest", Ran::No, message).misused()
        })?;
        // The node judges the manifest again: it may know more, or less, than this binary.
        let manifest = Manifest::parse(&text, &file.display().to_string())
            .map_err(|error| Failure::new("invalid-manifest", Ran::No, error.to_string()))?;
        Ok(Self { file, text, manifest })
    }
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let Source { file, text, manifest } = Source::read(args.manifest)?;
    let mut client = admin::connect(global).await?;
    let folder = file.parent().unwrap_or(Path::new(""));
    // A dry run hands the artifacts over as well, because they are part of what is checked; bytes that no app names
    // are harmless.
    let artifacts =
        artifacts::upload(&mut client, &manifest, folder, &BTreeMap::new(), global.output).await?;
    let request = ApplyRequest {
        manifest: text,
        file: file.display().to_string(),
        artifacts: artifacts.into_iter().collect(),
        dry_run: args.dry_run,
        if_revision: args.if_revision,
        request_id: operation::request_id(),
    };
    let started = client.apply(request).await?.into_inner();
    let on_trial = on_trial(&manifest, &started.changes);
    let app = manifest.app.to_string();
    operation::go_on(client, started, global, args.dry_run, args.detach).await?;
    if on_trial && !args.dry_run {
        global.output.note(&format!(
            "new versions are on trial with a part of the calls: `lattice promote {app}` gives them all of them, and \
             `lattice abort {app}` takes them back"
        ));
    }
    Ok(())
}

/// Whether something changed of an actor whose new versions are tried first.
fn on_trial(manifest: &Manifest, changes: &[String]) -> bool {
    let tried = manifest.actors.iter().filter(|(_, actor)| actor.settings.update.canary.is_some());
    let changed = |name: &str| changes.iter().any(|change| change.starts_with(&format!("~ {name}: ")));
    tried.into_iter().any(|(name, _)| changed(name.as_str()))
}
