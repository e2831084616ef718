//! Joining a lattice: connects, listens to this node's inbox, takes its name, and becomes a member. It waits for NATS as
//! long as it takes, and never decides what to do meanwhile.

use std::time::Duration;

use lattice_proto::record::{self, Shards};
use lattice_proto::subject::Control;

use super::member::{self, Member};
use crate::Error;
use crate::bus::Opening;
use crate::membership;
use crate::router::Inboxes;

/// The pause before a name is asked for again, when NATS went away while it was.
const RETRY: Duration = Duration::from_millis(250);

/// Returns when this node is a member; `waiting` is told what keeps it from that.
///
/// # Errors
/// When waiting cannot help: NATS refuses or is not good enough, or another node has the name.
pub(super) async fn join(
    opening: Opening,
    inboxes: Inboxes,
    parts: member::Parts,
    mut waiting: impl FnMut(&str) + Send,
) -> Result<Member, Error> {
    opening.calls(&mut waiting).await?;
    // Nobody is called before routes can be read, so no reply can come before there is somebody to hear it.
    let opened = inboxes.open().await?;
    opening.control(&parts.subjects, &mut waiting).await?;
    let mut last = String::new();
    let keeper = loop {
        match membership::take_name(&parts.bus, &parts.subjects, &parts.me).await {
            Ok(keeper) => break keeper,
            Err(membership::Error::Bus(error)) => {
                let reason = format!("the node's name cannot be taken: {error}");
                if reason != last {
                    waiting(&reason);
                    last = reason;
                }
                tokio::time::sleep(RETRY).await;
            }
            Err(taken) => return Err(taken.into()),
        }
    };
    if let Some(wanted) = parts.shards {
        match shards(&parts, &mut waiting).await {
            Some(there) if there != wanted => return Err(Error::Shards { there, wanted }),
            _ => {}
        }
    }
    if let Some((server_version, _)) = parts.bus.control.server() {
        tracing::info!(server_version, "connected to NATS");
    }
    Member::start(parts, keeper, (inboxes, opened)).await
}

/// How many shards the lattice was born with; none while it has had no keyed actor yet.
async fn shards(parts: &member::Parts, waiting: &mut impl FnMut(&str)) -> Option<u16> {
    let key = parts.subjects.control(&Control::Shards);
    let mut last = String::new();
    loop {
        match parts.bus.decisions.newest(&key).await {
            Ok(entry) => {
                let shards = entry.and_then(|entry| record::decode::<Shards>(&entry.value?).ok())?;
                return Some(shards.count());
            }
            Err(error) => {
                let reason = format!("the number of shards cannot be read: {error}");
                if reason != last {
                    waiting(&reason);
                    last = reason;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
