//! Takes artifacts away that no kept revision names. The leader does it now and then; it never touches copies on nodes.
//!
//! Rules:
//! 1. An artifact is stored before the revision that names it is, so what nobody names is left alone for a time. It is
//!    counted from when this leader first found it so, which needs no clock but its own.
//! 2. A revision may come to name an old one at any moment. So it is looked again after an artifact was taken away, and the
//!    artifact is put back if it is named by then, or if that cannot be told; whoever declares looks as well, after the
//!    revision is stored. One of the two comes second.
//! 3. What is named and missing all the same is put back in the next round, where the leader has a copy.
//! 4. While any revision cannot be read nothing is taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lattice_proto::Digest;
use lattice_proto::record::App;
use lattice_proto::subject::Control;

use super::{Context, observe};
use crate::artifact::{self, Artifacts};
use crate::bus;

/// The longest pause between two rounds.
const PAUSE: Duration = Duration::from_secs(600);

/// Goes on for as long as it is let. What nobody names is left alone for `grace`.
pub(super) async fn run(context: Context, artifacts: Artifacts, grace: Duration) {
    let pause = (grace / 4).clamp(Duration::from_millis(100), PAUSE);
    let mut unnamed = BTreeMap::new();
    loop {
        // With jitter, and never at once: a leader that has just taken office has better things to do.
        tokio::time::sleep(pause + pause.mul_f64(fastrand::f64() / 4.0)).await;
        if let Err(error) = collect(&context, &artifacts, grace, &mut unnamed).await {
            tracing::debug!(%error, "artifacts were not collected; it is tried again");
        }
    }
}

/// One round; `unnamed` are those that nobody named, with the time since.
async fn collect(
    context: &Context,
    artifacts: &Artifacts,
    grace: Duration,
    unnamed: &mut BTreeMap<Digest, Instant>,
) -> Result<(), artifact::Error> {
    let stored = artifacts.list().await?;
    // Read after the list: what is declared in between is named then.
    let named = named(context).await?;
    for missing in named.difference(&stored) {
        match artifacts.restore(missing).await {
            Ok(()) => {
                tracing::warn!(digest = %missing, "an artifact that a revision names was missing, and is back")
            }
            Err(error) => {
                tracing::warn!(digest = %missing, %error, "an artifact that a revision names is missing")
            }
        }
    }
    let now = Instant::now();
    unnamed.retain(|digest, _| stored.contains(digest) && !named.contains(digest));
    for digest in stored.difference(&named) {
        unnamed.entry(digest.clone()).or_insert(now);
    }
    let old = unnamed.iter().filter(|(_, since)| now.duration_since(**since) >= grace);
    let garbage: Vec<Digest> = old.map(|(digest, _)| digest.clone()).collect();
    for digest in garbage {
        // Kept here first, so that it can be put back; what is of no use to anybody needs not.
        match artifacts.keep(&digest).await {
            Ok(()) | Err(artifact::Error::Damaged(_) | artifact::Error::Missing(_)) => {}
            Err(error) => return Err(error),
        }
        artifacts.remove(&digest).await?;
        unnamed.remove(&digest);
        match self::named(context).await {
            Ok(named) if !named.contains(&digest) => {
                tracing::info!(%digest, "an artifact that no revision needs was taken away");
            }
            Ok(_) => artifacts.restore(&digest).await?,
            Err(error) => {
                artifacts.restore(&digest).await?;
                return Err(error.into());
            }
        }
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
