//! Takes artifacts away that no kept revision names. The leader does it now and then; it never touches copies on nodes.
//!
//! Rules:
//! 1. An artifact is stored before the revision that names it is, so what is young is left alone.
//! 2. A revision may come to name an old one at any moment. So it is looked again after an artifact was taken away, and the
//!    artifact is put back if it is named by then; whoever declares looks as well, after the revision is stored. One of the
//!    two comes second.
//! 3. While any revision cannot be read nothing is taken away.

use std::collections::BTreeSet;
use std::time::Duration;

use lattice_proto::Digest;
use lattice_proto::record::App;
use lattice_proto::subject::Control;

use super::{Context, observe};
use crate::artifact::{self, Artifacts};
use crate::bus;

/// The longest pause between two rounds.
const PAUSE: Duration = Duration::from_secs(600);

/// Goes on for as long as it is let. What is younger than `grace` is left alone.
pub(super) async fn run(context: Context, artifacts: Artifacts, grace: Duration) {
    let pause = (grace / 4).clamp(Duration::from_millis(100), PAUSE);
    loop {
        // With jitter, and never at once: a leader that has just taken office has better things to do.
        tokio::time::sleep(pause + pause.mul_f64(fastrand::f64() / 4.0)).await;
        if let Err(error) = collect(&context, &artifacts, grace).await {
            tracing::debug!(%error, "artifacts were not collected; it is tried again");
        }
    }
}

async fn collect(context: &Context, artifacts: &Artifacts, grace: Duration) -> Result<(), artifact::Error> {
    let stored = artifacts.list().await?;
    // Read after the list: what is declared in between is named then.
    let named = named(context).await?;
    let garbage = stored.into_iter().filter(|(digest, age)| *age >= grace && !named.contains(digest));
    for (digest, _) in garbage {
        // Kept here first, so that it can be put back; what is of no use to anybody needs not.
        match artifacts.keep(&digest).await {
            Ok(()) | Err(artifact::Error::Damaged(_) | artifact::Error::Missing(_)) => {}
            Err(error) => return Err(error),
        }
        artifacts.remove(&digest).await?;
        if self::named(context).await?.contains(&digest) {
            artifacts.restore(&digest).await?;
            continue;
        }
        tracing::info!(%digest, "an artifact that no revision needs was taken away");
    }
    Ok(())
}

/// The artifacts of all revisions that are kept.
async fn named(context: &Context) -> Result<BTreeSet<Digest>, bus::Error> {
    let listing = observe::read_control(&context.bus.decisions, &context.subjects).await?;
    let mut named = BTreeSet::new();
    for entry in &listing.entries {
        if let Ok(Control::Spec(..)) = context.subjects.parse_control(&entry.key) {
            let app: App = observe::decode(entry)?;
            named.extend(app.actors.into_values().map(|actor| actor.digest));
        }
    }
    Ok(named)
}
