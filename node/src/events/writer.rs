//! The one task that writes what was told.

use std::time::{Duration, Instant};

use lattice_proto::record;
use lattice_proto::subject::Subjects;
use tokio::sync::mpsc;

use super::{Events, News};
use crate::bus::Log;

/// How long after it was told an event is still worth writing. It is far below the two minutes within which the stream
/// knows an id again, so that trying again makes none twice.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pause before what could not be written is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// How often crashes that were gathered are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Writes events for as long as the node runs.
pub struct Writer {
    events: Events,
    news: mpsc::Receiver<News>,
}

impl Writer {
    pub(super) fn new(events: Events, news: mpsc::Receiver<News>) -> Self {
        Self { events, news }
    }

    /// Writes until the node ends.
    pub async fn run(mut self, log: Log, subjects: Subjects) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // It holds a handle itself, so that the queue is never closed.
                Some(news) = self.news.recv() => self.write(&log, &subjects, &news).await,
                now = look.tick() => {
                    let due = self.events.bursts(|bursts| bursts.due(now.into_std()));
                    self.events.tell_crashes(due);
                }
            }
        }
    }

    async fn write(&self, log: &Log, subjects: &Subjects, news: &News) {
        let (subject, bytes) = (subjects.event(news.event.kind), record::encode(&news.event));
        loop {
            let Err(error) = log.append(&subject, &news.id, bytes.clone()).await else { return };
            if Instant::now().duration_since(news.told) > PATIENCE {
                self.events.shared.counters.events_dropped();
                tracing::debug!(%error, kind = %news.event.kind, subject = news.event.subject, "an event was dropped");
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
