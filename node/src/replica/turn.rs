//! One message on its way through one replica, and the caller who waits for it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lattice_proto::envelope::{ContentType, Hop, Link, Overwrite};
use lattice_proto::letter::Stamp;
use lattice_proto::reminder::Due;
use lattice_proto::{ActorId, Fault, MessageId, Operation, Ran, Topic};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Exchange;
use crate::keyed::Tenure;
use crate::tap::{Tapped, Taps};
use crate::telemetry::{Cold, Handling, Own, Scope};

/// What comes of a turn.
pub type Answer = Result<Bytes, Fault>;

const QUEUED: u8 = 0;
const RUNNING: u8 = 1;
const ABANDONED: u8 = 2;

/// What everything that happens within a turn needs to know.
pub struct TurnContext {
    /// The message.
    pub id: MessageId,
    /// Who handles it.
    pub actor: ActorId,
    /// The calls that led here, with this one at the end.
    pub chain: Vec<Hop>,
    /// The topic that the message was published to, where it was.
    pub topic: Option<Topic>,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// Where spans of this turn hang.
    pub trace: Option<Scope>,
    /// Spans that the guest makes.
    pub own: Own,
    /// Set when the caller gave up.
    pub cancelled: CancellationToken,
    phase: AtomicU8,
    /// Whether the guest called others in it.
    called: AtomicBool,
    /// Whether the guest waits in it for what nobody answers any more.
    in_vain: AtomicBool,
    /// When the watchdog first saw that the caller had given up.
    seen_cancelled: OnceLock<Instant>,
    /// What its calls to others wait for.
    gate: OnceLock<Gate>,
    /// Without which they are not made.
    tenure: OnceLock<(Tenure, u64)>,
}

/// Opens when the state that a turn saw is committed.
#[derive(Clone)]
pub struct Gate {
    committed: watch::Receiver<u64>,
    needs: u64,
}

impl Gate {
    /// Opens when so many states are committed.
    pub fn new(committed: watch::Receiver<u64>, needs: u64) -> Self {
        Self { committed, needs }
    }

    /// Waits until it is open.
    ///
    /// # Errors
    /// When it never will be: what the turn saw is undone.
    pub async fn open(mut self) -> Result<(), Fault> {
        let opened = self.committed.wait_for(|committed| *committed >= self.needs).await;
        opened.map(|_| ()).map_err(|_| Fault::Cancelled(Ran::No))
    }
}

impl TurnContext {
    /// The guest calls somebody.
    pub fn call(&self) {
        self.called.store(true, Ordering::Relaxed);
    }

    /// Whether it called anybody.
    pub fn has_called(&self) -> bool {
        self.called.load(Ordering::Relaxed)
    }

    /// Waits, for as long as the instance lives, where a turn has ended and the guest cannot be told: no word of it would be heard, and
    /// nobody else's turn is to end for that.
    pub async fn wait_in_vain(&self) -> ! {
        self.in_vain.store(true, Ordering::Relaxed);
        std::future::pending().await
    }

    /// Whether it does.
    pub(super) fn is_in_vain(&self) -> bool {
        self.in_vain.load(Ordering::Relaxed)
    }

    /// What its caller is told when nothing that it did counts. Only if nothing of it left may it run again elsewhere.
    pub fn undone(&self) -> Fault {
        match self.has_called() {
            false => Fault::NotHere { actor: self.actor.to_string(), revision: 0 },
            true => {
                Fault::Unknown(format!("{} (another node took it over while it handled this)", self.actor))
            }
        }
    }

    /// The guest's calls in this turn wait for this.
    pub fn wait_for(&self, gate: Gate) {
        // A turn begins once.
        let _ = self.gate.set(gate);
    }

    /// What its calls wait for.
    pub fn gate(&self) -> Option<Gate> {
        self.gate.get().cloned()
    }

    /// The guest's calls in this turn count for as long as this holds.
    pub fn let_out_under(&self, tenure: Tenure, number: u64) {
        // A turn begins once.
        let _ = self.tenure.set((tenure, number));
    }

    /// What its calls count under.
    pub fn tenure(&self) -> Option<(Tenure, u64)> {
        self.tenure.get().cloned()
    }

    /// Gives up on the caller's behalf, and tells whether the turn had begun.
    pub fn abandon(&self) -> Ran {
        self.cancelled.cancel();
        let queued = self.phase.compare_exchange(QUEUED, ABANDONED, Ordering::AcqRel, Ordering::Acquire);
        if queued.is_ok() { Ran::No } else { Ran::Maybe }
    }

    /// Whether the turn should have ended by now, with some grace.
    pub(super) fn has_overrun(&self, now: Instant, grace: Duration) -> bool {
        // What is past helping needs no grace.
        if self.is_in_vain() {
            return true;
        }
        let ended = match self.cancelled.is_cancelled() {
            true => self.deadline.min(*self.seen_cancelled.get_or_init(|| now)),
            false => self.deadline,
        };
        now > ended + grace
    }
}

