//! A running replicated actor: its mailbox, its concurrency, and what happens after a trap. Knows nothing of NATS.
//!
//! ```text
//! admit ──▶ mailbox (bounded; full answers at once) ──▶ instance ──▶ answer
//!                      ▲                                   │
//!                      └── survives ◀── a trap ends ───────┘
//! ```
//!
//! A trap costs the turns in the instance and no others: what waits in the mailbox is served by the next instance. When a
//! replica is stopped that traps again and again, what waits is given back to be served elsewhere.

mod begun;
mod exchange;
mod in_flight;
mod local;
mod tally;
mod turn;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::{Compiled, Exit, Home, Instance};
use crate::telemetry::{Cold, metrics};

pub use begun::{Begun, SMALL};
pub use exchange::{Body, Broken, Exchange, Request, Response};
pub use in_flight::InFlight;
pub use local::{Busy, Local, LocalActor, Refusal, draw};
pub use tally::{Count, Tally};
pub use turn::{
    Answer, Cause, Gate, Message, Outgoing, Pending, Remind, Respond, Timing, Turn, TurnContext, Waiting,
    When,
};

/// How long a turn may run on after its deadline before its instance is given up. The caller has its answer by then.
const GRACE: Duration = Duration::from_secs(1);

/// How often the turns in flight are looked at.
const WATCH: Duration = Duration::from_millis(100);

/// The pause before an instance that keeps trapping is made again. The first trap costs none, so that one bad message
/// does not delay the good ones behind it.
const BACKOFF: std::ops::RangeInclusive<u64> = 10..=1_000;

/// One replica. Dropping it stops it at once; [`Replica::stop`] lets it finish.
pub struct Replica {
    /// Taken when the replica stops: a closed mailbox is drained and then ends the loop.
    mailbox: Mutex<Option<mpsc::Sender<Turn>>>,
    load: Arc<AtomicU32>,
    in_flight: Arc<Mutex<Arc<InFlight>>>,
    stopping: CancellationToken,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Replica {
    /// Makes the first instance and begins to serve.
    ///
    /// # Errors
    /// One sentence, when the guest cannot be made.
    pub async fn start(compiled: Compiled, home: Arc<Home>) -> Result<Self, String> {
        let began = Instant::now();
        let instance = compiled.instantiate(&home).await?;
        metrics::started(home.actor.name.as_str(), "replica", began.elapsed());
        let (mailbox, turns) = mpsc::channel(home.settings.mailbox as usize);
        let in_flight = Arc::new(Mutex::new(Arc::<InFlight>::default()));
        let stopping = CancellationToken::new();
        let serve = serve(instance, compiled, home, turns, in_flight.clone(), stopping.clone());
        let task = tokio::spawn(serve);
        Ok(Self {
            mailbox: Mutex::new(Some(mailbox)),
            load: Arc::default(),
            in_flight,
            stopping,
            task: Mutex::new(Some(AbortOnDropHandle::new(task))),
        })
    }

    /// Takes a turn, or gives it back at once.
    ///
    /// # Errors
    /// Why not, with the turn, so that it can be offered elsewhere.
    #[allow(
        clippy::result_large_err,
        reason = "what is given back is what was given, and boxing it would cost every call"
    )]
    pub fn admit(&self, mut turn: Turn) -> Result<(), Refusal> {
        turn.count_in(&self.load);
        // The lock is held for one try_send only, which never waits.
        let mailbox = self.mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mailbox) = mailbox.as_ref() else { return Err(Refusal::NotHere(turn)) };
        mailbox.try_send(turn).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(turn) => Refusal::Overloaded(turn),
            mpsc::error::TrySendError::Closed(turn) => Refusal::NotHere(turn),
        })
    }

    /// Messages in the mailbox and in the instance.
    pub fn load(&self) -> u32 {
        self.load.load(Ordering::Relaxed)
    }

    /// Turns that its present instance has answered.
    pub(super) fn answered(&self) -> u64 {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).answered()
    }

    /// Turns that are in its present instance.
    pub(super) fn running(&self) -> u64 {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).running()
    }

    /// Takes nothing more, and returns when everything taken was answered.
    pub async fn stop(&self) {
        drop(self.mailbox.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.stopping.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else { return };
        // It ends by itself when the mailbox is empty. The directory's watchdog no longer sees it, so turns that never
        // end are looked after here.
        let mut tick = tokio::time::interval(WATCH);
        loop {
            tokio::select! {
                _ = &mut task => return,
                now = tick.tick() => self.watch(now.into_std()),
            }
        }
    }

    /// Whether its loop runs. It ends only when it was stopped, or by a defect.
    pub fn is_alive(&self) -> bool {
        self.task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .is_some_and(|task| !task.is_finished())
    }

    /// Ends an instance whose turns overran, or keeps it from taking more.
    fn watch(&self, now: Instant) {
        let in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).clone();
        in_flight.check(now);
    }
}

