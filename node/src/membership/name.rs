//! Taking a node's name, and keeping it while the node runs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_proto::NodeName;
use lattice_proto::record::Lease;
use lattice_proto::subject::{Inbox, Subjects};

use super::lease::holder;
use super::{Fence, Identity, Keeper, RENEW, Renewal, node_key};
use crate::bus::{self, Bus, LEASE, RequestError};
use crate::clock::{ServerClock, boottime};

/// Why a node cannot have its name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody has it and answers.
    #[error(
        "a node named `{name}` is running in this lattice already (incarnation {holder}); \
         stop it, or give this one another --name"
    )]
    Taken {
        /// The name.
        name: NodeName,
        /// Who has it.
        holder: String,
    },
    /// The bus failed.
    #[error("cannot take the node's name")]
    Bus(#[from] bus::Error),
}

/// How long a ping to the holder of a name may take.
const PING: Duration = Duration::from_secs(1);

/// How often the server's clock is read again. Clocks drift by less than a millisecond in this time.
const CLOCK: Duration = Duration::from_secs(10);

/// Takes the name. Waits for at most one lease when its holder neither answers nor is surely gone.
///
/// # Errors
/// [`Error::Taken`] when the holder lives.
pub async fn take_name(bus: &Bus, subjects: &Subjects, me: &Identity) -> Result<Keeper, Error> {
    let mut keeper = Keeper::new(bus.leases.clone(), node_key(&me.name), me);
    let mut silent = None;
    loop {
        let entry = bus.leases.get(&node_key(&me.name)).await?;
        let revision = entry.as_ref().map_or(0, |entry| entry.revision);
        if let Some(lease) = holder(entry.as_ref()) {
            let taken = || Error::Taken { name: me.name.clone(), holder: lease.incarnation.to_string() };
            let inbox = subjects.inbox(&lease.incarnation, &Inbox::Ping);
            match bus.calls.request(inbox, Bytes::new(), PING).await {
                Ok(_) => return Err(taken()),
                Err(RequestError::NoResponders) => {}
                // Silent, and yet it renewed since the last look: it lives.
                Err(_) if silent.is_some_and(|before| before != revision) => return Err(taken()),
                Err(_) => {
                    tracing::info!(name = %me.name, "the name is held by a node that does not answer; waiting for its lease to end");
                    silent = Some(revision);
                    tokio::time::sleep(LEASE).await;
                    continue;
                }
            }
        }
        match keeper.take(revision).await {
            Ok(()) => return Ok(keeper),
            Err(bus::Error::Conflict) => continue,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Keeps the name until somebody else has it, whose lease is then returned. Holds the fence open meanwhile, and reads the
/// server's clock on the way.
pub async fn keep(
    mut keeper: Keeper,
    bus: Bus,
    me: Identity,
    clock: Arc<ServerClock>,
    fence: Fence,
    stop: tokio_util::sync::CancellationToken,
) -> Option<Lease> {
    let mut tick = tokio::time::interval(RENEW);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut clock_read: Option<tokio::time::Instant> = None;
    fence.hold(keeper.expires());
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => {
                fence.close();
                keeper.release().await;
                return None;
            }
        }
        let sent = boottime();
        match keeper.renew().await {
            Renewal::Kept => {
                fence.hold(keeper.expires());
                if clock_read.is_none_or(|read| read.elapsed() > CLOCK) {
                    let acknowledged = boottime();
                    let key = node_key(&me.name);
                    // The revision tells whether what is read is what was just written. The next renewal is not held up
                    // by a server that does not answer.
                    if let Ok(Ok(Some(entry))) = tokio::time::timeout(RENEW, bus.leases.get(&key)).await
                        && entry.revision == keeper.revision()
                    {
                        clock.learn(sent, acknowledged, entry.stored_ms);
                        clock_read = Some(tokio::time::Instant::now());
                    }
                }
            }
            Renewal::KeptBefore => fence.hold(keeper.expires()),
            Renewal::Retaken => {
                fence.close();
                fence.hold(keeper.expires());
            }
            Renewal::Lost(lease) => {
                fence.close();
                return Some(lease);
            }
            Renewal::Unclear => {}
        }
    }
}
