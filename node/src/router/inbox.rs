//! What other nodes send to this one: calls, pings, cancellations and suspicions, on one subscription.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dashmap::DashMap;
use lattice_proto::envelope::{Call, Cancel, Reply, Suspicion};
use lattice_proto::subject::Inbox;
use lattice_proto::{Fault, Incarnation, MessageId, Ran};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Router;
use crate::bus::{Arrived, Error, Subscription};
use crate::replica::{LocalActor, Message, Pending};

/// What is left for the envelope around the largest payload.
pub const ENVELOPE_ROOM: usize = 64 << 10;

/// The calls from other nodes that are being handled, so that their callers can give up on them.
type Cancellable = Arc<DashMap<(MessageId, u32), CancellationToken>>;

/// A call that a mailbox of this node took.
struct Admitted {
    pending: Pending,
    local: Arc<LocalActor>,
    key: (MessageId, u32),
}

/// Serves this node's inbox.
pub struct Inboxes {
    router: Router,
    suspicions: mpsc::Sender<Incarnation>,
    handling: Cancellable,
}

impl Inboxes {
    /// An inbox for this router; suspicions that arrive are passed on.
    pub fn new(router: Router, suspicions: mpsc::Sender<Incarnation>) -> Self {
        Self { router, suspicions, handling: Arc::default() }
    }

    /// Subscribes. Messages that arrive before [`Self::serve`] runs wait.
    ///
    /// # Errors
    /// When the client is closed.
    pub async fn open(&self) -> Result<Subscription, Error> {
        let shared = &self.router.shared;
        shared.bus.subscribe(shared.subjects.inbox_filter(&shared.incarnation), None).await
    }

    /// Serves until the subscription ends.
    pub async fn serve(self, mut messages: Subscription) {
        while let Some(message) = messages.next().await {
            let counters = &self.router.shared.counters;
            match self.router.shared.subjects.parse_inbox(&message.subject) {
                Ok(Inbox::Call) => self.call(message).await,
                Ok(Inbox::Ping) => {
                    if let Some(reply) = message.reply {
                        self.router.shared.bus.publish(reply, Bytes::new()).await;
                    }
                }
                Ok(Inbox::Cancel) => match Cancel::decode(message.payload) {
                    Ok(cancel) => {
                        if let Some((_, token)) = self.handling.remove(&(cancel.id, cancel.attempt)) {
                            token.cancel();
                        }
                    }
                    Err(_) => counters.malformed_envelopes(),
                },
                Ok(Inbox::Suspect) => match Suspicion::decode(message.payload) {
                    // A full channel means that the leader is busy with earlier reports of the same loss.
                    Ok(suspicion) => drop(self.suspicions.try_send(suspicion.incarnation)),
                    Err(_) => counters.malformed_envelopes(),
                },
                Err(_) => {
                    counters.malformed_subjects();
                    if let Some(reply) = message.reply {
                        let fault =
                            Fault::Malformed("this inbox takes call, ping, cancel and suspect".to_owned());
                        let reply_bytes = Reply { outcome: Err(fault), load: 0 }.encode();
                        self.router.shared.bus.publish(reply, reply_bytes).await;
                    }
                }
            }
        }
    }

    /// Admits before it accepts: the loop never waits for a guest, and what is spawned was taken by a mailbox.
    async fn call(&self, message: Arrived) {
        let shared = &self.router.shared;
        let Some(reply) = message.reply else {
            // A call that nobody waits for is no call.
            shared.counters.malformed_envelopes();
            return;
        };
        let Admitted { pending, local, key } = match self.admit(message.payload) {
            Ok(admitted) => admitted,
            Err(fault) => {
                shared.bus.publish(reply, Reply { outcome: Err(fault), load: 0 }.encode()).await;
                return;
            }
        };
        shared.counters.calls_received();
        self.handling.insert(key.clone(), pending.canceller());
        let (router, handling) = (self.router.clone(), self.handling.clone());
        shared.answers.spawn(async move {
            let outcome = pending.answer().await;
            handling.remove(&key);
            let bus = &router.shared.bus;
            let mut bytes = Reply { outcome, load: local.load() }.encode();
            if bytes.len() > bus.max_payload() {
                let (limit, size) = (bus.max_payload() as u64, bytes.len() as u64);
                let outcome = Err(Fault::TooLarge { limit, size, ran: Ran::Yes });
                bytes = Reply { outcome, load: local.load() }.encode();
            }
            bus.publish(reply, bytes).await;
        });
    }

    fn admit(&self, payload: Bytes) -> Result<Admitted, Fault> {
        let shared = &self.router.shared;
        let call = Call::decode(payload).map_err(|error| {
            shared.counters.malformed_envelopes();
            Fault::Malformed(error.to_string())
        })?;
        let deadline = self.deadline(&call).ok_or_else(|| {
            shared.counters.expired();
            Fault::Deadline(Ran::No)
        })?;
        let local = shared.local.get(&call.target.name).ok_or_else(|| self.router.not_here(&call.target))?;
        let key = (call.id.clone(), call.attempt);
        let message = Message {
            operation: call.operation,
            payload: call.payload,
            content_type: call.content_type,
            caller: call.caller.map(|caller| caller.shared()),
            attempt: call.attempt,
        };
        let pending =
            self.router.admit(&local, call.id, &call.target, call.chain, deadline, message, call.trace)?;
        Ok(Admitted { pending, local, key })
    }

    /// When the caller stops waiting, by the nearer of its two ways to say so; none when that has passed.
    fn deadline(&self, call: &Call) -> Option<Instant> {
        let now_ms = u64::try_from(self.router.shared.clock.now_ms()).unwrap_or(0);
        let by_server = Duration::from_millis(call.deadline_ms.saturating_sub(now_ms));
        // The caller's own number is bounded, since an `Instant` cannot hold every one.
        let remaining = call.remaining.min(by_server).min(Duration::from_secs(86_400));
        (!remaining.is_zero()).then(|| Instant::now() + remaining)
    }
}
