//! Letters for replicated actors: each node takes some of those that are there, and has any replica handle them.

use std::sync::Arc;
use std::time::Duration;

use lattice_proto::Fault;
use lattice_proto::letter::Letter;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Letters;
use super::backoff::Backoff;
use super::delivery::{TRIES, Verdict, judge};
use crate::bus::Delivered;
use crate::router::Router;
use crate::telemetry::Counters;

/// Letters that one node handles at once.
const AT_ONCE: usize = 256;

/// The pauses between tries.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often a node looks for a replica before another node is to try.
const LOOKS: u32 = 5;

/// When a letter is looked at again that could not be kept with the dead ones.
const NO_ROOM: Duration = Duration::from_secs(30);

/// When another node is to try.
const ELSEWHERE: Duration = Duration::from_secs(2);

/// What delivers letters to replicas.
#[derive(Clone)]
pub struct Sends {
    router: Router,
    letters: Letters,
    counters: Counters,
}

impl Sends {
    /// Over this router.
    pub fn new(router: Router, letters: Letters, counters: Counters) -> Self {
        Self { router, letters, counters }
    }

    /// Takes letters for as long as the node runs.
    pub async fn run(self) {
        let mut reader = self.letters.bus.sends.share();
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let mut handling = JoinSet::new();
        loop {
            // Nobody closes it.
            let Ok(room) = room.clone().acquire_owned().await else { return };
            let letter = reader.next().await;
            let this = self.clone();
            handling.spawn(async move {
                this.handle(letter).await;
                drop(room);
            });
            while handling.try_join_next().is_some() {}
        }
    }

    async fn handle(&self, delivered: Delivered) {
        let letter = match Letter::decode(delivered.payload) {
            Ok(letter) => letter,
            Err(error) => {
                // It comes again, perhaps to a node of a later version.
                self.counters.malformed_records();
                tracing::error!(subject = delivered.subject, %error, "a letter cannot be read");
                return;
            }
        };
        let (mut tried, mut looked) = (0, 0);
        let mut pause = Backoff::from(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            // Others need not take it while this node tries.
            delivered.receipt.working().await;
            let Err(fault) = self.router.deliver_to_any(&letter).await else { break };
            match judge(&fault) {
                // Others are not to wait for it.
                _ if matches!(fault, Fault::NoReplica(_)) => looked = LOOKS,
                Verdict::Later => looked += 1,
                Verdict::Again => tried += 1,
                Verdict::Never => tried = TRIES,
            }
            if tried >= TRIES {
                // Where there is no room for it, it stays where it is for now.
                if let Err(error) = self.letters.bury(&letter, fault.to_string(), tried).await {
                    tracing::warn!(%error, letter = %letter.id, "a letter that was given up is not kept yet");
                    delivered.receipt.again(NO_ROOM).await;
                    return;
                }
                break;
            }
            if looked >= LOOKS {
                delivered.receipt.again(ELSEWHERE).await;
                return;
            }
            pause.wait().await;
        }
        delivered.receipt.give().await;
    }
}
