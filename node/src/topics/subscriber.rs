//! Takes from the queues of subscriptions what the replicas of this node have room for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use lattice_proto::envelope::{ContentType, TraceContext};
use lattice_proto::id::EXTERNAL;
use lattice_proto::letter::{Letter, Place};
use lattice_proto::manifest::Subscription;
use lattice_proto::subject::{self, Subjects};
use lattice_proto::{ActorName, MessageId, Topic, TopicPattern};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{CONTENT_TYPE, TRACEPARENT, TRACESTATE};
use crate::bus::{Delivered, Mail};
use crate::keyed::{Carried, Letters, Sends, To};
use crate::replica::{Local, LocalActor};
use crate::telemetry::{Counters, metrics};

/// How often it is looked which actors run here.
const LOOK: Duration = Duration::from_millis(100);

/// Messages of one subscription that one node has in its hands, at most.
const IN_HAND: usize = 64;

/// What all messages that one node has in its hands may hold of its memory, in KiB.
const ROOM: usize = 64 << 10;

/// Messages that a replica finds waiting when it is done with those that it has, for each of these: so that it need not wait for
/// the server.
const AHEAD: usize = 2;

/// What takes messages for the actors that run here.
#[derive(Clone)]
pub struct Subscriber {
    topics: Mail,
    subjects: Subjects,
    local: Local,
    sends: Sends,
    letters: Letters,
    counters: Counters,
    room: Arc<Semaphore>,
}

/// Whose messages are taken: an actor's, in one version, by one subscription.
type Taken = (ActorName, u64, TopicPattern);

impl Subscriber {
    /// Takes from this stream. What is taken is carried as letters are.
    pub fn new(
        topics: Mail,
        subjects: Subjects,
        local: Local,
        sends: Sends,
        letters: Letters,
        counters: Counters,
    ) -> Self {
        let room = Arc::new(Semaphore::new(ROOM));
        Self { topics, subjects, local, sends, letters, counters, room }
    }

    /// Takes messages for as long as the node runs.
    pub async fn run(self) {
        let mut readers: BTreeMap<Taken, (Arc<LocalActor>, DropGuard)> = BTreeMap::new();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let mut wanted = BTreeMap::new();
            for (actor, local) in self.local.all() {
                let home = local.home.clone();
                if local.count() > 0 {
                    wanted.extend(home.settings.subscribe.iter().map(|subscription| {
                        let taken = (actor.clone(), home.version, subscription.topic.clone());
                        (taken, (local.clone(), subscription.clone()))
                    }));
                }
            }
            // What a replica has already it still handles: only the reader ends.
            readers.retain(|taken, (read_for, _)| {
                wanted.get(taken).is_some_and(|(local, _)| Arc::ptr_eq(local, read_for))
            });
            for (taken, (local, subscription)) in wanted {
                readers.entry(taken).or_insert_with(|| {
                    let stop = CancellationToken::new();
                    tokio::spawn(self.clone().read(local.clone(), subscription, stop.clone()));
                    (local, stop.drop_guard())
                });
            }
        }
    }

    /// Takes the messages of one subscription until it is to stop. What it has in its hands by then and no replica has goes to others
    /// at once.
    async fn read(self, local: Arc<LocalActor>, subscription: Subscription, stop: CancellationToken) {
        let name = subject::subscription(&local.home.actor.name, &subscription.topic);
        let mut reader = self.topics.queue(name);
        let subscription = Arc::new(subscription);
        // Dropped, they go on: the replicas that have these messages finish them.
        let mut in_hand = FuturesUnordered::new();
        loop {
            while in_hand.next().now_or_never().flatten().is_some() {}
            let room = room(&local).saturating_sub(in_hand.len());
            if room == 0 {
                match stop.run_until_cancelled(in_hand.next()).await {
                    Some(_) => continue,
                    None => break,
                }
            }
            // What comes while others wait for memory would wait as well, and the server is told only of the one that is next.
            let room = if self.room.available_permits() < ROOM / 2 { 1 } else { room };
            let Some(delivered) = stop.run_until_cancelled(reader.next_of(room)).await else { break };
            let Some(memory) = self.memory(&delivered, &stop).await else { break };
            let (this, local, subscription) = (self.clone(), local.clone(), subscription.clone());
            in_hand.push(tokio::spawn(async move {
                this.handle(&local, &subscription, delivered).await;
                drop(memory);
            }));
        }
        reader.leave().await;
    }

    /// Waits until there is memory for a message. None when it is to stop before: then others get the message.
    async fn memory(&self, delivered: &Delivered, stop: &CancellationToken) -> Option<OwnedSemaphorePermit> {
        let size = (delivered.size / 1_024 + 1).min(ROOM);
        // Nobody closes it, and no message is larger than a number of 32 bits.
        let permits = self.room.clone().acquire_many_owned(u32::try_from(size).unwrap_or(u32::MAX));
        match stop.run_until_cancelled(delivered.receipt.while_working(permits)).await {
            Some(permit) => permit.ok(),
            None => {
                delivered.receipt.again(Duration::ZERO).await;
                None
            }
        }
    }

    async fn handle(&self, local: &LocalActor, subscription: &Subscription, delivered: Delivered) {
        let actor = &local.home.actor.name;
        let topic = match self.subjects.parse_topic(&delivered.subject) {
            Ok(topic) => topic,
            Err(error) => {
                // Plain NATS clients can publish to what is no topic, and nobody can handle that.
                self.counters.malformed_subjects();
                tracing::warn!(subject = delivered.subject, %actor, %error, "what was published there is left out");
                delivered.receipt.give().await;
                return;
            }
        };
        let letter = letter(actor, subscription, topic, &delivered, self.letters.now_ms());
        let carried = self.sends.carry(&letter, &delivered.receipt, To::These(local, delivered.times)).await;
        match carried {
            Carried::Handled => self.counters.topics_handled(),
            Carried::GivenUp => self.counters.topics_given_up(),
            Carried::Left => {}
        }
        metrics::heard(actor.as_str(), carried_as(carried));
    }
}

