//! The way of letters into streams: into mailboxes, and to those that nobody could handle.

use std::collections::BTreeMap;
use std::sync::Arc;

use lattice_proto::letter::{DeadLetter, Letter};
use lattice_proto::reminder::Due;
use lattice_proto::shard::Shard;
use lattice_proto::subject::{Subjects, Way};
use lattice_proto::{ActorId, ActorName, MessageId, Topic};

use super::Owners;
use crate::bus::{Bus, Error, Fate, Posted, Space};
use crate::clock::ServerClock;

/// A letter that nobody could handle.
pub struct Dead {
    /// Whom it was for.
    pub actor: ActorName,
    /// The letter; or why it cannot be read.
    pub letter: Result<DeadLetter, String>,
}

/// What is in a record beside states and payloads, in bytes, with room to spare: marks, and the rest of each letter.
const RECORD: usize = 32 << 10;

/// A cheap handle.
#[derive(Clone)]
pub struct Letters {
    pub(super) bus: Bus,
    pub(super) subjects: Subjects,
    owners: Owners,
    clock: Arc<ServerClock>,
}

impl Letters {
    /// Over this bus.
    pub fn new(bus: Bus, subjects: Subjects, owners: Owners, clock: Arc<ServerClock>) -> Self {
        Self { bus, subjects, owners, clock }
    }

    /// What a record may hold of states and letters together, in bytes: what the server takes, less what else is in it.
    pub fn record_room(&self) -> usize {
        self.bus.calls.max_payload().saturating_sub(RECORD)
    }

