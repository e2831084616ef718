//! Pictures of the lattice as the API shows them.

use std::pin::Pin;

use futures::Stream;
use lattice_proto::admin::Picture;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::error;
use crate::survey::Surveyor;

/// Those who may watch through one node at once. All of them see the same pictures.
pub(super) const WATCHERS_AT_ONCE: usize = 256;

/// What a client watches.
pub(super) type Pictures = Pin<Box<dyn Stream<Item = Result<Picture, Status>> + Send>>;

/// Pictures as they come, until the node stops. A client that is slow misses some.
pub(super) fn stream(
    surveyor: &Surveyor,
    limit: u64,
    place: OwnedSemaphorePermit,
    stop: CancellationToken,
) -> Pictures {
    let left = if limit == 0 { u64::MAX } else { limit };
    let start = Some((surveyor.watch(), left, place, stop));
    Box::pin(futures::stream::unfold(start, async |state| {
        let (mut pictures, left, place, stop) = state.filter(|(_, left, _, _)| *left > 0)?;
        match stop.clone().run_until_cancelled(pictures.next()).await {
            Some(Some(picture)) => Some((Ok((*picture).clone()), Some((pictures, left - 1, place, stop)))),
            Some(None) | None => Some((Err(error::unavailable("the node stops; ask another one")), None)),
        }
    }))
}
