//! Messages of an actor as the API shows them, and who was shown them.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::Stream;
use lattice_proto::admin::{TapRequest, TappedBody, TappedMessage};
use lattice_proto::tap::{Body, MAX_FIELD, MAX_HIDDEN, MAX_RATE};
use lattice_proto::{ActorId, ActorName, NodeName};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::error;
use crate::events::Events;
use crate::tap::{Error, Reading, Selection, Told};

/// Those who may watch messages through one node at once. Each asks all nodes again and again.
pub(super) const READERS_AT_ONCE: usize = 16;

/// Watches that may begin through one node in a minute. Two events tell of each, and nobody is to push out what others have told.
const BEGUN: u32 = 30;
const MINUTE: Duration = Duration::from_secs(60);

/// Messages in a second from each node, unless somebody says how many; and the most that may be said.
const PER_SECOND: u32 = 10;
const MOST: u32 = MAX_RATE;

/// What a client watches.
pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<TappedMessage, Status>> + Send>>;

/// What is asked for, or why it cannot be.
pub(super) fn select(request: &TapRequest) -> Result<Selection, String> {
    let ActorId { name: actor, key } = request.actor.parse().map_err(|error| format!("{error}"))?;
    let operation = match request.operation.as_str() {
        "" => None,
        operation => Some(operation.parse().map_err(|error| format!("{error}"))?),
    };
    let hide = &request.hide;
    if hide.len() > MAX_HIDDEN {
        return Err(format!("at most {MAX_HIDDEN} fields can be hidden"));
    }
    let is_field = |field: &String| field.len() <= MAX_FIELD && field.chars().any(char::is_alphanumeric);
    if let Some(field) = hide.iter().find(|field| !is_field(field)) {
        let rule = format!("a field has a letter or a digit, and {MAX_FIELD} bytes at most");
        return Err(format!("`{}` cannot be hidden: {rule}", field.escape_default()));
    }
    let per_second = match request.per_second {
        0 => PER_SECOND,
        per_second if per_second > MOST => {
            return Err(format!("at most {MOST} messages a second can be watched"));
        }
        per_second => per_second,
    };
    Ok(Selection { actor, key, operation, per_second, hide: hide.clone() })
}

pub(super) fn refuse(error: &Error) -> Status {
    match error {
        Error::Bus(error) => error::from_bus(error),
        Error::NoSuchActor(_) => error::missing(error),
    }
}

/// How many watches have begun in the present minute.
#[derive(Debug, Default)]
pub(super) struct Rate(Mutex<Option<(Instant, u32)>>);

impl Rate {
    /// Counts one more.
    ///
    /// # Errors
    /// When there were too many.
    pub(super) fn admit(&self) -> Result<(), Status> {
        let mut rate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, begun) =
            rate.filter(|(since, _)| since.elapsed() < MINUTE).unwrap_or((Instant::now(), 0));
        if begun >= BEGUN {
            let text =
                format!("{BEGUN} watches have begun on this node within a minute; try again in a minute");
            return Err(error::unavailable(text));
        }
        *rate = Some((since, begun + 1));
        Ok(())
    }
}

/// Who watches what. An event tells when it begins and, with how much was shown, when it ends.
pub(super) struct Audit {
    events: Events,
    actor: ActorName,
    who: String,
    what: String,
    shown: u64,
}

/// Watching has begun.
pub(super) struct Begun(Audit);

impl Audit {
    pub(super) fn new(events: Events, selection: &Selection, holder: Option<String>) -> Self {
        let who = match holder {
            Some(name) => format!("the token `{name}`"),
            None => "somebody without a token".to_owned(),
        };
        let key = selection.key.as_deref().map(|key| format!(" of the key `{key}`")).unwrap_or_default();
        let operation =
            selection.operation.as_ref().map(|operation| format!(" `{operation}`")).unwrap_or_default();
        Self {
            events,
            actor: selection.actor.clone(),
            who,
            what: format!("messages{operation}{key}"),
            shown: 0,
        }
    }