/// What the guest gets to see.
pub struct Message {
    /// What is asked.
    pub operation: Operation,
    /// The arguments.
    pub payload: Bytes,
    /// How they are written.
    pub content_type: ContentType,
    /// The calling actor's ID.
    pub caller: Option<Arc<str>>,
    /// 1 on the first try.
    pub attempt: u32,
    /// Why there is this message.
    pub cause: Cause,
}

/// Why there is a message.
#[derive(Debug, Clone)]
pub enum Cause {
    /// Somebody waits for the answer.
    Call,
    /// The same, by HTTP: what is asked and answered goes another way.
    Http(Arc<Exchange>),
    /// It was published to this topic.
    Topic(Topic),
    /// Somebody waits for the answer, and the operation is a function of this interface that the component exports.
    Link(Link),
    /// A letter, known by this.
    Letter(Stamp),
    /// A reminder of the actor's own is due.
    Reminder(Due),
    /// A timer of the actor's own, of this id.
    Timer(String),
    /// Nobody could handle a reminder that is due. What it would have told is the answer, as an encoded letter.
    Show(Due),
    /// The same, and what comes after it is to come.
    Skip(Due),
    /// Nobody could handle a letter, for this reason: it is to have no effect any more.
    GiveUp(Stamp, String),
    /// An operator says what the state of the key is: the payload.
    Overwrite(Arc<Overwrite>),
}

/// What a turn says of its reminders once it is committed.
pub enum Remind {
    /// This is to be told at a time.
    Set {
        /// Chosen by the actor. One of the same id is replaced.
        id: String,
        /// When.
        when: When,
        /// What is told.
        operation: Operation,
        /// The arguments.
        payload: Bytes,
        /// How they are written.
        content_type: ContentType,
    },
    /// This is not.
    Cancel(String),
}

impl Remind {
    /// The reminder's.
    pub fn id(&self) -> &str {
        match self {
            Remind::Set { id, .. } | Remind::Cancel(id) => id,
        }
    }
}

/// When a reminder is due.
pub enum When {
    /// At this time: milliseconds since 1970 in the time of the NATS server.
    At(u64),
    /// So many milliseconds after the turn.
    After(u64),
    /// The same, and again and again.
    Every(u64),
    /// Whenever this pattern says.
    Cron(String),
}

/// What a turn says of its timers.
pub enum Timing {
    /// This is to be told after so long, once or again and again. One of the same id is replaced.
    Set {
        /// Chosen by the actor.
        id: String,
        /// Counted from the turn's end.
        after: Duration,
        /// Whether it comes again.
        repeats: bool,
        /// What is told.
        operation: Operation,
        /// The arguments.
        payload: Bytes,
        /// How they are written.
        content_type: ContentType,
    },
    /// This is not.
    Cancel(String),
}

/// What a turn sends once it is committed.
pub struct Outgoing {
    /// Whom it is for.
    pub target: ActorId,
    /// What is told.
    pub operation: Operation,
    /// The arguments.
    pub payload: Bytes,
    /// How they are written.
    pub content_type: ContentType,
}

/// A turn before or in a replica.
pub struct Turn {
    /// Shared with whatever happens within the turn.
    pub context: Arc<TurnContext>,
    /// For the guest.
    pub message: Message,
    /// The caller.
    pub waiting: Waiting,
}

/// What is done with the answer of a turn.
pub enum Respond {
    /// Somebody on this node waits for it.
    Waiter(oneshot::Sender<Answer>),
    /// It is handed on at once, on the thread of the guest, with whether spans of the turn are kept. Must not wait for
    /// anything.
    Hand(Box<dyn FnOnce(Answer, bool) + Send>),
}

/// The caller's end of a turn, as the replica holds it. Dropped without an answer, it says that nothing is known.
pub struct Waiting {
    /// Taken by the answer.
    reply: Option<Respond>,
    span: Handling,
    load: Option<Load>,
    /// For those who watch.
    tapped: Option<Box<Tapped>>,
}

