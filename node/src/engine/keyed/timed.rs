//! The turns of timers, of which nobody waits for an answer.

use std::time::{Duration, Instant};

use lattice_proto::{ActorId, MessageId};

use crate::keyed::{Failing, Tenure, Timer};
use crate::replica::{Cause, Message, Respond, Turn};
use crate::telemetry::{Handling, Turned};

/// How long the turn of a timer may take.
const TIMED: Duration = Duration::from_secs(30);

/// At this time, or as soon after it as turns may begin; never, where there is none.
pub(super) async fn ripe(time: Option<Instant>, tenure: &Tenure) {
    match time {
        Some(time) => {
            tokio::time::sleep_until(time.into()).await;
            tenure.opened().await;
        }
        None => std::future::pending().await,
    }
}

/// The turn of a timer. Nobody waits for it, so what goes wrong is only written down.
pub(super) fn timed(actor: &ActorId, id: String, timer: Timer, failing: Failing) -> Turn {
    let Timer { operation, payload, content_type, .. } = timer;
    let message_id: MessageId = uuid::Uuid::now_v7()
        .simple()
        .to_string()
        .parse()
        .unwrap_or_else(|_| unreachable!("a UUID is a word"));
    let span = Handling::new(Turned::Own("timer"), actor, &operation, &message_id, 1);
    let message = Message {
        operation,
        payload,
        content_type,
        caller: Some(actor.shared()),
        attempt: 1,
        cause: Cause::Timer(id.clone()),
    };
    let whose = actor.clone();
    let respond = Respond::Hand(Box::new(move |answer, _| {
        let first = failing.note(answer.is_err());
        match answer {
            Err(fault) if first => {
                tracing::warn!(actor = %whose, timer = id, %fault, "the turn of a timer failed; the next failures in a row are not told");
            }
            Err(fault) => tracing::debug!(actor = %whose, timer = id, %fault, "the turn of a timer failed"),
            Ok(_) => {}
        }
    }));
    Turn::new(message_id, actor.clone(), Vec::new(), Instant::now() + TIMED, message, span, respond)
}
