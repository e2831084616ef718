//! A key that is claimed: guests are woken with its state, one after the other should they trap, until it goes to sleep.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::Fault;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::waking::{Claim, Life, Ready, not_here, refuse_all, refuse_until_overwritten};
use super::{Activity, Parts};
use crate::engine::{Asleep, Done, Exit, KeyedInstance, Serving};
use crate::keyed::known::Books;
use crate::keyed::store::{Claimed, Lost};
use crate::keyed::{Keyed, Tenure, Timers, commit};
use crate::replica::{InFlight, Turn};
use crate::telemetry::{Cold, metrics};

/// Turns that have ended and wait for their commit. When it is full the guest waits.
const UNCOMMITTED: usize = 64;

/// How often an instance that traps is made again before what waits is told so, and the key goes to sleep.
const TRAPS: u32 = 3;

/// How many others may be sent to sleep where the machine has no room for one, and how long each may take for that.
const EVICTED: u32 = 8;
const LEAVE: Duration = Duration::from_secs(1);

type Committing = AbortOnDropHandle<Result<Claimed, Lost>>;

/// A key that is awake, or wakes.
pub(super) struct Awake {
    parts: Parts,
    turns: mpsc::Receiver<Turn>,
    current: Activity,
    tenure: Tenure,
    /// The number of the last claim, by the tenure.
    confirmed: u64,
    /// A guest that was made beside the claim.
    guest: Option<Ready>,
    /// What an operator says the state is, before the next guest.
    overwrite: Option<Turn>,
    /// The state that the next guest is woken with.
    last: Option<Bytes>,
    /// Turns with effects so far.
    made: u64,
    /// Follows how many of them are committed.
    committed: watch::Receiver<u64>,
    books: Books,
    /// What the state and all that waits may have together, in bytes.
    room: usize,
    timers: Timers,
    /// How long it may be without a message, and when it falls asleep if none comes.
    idle: Duration,
    sleeps: Option<Instant>,
    state_limit: u64,
    /// When this activation began, until it has had its first guest.
    began: Option<Instant>,
    /// How long it took to wake.
    cold: Option<Cold>,
    /// Guests that trapped one after the other.
    traps: u32,
    /// Where turns go that have ended.
    done: mpsc::Sender<Done>,
    committer: Committing,
}

/// What comes after a guest has ended.
enum Next {
    /// Another one.
    Guest,
    /// Sleep.
    Sleep,
    /// Another owner has the key.
    Gone,
}

impl Awake {
    /// Begins to commit.
    pub fn new(life: Life, tenure: Tenure, claim: Claim) -> Self {
        let Life { parts, turns, posted, current, began, .. } = life;
        let Claim { claimed, confirmed, guest, overwrite } = claim;
        let letters = parts.keyed.letters.clone();
        let keyed = parts.home.settings.kind.keyed();
        let (idle, state_limit) =
            keyed.map_or_else(Default::default, |keyed| (keyed.idle.duration(), keyed.state.0));
        let last = claimed.record().state.clone();
        let (room, books) = (letters.record_room(), Books::default());
        let (done, to_commit) = mpsc::channel(UNCOMMITTED);
        let (count, committed) = watch::channel(0);
        // What is known of letters is known before the first turn.
        let committer = commit::Committer::new(commit::Parts {
            actor: parts.actor.clone(),
            tenure: tenure.clone(),
            claimed,
            letters,
            books: books.clone(),
            committed: count,
            posted,
        });
        Self {
            parts,
            turns,
            current,
            tenure,
            confirmed,
            guest,
            overwrite,
            last,
            made: 0,
            committed,
            books,
            room,
            timers: Timers::default(),
            idle,
            sleeps: None,
            state_limit,
            began: Some(began),
            cold: None,
            traps: 0,
            done,
            committer: AbortOnDropHandle::new(tokio::spawn(committer.run(to_commit))),
        }
    }

    /// Serves until it goes to sleep, or is another owner's.
    pub async fn live(mut self) {
        loop {
            let in_flight = Arc::<InFlight>::default();
            if let Some(overwrite) = self.overwrite.take() {
                let (serving, _) = self.serving(&in_flight);
                serving.overwrite(overwrite).await;
                continue;
            }
            let began = self.began.take().unwrap_or_else(Instant::now);
            let next = match self.wake().await {
                Ok(instance) => {
                    let name = self.parts.home.actor.name.as_str();
                    // One that was there before was given up.
                    if self.cold.is_some() {
                        metrics::restarted(name);
                    }
                    let cold = Cold { what: "key", from: began, until: Instant::now() };
                    metrics::started(name, cold.what, cold.until - cold.from);
                    self.cold = Some(cold);
                    self.serve(instance, &in_flight).await
                }
                Err(asleep) => self.does_not_wake(asleep),
            };
            match next {
                Next::Guest => {}
                Next::Sleep => break,
                Next::Gone => return,
            }
        }
        // What was answered is committed before the key is let go of.
        let Self { parts, done, committer, .. } = self;
        drop(done);
        match committer.await {
            Ok(Ok(claimed)) => parts.keyed.store.remember(parts.actor, claimed),
            Ok(Err(Lost::Unknown)) => {
                tracing::warn!(actor = %parts.actor, "nobody knows what became of its last commit");
            }
            Ok(Err(Lost::Taken)) | Err(_) => {}
        }
    }