    /// Milliseconds since 1970 in the time of the NATS server.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now_ms()).unwrap_or(0)
    }

    /// Posts a letter into the mailbox of the key, or of the replicated actor, that it is for.
    pub async fn post(&self, letter: &Letter) -> Posted {
        // One id may be used for several receivers, whose mailboxes may lie in one stream.
        self.post_as(letter, &format!("{}:{}", letter.target, letter.id)).await
    }

    /// The same; what is posted under one id within two minutes is posted once.
    async fn post_as(&self, letter: &Letter, id: &str) -> Posted {
        let name = &letter.target.name;
        let Some(key) = &letter.target.key else {
            return self.bus.sends.post(&self.subjects.send(name), id, letter.encode()).await;
        };
        // Right after a start nobody has said yet how many shards there are.
        let Some(shard) = self.owners.shard(name, key) else { return Posted::Unsent };
        let mail = &self.bus.mail[usize::from(shard.partition())];
        mail.post(&self.subjects.mailbox(shard, name, key), id, letter.encode()).await
    }

    /// Says that a key may have letters which were not posted yet, to whoever owns it now or later.
    pub async fn announce(&self, actor: &ActorId) -> Posted {
        let Some(key) = &actor.key else { return Posted::Stored };
        let Some(shard) = self.owners.shard(&actor.name, key) else { return Posted::Unsent };
        let mail = &self.bus.mail[usize::from(shard.partition())];
        let id = uuid::Uuid::new_v4().simple().to_string();
        mail.post(&self.subjects.outbox(shard, &actor.name, key), &id, bytes::Bytes::new()).await
    }

    /// How many letters are in the mailbox of a key.
    ///
    /// # Errors
    /// When they cannot be counted at the moment.
    pub async fn waiting(&self, shard: Shard, actor: &ActorId) -> Result<u64, Error> {
        let key = actor.key.as_deref().unwrap_or_default();
        let mailbox = self.subjects.mailbox(shard, &actor.name, key);
        self.bus.mail[usize::from(shard.partition())].count(&mailbox).await
    }

    /// Tells the server when an occurrence is due, unless it knows of a later one of that reminder. True when that is sure.
    pub async fn arm(&self, actor: &ActorId, due: &Due) -> bool {
        let Some(key) = &actor.key else { return true };
        let Some(shard) = self.owners.shard(&actor.name, key) else { return false };
        let reminder = self.subjects.reminder(shard, &actor.name, key, &due.id);
        let target = self.subjects.due(shard, &actor.name, key, &due.id);
        let Ok(newest) = self.bus.reminders.newest(&reminder).await else { return false };
        let known = newest.as_ref().and_then(|entry| Due::decode(entry.value.clone()?).ok());
        // An owner that was late must not put an earlier one in its place.
        if known.is_some_and(|known| known.generation >= due.generation) {
            return true;
        }
        let expected = newest.map_or(0, |entry| entry.revision);
        // Rounded up: it must not come early.
        let at = due.due_ms.div_ceil(1_000);
        let fate = self.bus.reminders.schedule_if(&reminder, &target, at, due.encode(), expected).await;
        matches!(fate, Fate::Stored(_))
    }

    /// Where what came this way is kept when nobody could handle it.
    fn dead_ones(&self, way: Way) -> &Space {
        match way {
            Way::Sent => &self.bus.dead,
            Way::Published => &self.bus.unheard,
        }
    }

    /// Keeps a letter that nobody could handle, without its payload where that leaves no room for the rest. To do so twice does no
    /// harm.
    ///
    /// # Errors
    /// When it is not stored.
    pub async fn bury(&self, letter: &Letter, reason: String, tries: u32) -> Result<(), Error> {
        // With its actor, so that it stands among the actor's own lines.
        let (actor, operation, topic) =
            (&letter.target, &letter.operation, letter.topic.as_ref().map(Topic::as_str));
        tracing::warn!(%actor, %operation, letter = %letter.id, topic, reason, tries, "a letter was given up");
        let dead = DeadLetter { letter: letter.clone(), reason, tries, at_ms: self.now_ms(), left_out: 0 };
        let way = if letter.topic.is_some() { Way::Published } else { Way::Sent };
        let subject = self.subjects.dead(way, &letter.target.name, &letter.id);
        let space = self.dead_ones(way);
        space.put(&subject, dead.encode_within(space.room())).await.map(drop)
    }

    /// Keeps what cannot be read as a letter.
    ///
    /// # Errors
    /// When it is not stored.
    pub async fn bury_garbage(
        &self,
        actor: &ActorName,
        at: &MessageId,
        bytes: bytes::Bytes,
    ) -> Result<(), Error> {
        self.bus.dead.put(&self.subjects.dead(Way::Sent, actor, at), bytes).await.map(drop)
    }

    /// The letters that nobody could handle, by their ids, with whom they were for: of one actor, or of all.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn dead(&self, actor: Option<&ActorName>) -> Result<BTreeMap<MessageId, ActorName>, Error> {
        let filter = |way| (way, self.subjects.dead_filter(way, actor));
        self.list([Way::Sent, Way::Published].map(filter)).await
    }

    /// One of them.
    ///
    /// # Errors
    /// When it cannot be looked for.
    pub async fn dead_letter(&self, id: &MessageId) -> Result<Option<Dead>, Error> {
        let filter = |way| (way, self.subjects.dead_letter_filter(way, id));
        match self.list([Way::Sent, Way::Published].map(filter)).await?.remove(id) {
            Some(actor) => self.read_dead(id, actor).await,
            None => Ok(None),
        }
    }

    /// One that was listed; none when it is not there any more. One that cannot be read comes as such.
    ///
    /// # Errors
    /// When it cannot be looked for.
    pub async fn read_dead(&self, id: &MessageId, actor: ActorName) -> Result<Option<Dead>, Error> {
        for way in [Way::Sent, Way::Published] {
            let entry = self.dead_ones(way).newest(&self.subjects.dead(way, &actor, id)).await?;
            if let Some(value) = entry.and_then(|entry| entry.value) {
                let letter = DeadLetter::decode(value).map_err(|error| error.to_string());
                return Ok(Some(Dead { actor, letter }));
            }
        }
        Ok(None)
    }

    async fn list(&self, filters: [(Way, String); 2]) -> Result<BTreeMap<MessageId, ActorName>, Error> {
        let mut known = BTreeMap::new();
        for (way, filter) in filters {
            let keys = self.dead_ones(way).keys(&filter).await?;
            let read = keys.iter().filter_map(|key| self.subjects.parse_dead(key).ok());
            known.extend(read.map(|(actor, id)| (id, actor)));
        }
        Ok(known)
    }

    /// Posts a dead letter anew, under an id of its own, and forgets it.
    ///
    /// # Errors
    /// When it cannot be posted; it is kept then.
    pub async fn retry(&self, dead: &DeadLetter) -> Result<Result<MessageId, Posted>, Error> {
        let id: MessageId = uuid::Uuid::now_v7()
            .simple()
            .to_string()
            .parse()
            .unwrap_or_else(|_| unreachable!("a UUID is a word"));
        // The receiver may have taken later letters of this sender, so its number says nothing any more.
        let letter = Letter { id: id.clone(), number: None, ..dead.letter.clone() };
        let once = format!("retry-{}-{}", dead.letter.id, dead.at_ms);
        match self.post_as(&letter, &once).await {
            Posted::Stored => {}
            other => return Ok(Err(other)),
        }
        self.forget(&dead.letter.target.name, &dead.letter.id).await?;
        Ok(Ok(id))
    }

    /// Forgets a dead letter.
    ///
    /// # Errors
    /// When NATS does not say that it is gone.
    pub async fn forget(&self, actor: &ActorName, letter: &MessageId) -> Result<(), Error> {
        for way in [Way::Sent, Way::Published] {
            self.dead_ones(way).purge(&self.subjects.dead(way, actor, letter)).await?;
        }
        Ok(())
    }
}