    /// # Errors
    /// Where it cannot be told: then nothing is shown.
    pub(super) fn begin(self) -> Result<Begun, Status> {
        let Self { events, actor, who, what, .. } = &self;
        if !events.tapped(actor, &format!("{who} watches {what}")) {
            return Err(error::unavailable("too much happens on this node to tell who watches; try again"));
        }
        Ok(Begun(self))
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let Audit { events, actor, who, what, shown } = &self.0;
        events.tapped(actor, &format!("{who} watches {what} no more, after {shown} were sent"));
    }
}

/// Messages one by one, as fast as the client takes them, until the node stops.
pub(super) fn stream(
    reading: Reading,
    begun: Begun,
    place: OwnedSemaphorePermit,
    stop: CancellationToken,
) -> Messages {
    Box::pin(futures::stream::unfold(Some((reading, begun, place, stop)), async |state| {
        let (mut reading, mut begun, place, stop) = state?;
        match stop.clone().run_until_cancelled(reading.next()).await {
            Some(told) => {
                begun.0.shown += u64::from(matches!(told, Told::Message(..)));
                Some((Ok(describe(told)), Some((reading, begun, place, stop))))
            }
            None => Some((Err(error::unavailable("the node stops; ask another one")), None)),
        }
    }))
}

fn describe(told: Told) -> TappedMessage {
    let of = |node: NodeName| TappedMessage { node: node.to_string(), ..TappedMessage::default() };
    match told {
        Told::Skipped(node, skipped) => TappedMessage { skipped, ..of(node) },
        Told::Refused(node, problem) => TappedMessage { problem, ..of(node) },
        Told::Message(node, message) => {
            let (answer, fault) = match message.outcome {
                Ok(answer) => (Some(body(answer)), String::new()),
                Err(kind) => (None, kind),
            };
            TappedMessage {
                at_ms: message.at_ms,
                actor: message.actor,
                key: message.key.unwrap_or_default(),
                operation: message.operation,
                caller: message.caller.unwrap_or_default(),
                cause: message.cause,
                message_id: message.id,
                trace_id: message.trace.map(|id| format!("{id:032x}")).unwrap_or_default(),
                attempt: message.attempt,
                version: message.version,
                took_us: message.took_us,
                payload: Some(body(message.payload)),
                answer,
                fault,
                ..of(node)
            }
        }
    }
}

fn body(body: Body) -> TappedBody {
    let Body { bytes, content_type, json, cut } = body;
    TappedBody { bytes, content_type, json: json.unwrap_or_default(), cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_begin_in_a_minute_and_no_more() {
        let rate = Rate::default();
        assert_eq!((0..100).filter(|_| rate.admit().is_ok()).count(), 30);
        *rate.0.lock().unwrap() = Some((Instant::now().checked_sub(MINUTE).unwrap(), BEGUN));
        assert!(rate.admit().is_ok());
    }

    #[test]
    fn what_cannot_be_watched_is_told() {
        let of = |actor: &str, operation: &str, per_second, hide: &[&str]| {
            let hide = hide.iter().map(|field| (*field).to_owned()).collect();
            select(&TapRequest { actor: actor.into(), operation: operation.into(), per_second, hide })
        };
        let all = of("cart/alice", "", 0, &["e-mail"]).unwrap();
        assert_eq!((all.actor.as_str(), all.key.as_deref(), all.per_second), ("cart", Some("alice"), 10));
        assert!(of("", "", 0, &[]).is_err() && of("Cart", "", 0, &[]).is_err());
        assert!(of("cart", "no operation", 0, &[]).is_err());
        assert!(of("cart", "", 1_001, &[]).unwrap_err().contains("1000"));
        assert!(of("cart", "", 0, &["-"]).unwrap_err().contains("letter"));
        assert!(of("cart", "", 0, &["x"; 65]).unwrap_err().contains("64"));
    }
}
