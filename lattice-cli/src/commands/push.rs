//! `lattice push`: puts a component into a registry, and says by which line a manifest names it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use lattice_oci::{About, Component, NoComponent, Pushed};
use lattice_proto::{MAX_ARTIFACT, Ran, Reference};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::registry::{View, Way, failure};
use crate::cli::Global;
use crate::failure::Failure;
use crate::progress::Progress;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A component, as `lattice build` makes one
    file: PathBuf,
    /// Where it goes, such as oci://ghcr.io/acme/cart:1.2
    reference: Reference,
    #[command(flatten)]
    registry: Way,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let Args { file, reference, registry } = args;
    if reference.tag().is_none() || reference.digest().is_some() {
        let message = "name a tag and no digest, which comes of what is pushed: `oci://HOST/NAME:TAG`";
        return Err(Failure::usage(message));
    }
    let component = read(&file)?;
    let about = about(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref())?;
    let (client, login) = registry.client(&reference)?;
    let (size, shown) = (component.size(), file.display().to_string());
    let mut progress = Progress::new(global.output, "pushing bytes");
    progress.update(0, size, &shown);
    let told = |gone| progress.update(gone, size, &shown);
    let pushed = client.push(&reference, &component, &about, login, told).await;
    drop(progress);
    let Pushed { manifest, layer, media_type } = pushed.map_err(|error| failure(error, &reference))?;
    let reference = reference.pinned(manifest);
    let view = View {
        reference: reference.to_string(),
        digest: layer.to_string(),
        size,
        media_type: media_type.to_owned(),
    };
    global.output.print(&view, |view| format!("artifact = \"{}\"", view.reference))
}

/// Reads a component, and not more of it than an artifact may have.
fn read(file: &Path) -> Result<Component, Failure> {
    let shown = file.display();
    let unreadable = |error: std::io::Error| {
        let message = format!("{shown} cannot be read: {error}; `lattice build` makes components");
        Failure::new("no-artifact", Ran::No, message).misused()
    };
    let refused = |error: NoComponent| {
        let kind = if matches!(error, NoComponent::TooLarge(_)) { "too-large" } else { "invalid-artifact" };
        Failure::new(kind, Ran::No, format!("{shown} is not pushed: {error}"))
    };
    let open = std::fs::File::open(file).map_err(unreadable)?;
    let size = open.metadata().map_err(unreadable)?.len();
    if size > MAX_ARTIFACT {
        return Err(refused(NoComponent::TooLarge(size)));
    }
    let mut bytes = Vec::new();
    open.take(MAX_ARTIFACT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Component::read(bytes.into()).map_err(refused)
}

/// What is said of it besides. The same component is the same artifact whenever it is pushed, unless who builds it says when that was.
fn about(epoch: Option<&str>) -> Result<About, Failure> {
    let moment = match epoch {
        Some(text) => {
            let seconds =
                text.parse().ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
            seconds.ok_or_else(|| Failure::usage("SOURCE_DATE_EPOCH: expected seconds since 1970"))?
        }
        None => OffsetDateTime::UNIX_EPOCH,
    };
    let created = moment.format(&Rfc3339).map_err(|_| Failure::usage("SOURCE_DATE_EPOCH is too far away"))?;
    let known = epoch.map(|_| ("org.opencontainers.image.created".to_owned(), created.clone()));
    Ok(About { created, annotations: known.into_iter().collect::<BTreeMap<_, _>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_written_unless_one_is_named() {
        let plain = about(None).unwrap();
        assert_eq!((plain.created.as_str(), plain.annotations.len()), ("1970-01-01T00:00:00Z", 0));
        let dated = about(Some("1767225599")).unwrap();
        assert_eq!(dated.annotations["org.opencontainers.image.created"], "2025-12-31T23:59:59Z");
        assert!(about(Some("yesterday")).is_err());
    }
}
