//! Keeps every record that keyed actors store, where a lattice keeps the last one of each key: for the time after a test.

use std::collections::HashMap;

use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::{self, stream::Config};
use futures::StreamExt;
use lattice_proto::ActorId;
use lattice_proto::shard::PARTITIONS;
use lattice_proto::state::{State, WriteId};
use lattice_proto::subject::Subjects;

use crate::chain::{self, Checked, Record};
use crate::{Lattice, NatsServer};

/// A record as it was stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Whose.
    pub actor: ActorId,
    /// What it says.
    pub state: State,
    /// When the server stored it, in nanoseconds since 1970.
    pub at: i128,
    sequence: u64,
    subject: String,
}

/// The streams of one lattice, which this has made before its nodes could: they leave them as they are.
#[derive(Debug)]
pub struct Audit {
    subjects: Subjects,
}

impl Audit {
    /// Begins. No keyed actor may be declared yet.
    pub async fn begin(lattice: &Lattice) -> Self {
        let subjects = Subjects::new(lattice.id().parse().unwrap());
        let jetstream = jetstream::new(lattice.nats.client().await);
        for partition in 0..PARTITIONS {
            let config = Config {
                name: subjects.state_stream(partition),
                subjects: vec![subjects.state_filter(partition)],
                allow_direct: true,
                num_replicas: 1 + lattice.others.len(),
                ..Config::default()
            };
            jetstream.create_stream(config).await.unwrap();
        }
        Self { subjects }
    }

    /// All that was stored, by partition, in its order.
    ///
    /// # Panics
    /// When a record cannot be read.
    pub async fn stored(&self, nats: &NatsServer) -> Vec<Vec<Stored>> {
        let jetstream = jetstream::new(nats.client().await);
        let mut all = Vec::new();
        for partition in 0..PARTITIONS {
            let mut stream = jetstream.get_stream(self.subjects.state_stream(partition)).await.unwrap();
            let count = stream.info().await.unwrap().state.messages;
            let consumer = stream.create_consumer(OrderedConfig::default()).await.unwrap();
            let messages = consumer.messages().await.unwrap().take(usize::try_from(count).unwrap());
            let stored = messages.map(|message| {
                let message = message.unwrap();
                let info = message.info().unwrap();
                let (sequence, at) = (info.stream_sequence, info.published.unix_timestamp_nanos());
                let subject = message.subject.to_string();
                let (_, actor) = self.subjects.parse_state(&subject).unwrap();
                let state = State::decode(message.payload.clone()).unwrap();
                Stored { actor, state, at, sequence, subject }
            });
            all.push(stored.collect().await);
        }
        all
    }

    /// Judges all that was stored.
    ///
    /// # Panics
    /// When a record cannot be read, or breaks a rule of [`chain`].
    pub async fn check(&self, nats: &NatsServer) -> Checked {
        judge(&self.stored(nats).await)
    }
}

/// Judges what was stored.
///
/// # Panics
/// When a record breaks a rule of [`chain`].
pub fn judge(stored: &[Vec<Stored>]) -> Checked {
    let mut checked = Checked::default();
    for of_partition in stored {
        let mut revisions = HashMap::new();
        let records = of_partition.iter().map(|Stored { state, sequence, subject, .. }| {
            let before = revisions.insert(subject.as_str(), state.revision);
            // A claim has an id of its own, by which its owner finds it again.
            let is_commit = before != Some(state.revision) && state.revision > 0;
            let commit = state.writes.last().copied().filter(|_| is_commit);
            let (sequence, subject) = (*sequence, subject.clone());
            Record::<WriteId> { sequence, subject, epoch: state.epoch, revision: state.revision, commit }
        });
        let of_this = chain::check(records.collect::<Vec<_>>()).unwrap_or_else(|breaks| {
            let breaks: Vec<String> = breaks.iter().map(ToString::to_string).collect();
            panic!("the chain of records is broken:\n{}", breaks.join("\n"))
        });
        checked.subjects += of_this.subjects;
        checked.commits += of_this.commits;
        checked.claims += of_this.claims;
    }
    checked
}
