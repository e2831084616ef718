//! Messages for which nobody waits: sending one, and looking after those that nobody could handle.

use std::time::{Duration, Instant};

use lattice_proto::admin::{
    self, DropDeadLetterResponse, ListDeadLettersRequest, ListDeadLettersResponse, SendRequest, SendResponse,
};
use lattice_proto::envelope::{ContentType, TraceContext};
use lattice_proto::letter::Letter;
use lattice_proto::{ActorId, ActorName, Fault, MessageId, Operation};
use tonic::{Request, Status};

use super::page::Page;
use super::service::timeout;
use super::{Parts, error};
use crate::bus::Posted;
use crate::keyed::Dead;
use crate::telemetry::{Scope, Span};

/// The pause between tries.
const AGAIN: Duration = Duration::from_millis(50);

/// Posts a message, and answers when it is stored.
pub(super) async fn send(parts: &Parts, request: Request<SendRequest>) -> Result<SendResponse, Status> {
    let header = |name: &str| {
        request.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (parent, state) = (header("traceparent"), header("tracestate"));
    let request = request.into_inner();
    let parent = if request.traceparent.is_empty() { parent } else { request.traceparent };
    let target: ActorId = request.target.parse().map_err(error::invalid)?;
    let operation: Operation = request.operation.parse().map_err(error::invalid)?;
    let content_type = ContentType::parse(&request.content_type).map_err(error::invalid)?;
    let id = match request.request_id.as_str() {
        "" => parts.router.message_id(),
        id => id.parse().map_err(|problem| error::invalid(format!("request_id: {problem}")))?,
    };
    let timeout = timeout(request.timeout_ms);
    let mut span = Span::send(TraceContext::parse(&parent, &state).map(Scope::from), &target, &operation);
    let letter = Letter {
        id,
        target,
        operation,
        payload: request.payload,
        content_type,
        sender: None,
        number: None,
        trace: span.scope().map(|scope| scope.context),
        sent_ms: parts.letters.now_ms(),
        topic: None,
    };
    let deadline = Instant::now() + timeout;
    let posted = match parts.router.check_letter(&letter, deadline).await {
        Ok(()) => post(parts, &letter, deadline).await,
        Err(fault) => Err(fault),
    };
    if let Err(fault) = &posted {
        span.fail(fault);
    }
    posted.map_err(|fault| error::from_fault(&fault))?;
    Ok(SendResponse { id: letter.id.to_string() })
}

/// Posts a letter, as often as it takes until the deadline: under one id it is stored once.
async fn post(parts: &Parts, letter: &Letter, deadline: Instant) -> Result<(), Fault> {
    let mut unsure = None;
    loop {
        match parts.letters.post(letter).await {
            Posted::Stored => return Ok(()),
            Posted::Full => {
                return Err(Fault::Overloaded(format!("{} (its mailbox has no room)", letter.target)));
            }
            Posted::Unsent => {}
            Posted::Unsure(reason) => unsure = Some(reason),
        }
        if Instant::now() + AGAIN >= deadline {
            return Err(match unsure {
                Some(reason) => Fault::Unknown(format!("{} (it may be stored: {reason})", letter.target)),
                None => {
                    let name = &letter.target;
                    Fault::NoReplica(format!("NATS cannot be reached to store a message for `{name}`"))
                }
            });
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The dead letters, without their payloads.
pub(super) async fn list(
    parts: &Parts,
    request: ListDeadLettersRequest,
) -> Result<ListDeadLettersResponse, Status> {
    let ListDeadLettersRequest { actor, page_size, page_token } = request;
    let page = Page::parse("dead-letters", page_size, &page_token).map_err(error::invalid)?;
    let actor: Option<ActorName> = match actor.as_str() {
        "" => None,
        actor => Some(actor.parse().map_err(error::invalid)?),
    };
    let known = parts.letters.dead(actor.as_ref()).await.map_err(|error| error::from_bus(&error))?;
    let known = known.into_iter().map(|(id, actor)| (id.clone(), (id, actor))).collect();
    let fetch = |(id, actor): (MessageId, ActorName)| {
        let letters = parts.letters.clone();
        async move {
            let dead = letters.read_dead(&id, actor).await.map_err(|error| error::from_bus(&error))?;
            let payload = bytes::Bytes::new();
            Ok::<_, Status>(dead.map(|dead| admin::DeadLetter { payload, ..describe(&id, dead) }))
        }
    };
    let (letters, next_page_token) = page.fetch(known, fetch).await?;
    Ok(ListDeadLettersResponse { letters, next_page_token })
}

/// One of them.
pub(super) async fn get(parts: &Parts, id: &str) -> Result<admin::DeadLetter, Status> {
    let (id, dead) = find(parts, id).await?;
    Ok(describe(&id, dead))
}

/// Sends it anew.
pub(super) async fn retry(parts: &Parts, id: &str) -> Result<SendResponse, Status> {
    let (id, dead) = find(parts, id).await?;
    let dead = dead.letter.map_err(|reason| {
        error::invalid(format!("`{id}` cannot be sent anew, because it cannot be read: {reason}"))
    })?;
    if dead.left_out > 0 {
        return Err(error::invalid(format!(
            "`{id}` cannot be sent anew, because its payload of {} bytes was too large to be kept with it",
            dead.left_out
        )));
    }
    match parts.letters.retry(&dead).await.map_err(|error| error::from_bus(&error))? {
        Ok(id) => Ok(SendResponse { id: id.to_string() }),
        Err(Posted::Full) => Err(error::from_fault(&Fault::Overloaded(format!(
            "{} (its mailbox has no room)",
            dead.letter.target
        )))),
        Err(_) => Err(error::unavailable(
            "NATS does not say that it is stored; the dead letter is kept, try once more",
        )),
    }
}

/// Forgets it.
pub(super) async fn forget(parts: &Parts, id: &str) -> Result<DropDeadLetterResponse, Status> {
    let (id, dead) = find(parts, id).await?;
    parts.letters.forget(&dead.actor, &id).await.map_err(|error| error::from_bus(&error))?;
    Ok(DropDeadLetterResponse {})
}

async fn find(parts: &Parts, id: &str) -> Result<(MessageId, Dead), Status> {
    let id: MessageId = id.parse().map_err(error::invalid)?;
    let dead = parts.letters.dead_letter(&id).await.map_err(|error| error::from_bus(&error))?;
    let dead = dead.ok_or_else(|| {
        error::missing(format!(
            "there is no dead letter `{id}`; `lattice dead-letters list` lists what there is"
        ))
    })?;
    Ok((id, dead))
}

fn describe(id: &MessageId, dead: Dead) -> admin::DeadLetter {
    let Dead { actor, letter } = dead;
    match letter {
        Ok(dead) => admin::DeadLetter {
            id: id.to_string(),
            target: dead.letter.target.to_string(),
            operation: dead.letter.operation.to_string(),
            payload: dead.letter.payload,
            content_type: dead.letter.content_type.as_str().to_owned(),
            sender: dead.letter.sender.as_deref().unwrap_or_default().to_owned(),
            sent_ms: dead.letter.sent_ms,
            reason: dead.reason,
            tries: dead.tries,
            at_ms: dead.at_ms,
            topic: dead.letter.topic.map(|topic| topic.to_string()).unwrap_or_default(),
        },
        Err(reason) => admin::DeadLetter {
            id: id.to_string(),
            target: actor.to_string(),
            reason: format!("it cannot be read: {reason}"),
            ..admin::DeadLetter::default()
        },
    }
}