/// Counts one message for as long as it lives.
struct Load(Arc<AtomicU32>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A turn as its caller on this node sees it. Dropping it before the answer cancels the turn.
pub struct Pending {
    context: Arc<TurnContext>,
    reply: oneshot::Receiver<Answer>,
    done: bool,
}

impl Turn {
    /// A turn. `span` ends with it.
    pub fn new(
        id: MessageId,
        actor: ActorId,
        mut chain: Vec<Hop>,
        deadline: Instant,
        message: Message,
        span: Handling,
        reply: Respond,
    ) -> Self {
        chain.push(Hop { actor: actor.clone(), message: id.clone() });
        let topic = match &message.cause {
            Cause::Topic(topic) => Some(topic.clone()),
            _ => None,
        };
        let context = Arc::new(TurnContext {
            id,
            actor,
            chain,
            topic,
            deadline,
            trace: span.scope(),
            own: Own::default(),
            cancelled: CancellationToken::new(),
            phase: AtomicU8::new(QUEUED),
            called: AtomicBool::new(false),
            in_vain: AtomicBool::new(false),
            seen_cancelled: OnceLock::new(),
            gate: OnceLock::new(),
            tenure: OnceLock::new(),
        });
        Self { context, message, waiting: Waiting { reply: Some(reply), span, load: None, tapped: None } }
    }

    /// It begins, and is shown to those who watch once this version of the actor has answered.
    pub fn show_to(&mut self, taps: &Taps, version: u64) {
        self.waiting.tapped = taps.see(&self.context, &self.message, version);
    }

    /// Counts this turn among a replica's messages until it is answered.
    pub(crate) fn count_in(&mut self, load: &Arc<AtomicU32>) {
        load.fetch_add(1, Ordering::Relaxed);
        self.waiting.load = Some(Load(load.clone()));
    }

    /// Called when it leaves the mailbox: gives it back if it is still worth running.
    pub fn begin(mut self) -> Option<Self> {
        let now = Instant::now();
        let begin = || {
            let phase = &self.context.phase;
            phase.compare_exchange(QUEUED, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok()
        };
        let late = if self.context.cancelled.is_cancelled() {
            Some(Fault::Cancelled(Ran::No))
        } else if now >= self.context.deadline {
            Some(Fault::Deadline(Ran::No))
        } else {
            (!begin()).then_some(Fault::Cancelled(Ran::No))
        };
        if let Some(fault) = late {
            self.waiting.span.comes_late();
            self.waiting.answer(Err(fault));
            return None;
        }
        self.waiting.span.begins(now);
        Some(self)
    }
}

impl Waiting {
    /// The guest has answered.
    pub fn answered(&mut self) {
        self.span.answers(Instant::now());
    }

    /// What the guest said waits for a commit.
    pub fn commits(&mut self) {
        self.span.commits();
    }

    /// The turn had to wait for something to be made.
    pub fn waited_for(&mut self, cold: Cold) {
        self.span.waited_for(cold);
    }

    /// The guest trapped in it.
    pub fn trapped(&mut self, reason: &str, detail: &str) {
        self.span.trapped(reason, detail);
    }

    /// Answers the caller, if it still waits.
    pub fn answer(mut self, answer: Answer) {
        self.settle(answer);
    }

    fn settle(&mut self, answer: Answer) {
        let Some(reply) = self.reply.take() else { return };
        let kept = self.span.end(answer.as_ref().err());
        // Counted out first: the caller may be told how many are left.
        self.load = None;
        if let Some(tapped) = self.tapped.take() {
            tapped.answered(&answer);
        }
        match reply {
            // A caller that gave up does not read the answer.
            Respond::Waiter(waiter) => drop(waiter.send(answer)),
            Respond::Hand(hand) => hand(answer, kept),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.settle(Err(Fault::Unknown("the replica was stopped".to_owned())));
    }
}

impl Pending {
    /// The caller's end of a turn whose answer comes by `reply`.
    pub fn new(turn: &Turn, reply: oneshot::Receiver<Answer>) -> Self {
        Self { context: turn.context.clone(), reply, done: false }
    }

    /// Waits for the answer, at most until the deadline.
    pub async fn answer(mut self) -> Answer {
        let answer = tokio::time::timeout_at(self.context.deadline.into(), &mut self.reply).await;
        self.done = true;
        match answer {
            Ok(answer) => {
                answer.unwrap_or_else(|_| Err(Fault::Unknown("the replica was stopped".to_owned())))
            }
            Err(_) => Err(Fault::Deadline(self.context.abandon())),
        }
    }
}

impl Pending {
    /// Waits for what comes before the answer, at most until the deadline. From then on the turn needs nobody who waits for it.
    ///
    /// # Errors
    /// The answer, where that comes first.
    pub async fn head<T>(mut self, mut head: oneshot::Receiver<T>) -> Result<T, Fault> {
        let nothing = || Fault::Unknown("the replica was stopped".to_owned());
        let first = async {
            tokio::select! {
                biased;
                Ok(head) = &mut head => Ok(head),
                // Both may have come since it was looked for the first of them.
                answer = &mut self.reply => head.try_recv().map_err(|_| {
                    answer.ok().and_then(Result::err).unwrap_or_else(nothing)
                }),
            }
        };
        let first = tokio::time::timeout_at(self.context.deadline.into(), first).await;
        self.done = true;
        first.unwrap_or_else(|_| Err(Fault::Deadline(self.context.abandon())))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.done {
            self.context.abandon();
        }
    }
}
