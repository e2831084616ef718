//! Readers of one stream, or of a queue that was made of it, who share what is there: each letter goes to one of them, in no certain order, and
//! to another one where it is not acknowledged.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer, pull};
use futures::{FutureExt, StreamExt};
use lattice_proto::letter::Place;

use super::{AGAIN, BATCH, Delivered, FIRST_PAUSE, Mail, OPEN, READ, Receipt, WITH_READER, delivered, told};
use crate::bus::Error;
use crate::causes::full;

/// The consumer that all readers of a stream share.
const SHARED: &str = "nodes";

/// The longest pause of those who read together: a queue may be made at any moment.
const FIND: Duration = Duration::from_millis(700);

/// The largest letter that may be there although the server takes none of its size any more, in bytes.
const LARGEST: usize = 8 << 20;

/// What the server counts of a letter beside its payload and its headers, at most, in bytes.
const SUBJECTS: usize = 16 << 10;

/// Reads a stream, or a queue that was made of it, together with others: each letter goes to one of them, in no certain order.
pub struct SharedReader {
    mail: Mail,
    /// The whole stream where none is named.
    queue: Option<String>,
    open: Option<Shared>,
    /// What was asked for, and whether any of it came.
    batch: Option<(pull::Batch, bool)>,
    /// How often in a row it could not go on.
    failures: u32,
}

struct Shared {
    consumer: Consumer<pull::Config>,
    /// When the stream was created, in nanoseconds since 1970.
    stream: u64,
    generation: u64,
}

impl SharedReader {
    pub(super) fn new(mail: Mail, queue: Option<String>) -> Self {
        Self { mail, queue, open: None, batch: None, failures: 0 }
    }

    /// The next letter. While NATS is away it waits. Cancel safe, but for what was on its way: that comes again.
    pub async fn next(&mut self) -> Delivered {
        self.next_of(BATCH).await
    }

    /// The same, where no more than `most` are to be on their way to this reader.
    pub async fn next_of(&mut self, most: usize) -> Delivered {
        loop {
            let mut link = self.mail.0.connection().link();
            let generation = self.open.as_ref().map(|open| open.generation);
            if let Some((batch, came)) = &mut self.batch {
                let message = tokio::select! {
                    // What is here already is not lost with the connection over which it came.
                    biased;
                    message = batch.next() => message,
                    // The server that was asked knows nothing of that any more, and nobody would say so.
                    _ = link.wait_for(|link| link.up && Some(link.generation) != generation) => {
                        (self.batch, self.open) = (None, None);
                        continue;
                    }
                };
                match message {
                    Some(Ok(message)) => {
                        (*came, self.failures) = (true, 0);
                        if let Some(letter) = self.shared(message) {
                            return letter;
                        }
                        continue;
                    }
                    // So it ends as well when the next one has no room in what was asked for.
                    Some(Err(_)) if *came => {}
                    Some(Err(error)) => {
                        tracing::debug!(%error, "reading letters broke off; it begins anew");
                        self.open = None;
                        self.pause().await;
                    }
                    None => self.failures = 0,
                }
                self.batch = None;
                continue;
            }
            if let Err(error) = self.ask(most).await {
                tracing::debug!(%error, "letters cannot be read yet");
                self.open = None;
                self.pause().await;
                // The only error is a connection that is closed for good, and the node with it.
                let _ = link.wait_for(|link| link.up).await;
            }
        }
    }

    /// Reads no more. What has come already and nobody took goes to others at once.
    pub async fn leave(mut self) {
        while let Some((batch, _)) = &mut self.batch
            && let Some(Some(Ok(message))) = batch.next().now_or_never()
        {
            if let Some(letter) = self.shared(message) {
                letter.receipt.again(Duration::ZERO).await;
            }
        }
    }

    /// The more often it failed in a row, the longer, but a queue that is made is found soon.
    async fn pause(&mut self) {
        let longest = FIND.min(FIRST_PAUSE * 2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(longest.mul_f64(0.5 + fastrand::f64())).await;
    }

    fn shared(&self, message: async_nats::jetstream::Message) -> Option<Delivered> {
        let info = message.info().ok()?;
        let (sequence, (stored_ms, times)) = (info.stream_sequence, told(&info));
        let to = message.message.reply.clone()?;
        let stream = self.open.as_ref().map_or(0, |open| open.stream);
        let receipt = Receipt { connection: self.mail.0.connection().clone(), to };
        Some(delivered(message.message, stored_ms, times, Place { stream, sequence }, receipt))
    }

    /// Asks for a batch.
    async fn ask(&mut self, most: usize) -> Result<(), Error> {
        if !self.mail.0.is_reachable() {
            return Err(Error::Unreachable);
        }
        let open = match self.open.take() {
            Some(open) => self.open.insert(open),
            None => {
                let generation = self.mail.0.generation();
                let stream = self.mail.0.handle().await?;
                let info = stream.get_info().await.map_err(|error| Error::failed(READ, full(&error)))?;
                let config = pull::Config {
                    durable_name: Some(SHARED.to_owned()),
                    ack_policy: AckPolicy::Explicit,
                    ack_wait: AGAIN,
                    max_ack_pending: WITH_READER,
                    ..Default::default()
                };
                let consumer = match &self.queue {
                    Some(queue) => {
                        let consumer = stream.get_consumer(queue).await;
                        consumer.map_err(|error| Error::failed(READ, full(&*error)))?
                    }
                    None => {
                        let consumer = stream.get_or_create_consumer(SHARED, config).await;
                        consumer.map_err(|error| Error::failed(READ, full(&error)))?
                    }
                };
                let stream = u64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(0);
                self.open.insert(Shared { consumer, stream, generation })
            }
        };
        // Room for the largest one at least, with its subjects: one that has none is given to nobody, nor is what follows it.
        let bytes = self.mail.0.connection().max_payload().max(LARGEST).saturating_add(SUBJECTS);
        let batch = open.consumer.batch().max_messages(most.max(1)).max_bytes(bytes).expires(OPEN);
        let batch = batch.messages().await.map_err(|error| Error::failed(READ, full(&error)))?;
        self.batch = Some((batch, false));
        Ok(())
    }
}