fn carried_as(carried: Carried) -> &'static str {
    match carried {
        Carried::Handled => "handled",
        Carried::GivenUp => "given-up",
        Carried::Left => "left",
    }
}

/// How many messages the replicas of this node may have in their hands, with those that wait for them.
fn room(local: &LocalActor) -> usize {
    let at_once = local.count().saturating_mul(local.home.settings.concurrency as usize);
    at_once.saturating_mul(AHEAD).clamp(1, IN_HAND)
}

/// What was published, as a letter to one of those who subscribe.
fn letter(
    actor: &ActorName,
    subscription: &Subscription,
    topic: Topic,
    delivered: &Delivered,
    now_ms: u64,
) -> Letter {
    let header = |name| delivered.headers.get(name).unwrap_or_default();
    Letter {
        id: id(actor, delivered.place),
        target: actor.clone().into(),
        operation: subscription.operation.clone(),
        payload: delivered.payload.clone(),
        // Whoever publishes by plain NATS may say what it likes; the operation says what it cannot read.
        content_type: ContentType::parse(header(CONTENT_TYPE)).unwrap_or(ContentType::Json),
        sender: Some(EXTERNAL.into()),
        number: None,
        trace: TraceContext::parse(header(TRACEPARENT), header(TRACESTATE)),
        sent_ms: if delivered.stored_ms > 0 { delivered.stored_ms } else { now_ms },
        topic: Some(topic),
    }
}

/// The same each time that an actor gets the message, and another one for each actor: it may be kept with the dead letters of each.
fn id(actor: &ActorName, place: Place) -> MessageId {
    let digest = Sha256::digest(format!("{}.{}.{actor}", place.stream, place.sequence));
    let word =
        digest[..16].iter().fold(String::with_capacity(32), |word, byte| word + &format!("{byte:02x}"));
    word.parse().unwrap_or_else(|_| unreachable!("hexadecimal digits are a message id"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_message_has_one_id_for_each_actor_that_gets_it() {
        let (first, second): (ActorName, ActorName) = ("first".parse().unwrap(), "second".parse().unwrap());
        let place = |stream, sequence| Place { stream, sequence };
        assert_eq!(id(&first, place(1, 23)), id(&first, place(1, 23)));
        let others = [(&first, 1, 23), (&second, 1, 23), (&first, 12, 3), (&first, 2, 23), (&first, 1, 24)];
        let ids: BTreeSet<_> =
            others.iter().map(|(actor, stream, sequence)| id(actor, place(*stream, *sequence))).collect();
        assert_eq!(ids.len(), others.len());
    }
}
