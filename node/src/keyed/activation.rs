//! One key, awake: claimed, woken with its state, and served until it is idle, or belongs to somebody else.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lattice_proto::envelope::Overwrite;
use lattice_proto::shard::Shard;
use lattice_proto::{ActorId, Fault};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::known::Books;
use super::store::{Lost, Unclaimed};
use super::{Begin, Keyed, Tenure, Timers, commit};
use crate::engine::{Asleep, Compiled, Exit, Home, Serving};
use crate::replica::{Cause, InFlight, Refusal, Turn};

/// Turns that have ended and wait for their commit. When it is full the guest waits.
const UNCOMMITTED: usize = 64;

/// How often the turns of one that is to end are looked at.
const WATCH: Duration = Duration::from_millis(100);

/// How often an instance that traps is made again before what waits is told so, and the key goes to sleep.
const TRAPS: u32 = 3;

/// How many others may be sent to sleep where the machine has no room for one, and how long each may take for that.
const EVICTED: u32 = 8;
const LEAVE: Duration = Duration::from_secs(1);

/// The turns of the present instance.
pub(super) type Activity = Arc<Mutex<Arc<InFlight>>>;

/// One key of a keyed actor on this node.
pub(super) struct Activation {
    /// In which epoch of its shard it was made.
    pub epoch: u64,
    pub shard: Shard,
    /// Taken when it is to end: a closed mailbox is drained first.
    mailbox: Mutex<Option<mpsc::Sender<Turn>>>,
    load: Arc<AtomicU32>,
    in_flight: Activity,
    /// When it last got a message, in milliseconds since `born`.
    used: AtomicU64,
    born: Instant,
    ended: watch::Receiver<bool>,
    /// Whether it has a place among those that may be awake.
    placed: Arc<AtomicBool>,
    /// Whether it is claimed, and has no letters left to post.
    posted: watch::Receiver<bool>,
    _task: AbortOnDropHandle<()>,
}

/// What an activation is made of.
pub(super) struct Parts {
    pub actor: ActorId,
    pub shard: Shard,
    pub epoch: u64,
    pub compiled: Compiled,
    pub home: Arc<Home>,
    pub keyed: Keyed,
    /// Earlier activations of the key on this node, which must have ended first.
    pub earlier: Vec<Arc<Activation>>,
}

impl Activation {
    /// Begins one. Messages are taken at once, and wait until it is awake.
    pub fn start(parts: Parts) -> Self {
        let (mailbox, turns) = mpsc::channel(parts.home.settings.mailbox as usize);
        let in_flight = Arc::new(Mutex::new(Arc::<InFlight>::default()));
        let (over, ended) = watch::channel(false);
        let (epoch, shard) = (parts.epoch, parts.shard);
        let (to_post, posted) = watch::channel(false);
        let placed = Arc::<AtomicBool>::default();
        let serve = serve(parts, turns, to_post, in_flight.clone(), placed.clone());
        let task = tokio::spawn(async move {
            serve.await;
            over.send_replace(true);
        });
        Self {
            epoch,
            shard,
            mailbox: Mutex::new(Some(mailbox)),
            load: Arc::default(),
            in_flight,
            used: AtomicU64::new(0),
            born: Instant::now(),
            ended,
            placed,
            posted,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Takes a turn, or gives it back at once.
    #[allow(
        clippy::result_large_err,
        reason = "what is given back is what was given, and boxing it would cost every call"
    )]
    pub fn admit(&self, mut turn: Turn) -> Result<(), Refusal> {
        turn.count_in(&self.load);
        let since = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used.store(since, Ordering::Relaxed);
        let mailbox = self.mailbox.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mailbox) = mailbox.as_ref() else { return Err(Refusal::NotHere(turn)) };
        mailbox.try_send(turn).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(turn) => Refusal::Overloaded(turn),
            mpsc::error::TrySendError::Closed(turn) => Refusal::NotHere(turn),
        })
    }

    /// Whether it could go to sleep: it has a place, and neither has anything to do nor is about to end.
    pub fn is_idle(&self) -> bool {
        let runs = || self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).running() > 0;
        self.placed.load(Ordering::Relaxed)
            && self.load() == 0
            && !self.is_closed()
            && !self.has_ended()
            && !runs()
    }

    /// Whether it is this one.
    pub fn is(&self, activity: &Activity) -> bool {
        Arc::ptr_eq(&self.in_flight, activity)
    }

    /// Takes nothing more; what it has is served. False when that was so before.
    pub fn close(&self) -> bool {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// Whether it takes nothing more.
    pub fn is_closed(&self) -> bool {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Turns that its present instance has answered.
    pub fn answered(&self) -> u64 {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).answered()
    }

    /// Waits until it has ended. Whoever waits is perhaps the only one that still sees it, so turns that never end are
    /// looked after here.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        let mut tick = tokio::time::interval(WATCH);
        loop {
            tokio::select! {
                // The sender goes with the task, which is over then as well.
                _ = ended.wait_for(|ended| *ended) => return,
                now = tick.tick() => self.watch(now.into_std()),
            }
        }
    }

    /// Waits until it has no letters left to post; false when it ended before.
    pub async fn has_posted(&self) -> bool {
        self.posted.clone().wait_for(|posted| *posted).await.is_ok()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow() || self.ended.has_changed().is_err()
    }

    /// Messages that wait or run.
    pub fn load(&self) -> u32 {
        self.load.load(Ordering::Relaxed)
    }

    /// When it last got a message.
    pub fn used(&self) -> Instant {
        self.born + Duration::from_millis(self.used.load(Ordering::Relaxed))
    }

    /// Ends an instance whose turn overran.
    pub fn watch(&self, now: Instant) {
        let in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).clone();
        in_flight.check(now);
    }
}

