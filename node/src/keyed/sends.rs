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
use crate::bus::{Delivered, Receipt};
use crate::replica::LocalActor;
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

/// The same when one has come to replicas that often already as a failing one is tried: what keeps them busy lasts.
const MUCH_LATER: Duration = Duration::from_secs(60);

/// How often the server may deliver what nobody handles. It may be what ends the nodes that take it; and it may be that all who could
/// handle it are busy, for hours then, since what is given back for that comes once in [`MUCH_LATER`].
const DELIVERIES: u32 = 256;

/// Who is to handle a letter.
#[derive(Clone, Copy)]
pub(crate) enum To<'a> {
    /// Any replica, wherever it is.
    Any,
    /// One of these, now that the server has delivered it so many times.
    These(&'a LocalActor, u32),
}

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    /// Somebody handled it.
    Handled,
    /// It lies with the dead ones.
    GivenUp,
    /// It comes again.
    Left,
}

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
        self.carry(&letter, &delivered.receipt, To::Any).await;
    }

    /// Has a letter handled, as often as that can help, and keeps it with the dead ones where nothing does. What is to become of it
    /// after that is told to the server.
    ///
    /// What is for certain replicas goes back to the server between its tries, and makes room for others; their number is that of its
    /// deliveries, whoever had them.
    pub(crate) async fn carry(&self, letter: &Letter, receipt: &Receipt, to: To<'_>) -> Carried {
        let times = match to {
            To::Any => 1,
            To::These(_, times) => times,
        };
        if times > DELIVERIES {
            let reason = format!(
                "it was delivered {DELIVERIES} times, and nobody has handled it: they were busy or ended"
            );
            return self.give_up(letter, receipt, reason, DELIVERIES).await;
        }
        let (mut tried, mut looked) = (times.saturating_sub(1), 0);
        let mut pause = Backoff::from(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let delivery = async {
                match to {
                    To::Any => self.router.deliver_to_any(letter).await,
                    To::These(local, _) => self.router.deliver_to(local, letter, tried + 1).await,
                }
            };
            // Others need not take it while this node tries.
            let Err(fault) = receipt.while_working(delivery).await else {
                receipt.give_in_time().await;
                return Carried::Handled;
            };
            let verdict = judge(&fault);
            match verdict {
                // Others are not to wait for it.
                _ if matches!(fault, Fault::NoReplica(_)) => looked = LOOKS,
                Verdict::Later => looked += 1,
                Verdict::Again | Verdict::Never => tried += 1,
            }
            if looked >= LOOKS {
                receipt.again(if times < TRIES { ELSEWHERE } else { MUCH_LATER }).await;
                return Carried::Left;
            }
            // What says nothing of the letter does not end it here. The server counts it as a delivery all the same.
            if verdict == Verdict::Never || (verdict == Verdict::Again && tried >= TRIES) {
                return self.give_up(letter, receipt, fault.to_string(), tried).await;
            }
            if verdict == Verdict::Again && matches!(to, To::These(..)) {
                receipt.again(after(tried)).await;
                return Carried::Left;
            }
            pause.wait().await;
        }
    }

    /// Keeps a letter with the dead ones. Where there is no room for it, it stays where it is for now.
    async fn give_up(&self, letter: &Letter, receipt: &Receipt, reason: String, tried: u32) -> Carried {
        if let Err(error) = self.letters.bury(letter, reason, tried).await {
            tracing::warn!(%error, letter = %letter.id, "a letter that was given up is not kept yet");
            receipt.again(NO_ROOM).await;
            return Carried::Left;
        }
        receipt.give_in_time().await;
        Carried::GivenUp
    }
}

/// The pause after so many tries, where these are far apart: as long as [`Backoff`] has it.
fn after(tried: u32) -> Duration {
    let doubled = FIRST_PAUSE * 2_u32.saturating_pow(tried.saturating_sub(1));
    doubled.min(LONGEST_PAUSE).mul_f64(0.5 + fastrand::f64() / 2.0)
}
