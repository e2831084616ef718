//! Events as the API shows them.

use std::pin::Pin;

use futures::Stream;
use lattice_proto::admin::{Event, WatchEventsRequest};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::error;
use crate::events::{ReadError, Reading, Selection, Told};

/// Those who may read events through one node at once. Each costs the node one batch of them at most.
pub(super) const READERS_AT_ONCE: usize = 256;

/// What a client reads.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

/// What is asked for, or why it cannot be.
pub(super) fn select(request: &WatchEventsRequest) -> Result<Selection, String> {
    if request.after.is_some() && request.since_ms > 0 {
        return Err("`after` and `since_ms` both say where to begin; give one of them".to_owned());
    }
    let kinds = request.kinds.iter().map(|kind| kind.parse().map_err(|error| format!("{error}")));
    Ok(Selection {
        after: request.after,
        since_ms: Some(request.since_ms).filter(|since| *since > 0),
        follow: request.follow,
        kinds: kinds.collect::<Result<_, _>>()?,
        subject: Some(request.subject.clone()).filter(|subject| !subject.is_empty()),
    })
}

/// Events one by one, as fast as the client takes them.
pub(super) fn stream(reading: Reading, limit: u64, place: OwnedSemaphorePermit) -> Events {
    let left = if limit == 0 { u64::MAX } else { limit };
    Box::pin(futures::stream::unfold(Some((reading, left, place)), async |state| {
        let (mut reading, left, place) = state.filter(|(_, left, _)| *left > 0)?;
        match reading.next().await {
            Ok(told) => Some((Ok(describe(told?)), Some((reading, left - 1, place)))),
            Err(error) => Some((Err(refuse(&error)), None)),
        }
    }))
}

pub(super) fn refuse(error: &ReadError) -> Status {
    match error {
        ReadError::TooOld { .. } => error::cursor_too_old(error),
        ReadError::Ahead { .. } => error::invalid(error),
        ReadError::Bus(error) => error::from_bus(error),
        ReadError::Stopping => error::unavailable(error),
    }
}

fn describe(told: Told) -> Event {
    let Told { cursor, event } = told;
    Event {
        cursor,
        at_ms: event.at_ms,
        node: event.node.to_string(),
        kind: event.kind.to_string(),
        subject: event.subject,
        revision: event.revision.unwrap_or(0),
        text: event.text,
        count: event.count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_proto::event::Kind;

    #[test]
    fn what_cannot_be_selected_is_told() {
        let of = |kinds: &[&str]| WatchEventsRequest {
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            ..WatchEventsRequest::default()
        };
        assert_eq!(select(&of(&["app-met", "scaled"])).unwrap().kinds, [Kind::AppMet, Kind::Scaled]);
        assert!(select(&of(&["app-mad"])).unwrap_err().contains("app-met"));
        let both = WatchEventsRequest { after: Some(0), since_ms: 1, ..WatchEventsRequest::default() };
        assert!(select(&both).is_err());
    }
}