async fn serve(
    parts: Parts,
    mut turns: mpsc::Receiver<Turn>,
    posted: watch::Sender<bool>,
    current: Activity,
    placed: Arc<AtomicBool>,
) {
    let Parts { actor, shard, epoch, compiled, home, keyed: shared, earlier } = parts;
    let Keyed { owners, store, letters, .. } = shared.clone();
    for one in earlier {
        one.close();
        one.ended().await;
    }
    let Some(keyed) = home.settings.kind.keyed() else { return };
    let Some(_place) = shared.place(&current).await else {
        refuse_all(turns, || {
            Fault::Overloaded(format!(
                "{actor} (its node has as many keys awake as it may, all of them busy)"
            ))
        });
        return;
    };
    placed.store(true, Ordering::Relaxed);
    let tenure = Tenure::new(owners, shard, epoch, keyed.strict);
    // What is known before the claim: should the lease run out meanwhile, the key is claimed once more.
    let mut confirmed = tenure.clear().await;
    // A guest is made while the store is asked: it knows nothing of the key yet. Where there is no room for it, room is made
    // only once the key is claimed.
    let claim = store.claim(shard, &actor, epoch);
    let (claimed, guest) = both(claim, compiled.unwoken(&home, &actor)).await;
    let mut guest = guest.filter(|guest| !matches!(guest, Err(Asleep::NoRoom(_))));
    let (claimed, mut overwrite) = match claimed {
        Ok(claimed) => (claimed, None),
        Err(Unclaimed::Damaged { reason, revision }) => {
            tracing::error!(%actor, reason, "a key is not served, because its record cannot be read");
            home.events.damaged(&actor, revision, &reason);
            // None of what waits has run.
            let fault = || {
                Fault::NoReplica(format!(
                    "`{actor}` is not served, because its record in the store cannot be read: {reason}; it is left as it \
                     is until `lattice state put` or `lattice state delete` replaces it"
                ))
            };
            // One that names a revision has seen another record.
            let any = |overwrite: &Overwrite| overwrite.if_revision.is_none();
            let Some(overwrite) = refuse_until_overwritten(&mut turns, any, fault) else {
                refuse_all(turns, fault);
                return;
            };
            // What cannot be read cannot tell of a later owner, so this one must be sure of itself.
            let begins = tenure.begin(confirmed, overwrite.context.deadline).await;
            let over = Some((revision, letters.now_ms()));
            match begins == Begin::Now {
                true => match store.claim_over(shard, &actor, epoch, over).await {
                    Ok(claimed) => (claimed, Some(overwrite)),
                    Err(_) => return refuse_here(overwrite, turns, &actor),
                },
                false => return refuse_here(overwrite, turns, &actor),
            }
        }
        Err(Unclaimed::Newer(version)) => {
            tracing::error!(%actor, version, "a key is not served: a later version of Lattice wrote its record");
            refuse_all(turns, || {
                Fault::NoReplica(format!(
                    "`{actor}` is not served by this node: its record is of version {version}, which is later than this node \
                     understands; update the node"
                ))
            });
            return;
        }
        Err(Unclaimed::Taken | Unclaimed::Bus(_)) => {
            refuse_all(turns, || not_here(&actor));
            return;
        }
    };
    let mut last = claimed.record().state.clone();
    let (ended, to_commit) = mpsc::channel(UNCOMMITTED);
    let (count, committed) = watch::channel(0);
    let (room, books) = (letters.record_room(), Books::default());
    let parts = commit::Parts {
        actor: actor.clone(),
        tenure: tenure.clone(),
        claimed,
        letters,
        books: books.clone(),
        committed: count,
        posted,
    };
    // What is known of letters is known before the first turn.
    let committer = tokio::spawn(commit::Committer::new(parts).run(to_commit));
    let mut committer = AbortOnDropHandle::new(committer);
    let (mut made, mut traps) = (0, 0);
    let (mut timers, idle) = (Timers::default(), keyed.idle.duration());
    let mut sleeps = None;
    loop {
        let in_flight = Arc::<InFlight>::default();
        let serving = Serving {
            mailbox: &mut turns,
            in_flight: &in_flight,
            tenure: &tenure,
            confirmed: &mut confirmed,
            done: &ended,
            known: &books.known,
            backlog: &books.backlog,
            timers: &mut timers,
            room,
            made: &mut made,
            committed: &committed,
            last: &mut last,
            idle,
            sleeps: &mut sleeps,
        };
        if let Some(overwrite) = overwrite.take() {
            serving.overwrite(overwrite).await;
            continue;
        }
        let state = serving.last.clone();
        let woken = match guest.take() {
            Some(Ok(unwoken)) => unwoken.wake(state.clone(), keyed.state.0).await,
            Some(Err(asleep)) => Err(asleep),
            None => {
                let wake = || compiled.wake(&home, &actor, state.clone(), keyed.state.0);
                with_room(&shared, &current, wake).await
            }
        };
        let instance = match woken {
            Ok(instance) => instance,
            Err(asleep) => {
                let fault = match asleep {
                    Asleep::NoRoom(reason) => {
                        tracing::debug!(%actor, reason, "there is no room to wake a key, and nothing that could sleep");
                        Fault::Overloaded(format!("{actor} (its node has no room to wake it: {reason})"))
                    }
                    Asleep::Broken(reason) => {
                        home.tally.did_not_start();
                        home.events.crashed(&home.actor.name, &format!("a key does not wake: {reason}"));
                        // None of what waits has run.
                        Fault::NoReplica(format!("`{actor}` does not wake: {reason}"))
                    }
                    Asleep::Refused(fault) => fault,
                };
                // It may wake with what an operator gives it.
                overwrite = refuse_until_overwritten(&mut turns, |_| true, || fault.clone());
                if overwrite.is_some() {
                    continue;
                }
                refuse_all(turns, || fault.clone());
                break;
            }
        };
        current.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&in_flight);
        let exit = tokio::select! {
            exit = instance.serve(serving) => Some(exit),
            _ = &mut committer => None,
        };
        let trapped = matches!(exit, Some(Exit::Trapped { .. } | Exit::Overran));
        home.tally.ended(in_flight.answered(), in_flight.failed(), trapped);
        current.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&Arc::default());
        match exit {
            // Another owner has the key, so what waits is for that one.
            None => {
                in_flight.undo_all();
                refuse_all(turns, || not_here(&actor));
                return;
            }
            Some(Exit::Closed) => {
                // What came in while the mailbox was closed has been served. Whoever commits may have ended, too.
                refuse_all(turns, || not_here(&actor));
                break;
            }
            Some(Exit::Retired) => {}
            Some(Exit::Overran) => {
                tracing::warn!(%actor, "a turn ran on after its deadline; its instance was ended");
                home.events.crashed(&home.actor.name, "a turn ran on after its deadline");
            }
            Some(Exit::Trapped { reason, detail }) => {
                tracing::warn!(%actor, reason, detail, "a keyed actor trapped and is woken again");
                home.events.crashed(&home.actor.name, &reason);
                traps = if in_flight.answered() > 0 { 1 } else { traps + 1 };
                if traps >= TRAPS {
                    let fault = format!("`{actor}` traps again and again: {reason}");
                    let fault = || Fault::NoReplica(fault.clone());
                    // It may live with what an operator gives it.
                    overwrite = refuse_until_overwritten(&mut turns, |_| true, fault);
                    if overwrite.is_some() {
                        traps = 0;
                        continue;
                    }
                    refuse_all(turns, fault);
                    break;
                }
            }
        }
    }
    // What was answered is committed before the key is let go of.
    drop(ended);
    if let Ok(Err(Lost::Unknown)) = committer.await {
        tracing::warn!(%actor, "nobody knows what became of its last commit");
    }
}

