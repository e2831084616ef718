//! Lines of logs as the API shows them.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use lattice_proto::ActorId;
use lattice_proto::admin::{LogLine, WatchLogsRequest};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::error;
use crate::logs::{Error, Read, Reading, Selection};

/// Those who may read logs through one node at once. Each asks all nodes again and again.
pub(super) const READERS_AT_ONCE: usize = 64;

/// What a client reads.
pub(super) type Logs = Pin<Box<dyn Stream<Item = Result<LogLine, Status>> + Send>>;

/// What is asked for, or why it cannot be.
pub(super) fn select(request: &WatchLogsRequest) -> Result<Selection, String> {
    let actor: Option<ActorId> = match request.actor.as_str() {
        "" if request.node.is_empty() => {
            return Err("name an actor, or a node for what that says of itself".to_owned());
        }
        "" => None,
        actor => Some(actor.parse().map_err(|error| format!("{error}"))?),
    };
    let node = match request.node.as_str() {
        "" => None,
        node => Some(node.parse().map_err(|error| format!("{error}"))?),
    };
    let level = match request.level.as_str() {
        "" => Ok(lattice_proto::log::Level::Trace),
        level => level.parse(),
    };
    Ok(Selection {
        key: actor.as_ref().and_then(|actor| actor.key.clone()),
        actor: actor.map(|actor| actor.name),
        node,
        since: Some(request.since_ms).filter(|ms| *ms > 0).map(Duration::from_millis),
        last: Some(request.last).filter(|last| *last > 0),
        follow: request.follow,
        level: level?,
    })
}

pub(super) fn refuse(error: &Error) -> Status {
    match error {
        Error::Bus(error) => error::from_bus(error),
        Error::NoSuchNode(_) => error::missing(error),
    }
}

/// Lines one by one, as fast as the client takes them, until the node stops.
pub(super) fn stream(reading: Reading, place: OwnedSemaphorePermit, stop: CancellationToken) -> Logs {
    Box::pin(futures::stream::unfold(Some((reading, place, stop)), async |state| {
        let (mut reading, place, stop) = state?;
        match stop.clone().run_until_cancelled(reading.next()).await {
            Some(Some(read)) => Some((Ok(describe(read)), Some((reading, place, stop)))),
            Some(None) => None,
            None => Some((Err(error::unavailable("the node stops; ask another one")), None)),
        }
    }))
}

fn describe(Read { node, line }: Read) -> LogLine {
    let (trace_id, span_id) = match line.trace {
        Some(trace) => (format!("{:032x}", trace.trace_id), format!("{:016x}", trace.span_id)),
        None => (String::new(), String::new()),
    };
    LogLine {
        at_ms: line.at_ms,
        node: node.to_string(),
        number: line.number,
        level: line.level.as_str().to_owned(),
        actor: line.actor.map(|actor| actor.to_string()).unwrap_or_default(),
        key: line.key.map(|key| key.to_string()).unwrap_or_default(),
        version: line.version,
        target: line.target,
        trace_id,
        span_id,
        text: line.text,
        source: if line.by_node { "node" } else { "guest" }.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_selected_is_told() {
        let of = |actor: &str, node: &str, level: &str| WatchLogsRequest {
            actor: actor.into(),
            node: node.into(),
            level: level.into(),
            ..WatchLogsRequest::default()
        };
        assert!(select(&of("", "", "")).unwrap_err().contains("name an actor"));
        assert!(select(&of("", "n1", "")).unwrap().actor.is_none());
        let one = select(&of("cart/alice", "", "warn")).unwrap();
        assert_eq!((one.actor.unwrap().as_str(), one.key.as_deref()), ("cart", Some("alice")));
        assert!(select(&of("Cart", "", "")).is_err());
        assert!(select(&of("cart", "", "loud")).unwrap_err().contains("trace, debug"));
    }
}