    /// What a guest serves with, and whoever commits what it gives.
    fn serving<'a>(&'a mut self, in_flight: &'a InFlight) -> (Serving<'a>, &'a mut Committing) {
        let serving = Serving {
            mailbox: &mut self.turns,
            in_flight,
            tenure: &self.tenure,
            confirmed: &mut self.confirmed,
            done: &self.done,
            known: &self.books.known,
            backlog: &self.books.backlog,
            timers: &mut self.timers,
            room: self.room,
            made: &mut self.made,
            committed: &self.committed,
            last: &mut self.last,
            idle: self.idle,
            cold: self.cold,
            sleeps: &mut self.sleeps,
        };
        (serving, &mut self.committer)
    }

    /// Wakes a guest with the state of the key.
    async fn wake(&mut self) -> Result<KeyedInstance, Asleep> {
        let (state, limit) = (self.last.clone(), self.state_limit);
        let woken = match self.guest.take() {
            Some(Ready::Awake(woken)) => Some(woken),
            Some(Ready::Made(guest)) => Some(guest.wake(state.clone(), limit).await),
            None => None,
        };
        match woken {
            None | Some(Err(Asleep::NoRoom(_))) => {}
            Some(woken) => return woken,
        }
        let Parts { actor, compiled, home, keyed, .. } = &self.parts;
        let wake = || compiled.wake(home, actor, state.clone(), limit);
        with_room(keyed, &self.current, wake).await
    }

    /// Serves with one guest, until it ends.
    async fn serve(&mut self, instance: KeyedInstance, in_flight: &Arc<InFlight>) -> Next {
        self.show(in_flight);
        let (serving, committer) = self.serving(in_flight);
        let exit = tokio::select! {
            // What the guest can still answer by itself, it does.
            biased;
            exit = instance.serve(serving) => Some(exit),
            _ = committer => None,
        };
        let trapped = matches!(exit, Some(Exit::Trapped { .. } | Exit::Overran));
        self.parts.home.tally.ended(in_flight.answered(), in_flight.failed(), trapped);
        self.show(&Arc::default());
        let Parts { actor, home, .. } = &self.parts;
        match exit {
            // Another owner has the key, so what waits is for that one.
            None => {
                in_flight.undo_all();
                refuse_all(&mut self.turns, || not_here(actor));
                Next::Gone
            }
            Some(Exit::Closed) => {
                // What came in while the mailbox was closed has been served. Whoever commits may have ended, too.
                refuse_all(&mut self.turns, || not_here(actor));
                Next::Sleep
            }
            Some(Exit::Retired) => Next::Guest,
            Some(Exit::Overran) => {
                metrics::trapped(home.actor.name.as_str());
                tracing::warn!(%actor, version = home.version, "a turn ran on after its deadline; its instance was ended");
                home.events.crashed(&home.actor.name, "a turn ran on after its deadline");
                Next::Guest
            }
            Some(Exit::Trapped { reason, detail, trace }) => {
                metrics::trapped(home.actor.name.as_str());
                let (version, trace) = (home.version, trace.map(tracing::field::display));
                tracing::warn!(%actor, version, trace, reason, detail, "a keyed actor trapped and is woken again");
                home.events.crashed(&home.actor.name, &reason);
                self.traps = if in_flight.answered() > 0 { 1 } else { self.traps + 1 };
                if self.traps < TRAPS {
                    return Next::Guest;
                }
                self.traps = 0;
                let fault = Fault::NoReplica(format!("`{actor}` traps again and again: {reason}"));
                self.refuse_until_overwritten(&fault)
            }
        }
    }

    /// Says whose turns are looked after.
    fn show(&self, in_flight: &Arc<InFlight>) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone_from(in_flight);
    }

    /// Refuses what waits, as none of it has run.
    fn does_not_wake(&mut self, asleep: Asleep) -> Next {
        let Parts { actor, home, .. } = &self.parts;
        let fault = match asleep {
            Asleep::NoRoom(reason) => {
                tracing::debug!(%actor, reason, "there is no room to wake a key, and nothing that could sleep");
                Fault::Overloaded(format!("{actor} (its node has no room to wake it: {reason})"))
            }
            Asleep::Broken(reason) => {
                home.tally.did_not_start();
                home.events.crashed(&home.actor.name, &format!("a key does not wake: {reason}"));
                Fault::NoReplica(format!("`{actor}` does not wake: {reason}"))
            }
            Asleep::Refused(fault) => fault,
        };
        self.refuse_until_overwritten(&fault)
    }

    /// Refuses what waits. It may live with what an operator gives it.
    fn refuse_until_overwritten(&mut self, fault: &Fault) -> Next {
        self.overwrite = refuse_until_overwritten(&mut self.turns, |_| true, || fault.clone());
        if self.overwrite.is_some() {
            return Next::Guest;
        }
        refuse_all(&mut self.turns, || fault.clone());
        Next::Sleep
    }
}

/// Makes or wakes a guest, and sends others to sleep where the machine has no room for it.
async fn with_room<T, W: Future<Output = Result<T, Asleep>>>(
    keyed: &Keyed,
    own: &Activity,
    wake: impl Fn() -> W,
) -> Result<T, Asleep> {
    let mut woken = wake().await;
    for _ in 0..EVICTED {
        let Err(Asleep::NoRoom(_)) = &woken else { break };
        let Some(other) = keyed.make_room(own) else { break };
        // One whose last commit takes long may have left room for all that.
        let _ = tokio::time::timeout(LEAVE, other.ended()).await;
        woken = wake().await;
    }
    woken
}