fn not_here(actor: &ActorId) -> Fault {
    Fault::NotHere { actor: actor.to_string(), revision: 0 }
}

/// What comes of a claim, and of what is done meanwhile, which is of no use without it.
async fn both<C, E, G>(
    claim: impl Future<Output = Result<C, E>>,
    make: impl Future<Output = G>,
) -> (Result<C, E>, Option<G>) {
    tokio::pin!(claim, make);
    tokio::select! {
        biased;
        claimed = &mut claim => match claimed {
            Ok(claimed) => (Ok(claimed), Some(make.await)),
            Err(unclaimed) => (Err(unclaimed), None),
        },
        made = &mut make => (claim.await, Some(made)),
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

/// The key is not here, whatever an operator wants of it.
fn refuse_here(overwrite: Turn, turns: mpsc::Receiver<Turn>, actor: &ActorId) {
    overwrite.waiting.answer(Err(not_here(actor)));
    refuse_all(turns, || not_here(actor));
}

/// Refuses what waits, up to what an operator says the state of the key is.
fn refuse_until_overwritten(
    turns: &mut mpsc::Receiver<Turn>,
    suits: impl Fn(&Overwrite) -> bool,
    fault: impl Fn() -> Fault,
) -> Option<Turn> {
    while let Ok(turn) = turns.try_recv() {
        match &turn.message.cause {
            Cause::Overwrite(overwrite) if suits(overwrite) => return Some(turn),
            _ => turn.waiting.answer(Err(fault())),
        }
    }
    None
}

/// Nothing is served any more.
fn refuse_all(mut turns: mpsc::Receiver<Turn>, fault: impl Fn() -> Fault) {
    turns.close();
    while let Ok(turn) = turns.try_recv() {
        turn.waiting.answer(Err(fault()));
    }
}