async fn serve(
    first: Instance,
    compiled: Compiled,
    home: Arc<Home>,
    mut turns: mpsc::Receiver<Turn>,
    current: Arc<Mutex<Arc<InFlight>>>,
    stopping: CancellationToken,
) {
    let mut next = Some(first);
    let mut failures = 0u32;
    let name = home.actor.name.as_str();
    loop {
        let (began, mut cold) = (Instant::now(), None);
        let instance = match next.take() {
            Some(instance) => Ok(instance),
            None => {
                let instance = compiled.instantiate(&home).await;
                let made = Cold { what: "replica", from: began, until: Instant::now() };
                if instance.is_ok() {
                    metrics::restarted(name);
                    metrics::started(name, made.what, made.until - made.from);
                }
                cold = Some(made);
                instance
            }
        };
        let instance = match instance {
            Ok(instance) => instance,
            Err(reason) => {
                tracing::warn!(actor = %home.actor, reason, "a replica cannot be made again; it will be tried again");
                failures += 1;
                home.tally.did_not_start();
                crashed(&home, &format!("it cannot be made again: {reason}"));
                if !rests(failures, &stopping).await {
                    return give_back(turns);
                }
                continue;
            }
        };
        let in_flight = Arc::<InFlight>::default();
        current.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&in_flight);
        let exit = instance.serve(&mut turns, &in_flight, cold).await;
        let trapped = matches!(exit, Exit::Trapped { .. } | Exit::Overran);
        home.tally.ended(in_flight.answered(), in_flight.failed(), trapped);
        // Counted once: by the tally from now on.
        current.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&Arc::default());
        failures = if in_flight.answered() > 0 { 0 } else { failures };
        match exit {
            Exit::Closed => return,
            Exit::Retired => {}
            Exit::Overran => {
                metrics::trapped(name);
                tracing::warn!(actor = %home.actor, version = home.version, "a turn ran on after its deadline; its instance was ended");
                crashed(&home, "a turn ran on after its deadline");
            }
            Exit::Trapped { reason, detail, trace } => {
                metrics::trapped(name);
                let (version, trace) = (home.version, trace.map(tracing::field::display));
                tracing::warn!(actor = %home.actor, version, trace, reason, detail, "a replica trapped and is made again");
                crashed(&home, &reason);
                failures += 1;
                if failures > 1 && !rests(failures, &stopping).await {
                    return give_back(turns);
                }
            }
        }
    }
}

fn crashed(home: &Home, why: &str) {
    home.events.crashed(&home.actor.name, why);
}

/// Pauses before an instance is made again; false when the replica is being stopped.
async fn rests(failures: u32, stopping: &CancellationToken) -> bool {
    stopping.run_until_cancelled(tokio::time::sleep(backoff(failures))).await.is_some()
}

/// What waits has not run, and would only trap here as well.
fn give_back(mut turns: mpsc::Receiver<Turn>) {
    turns.close();
    while let Ok(turn) = turns.try_recv() {
        let fault = turn.context.undone();
        turn.waiting.answer(Err(fault));
    }
}

fn backoff(failures: u32) -> Duration {
    let doubled = BACKOFF.start().saturating_mul(1 << failures.saturating_sub(1).min(16));
    Duration::from_millis(doubled.min(*BACKOFF.end()))
}
