//! One guest that is one key of a keyed actor: woken with its state, and then entered for one message after the other.
//!
//! What a turn gives is handed on as it is. Nothing here commits, and a turn that has ended is answered by whoever takes what
//! is [`Ended`]; only one that changed nothing, and saw nothing that is not committed, is answered here. So is what is still in
//! a guest that ends, as in any instance.

mod room;
mod runner;
mod timed;
mod turn;
mod wake;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use wasmtime::Store;
use wasmtime::component::TypedFunc;

use super::guest::Guest;
use super::instance::end;
use super::prepare::{Desk, Prepared, prepare};
use super::settle::settle;
use super::used::metered;
use super::{Exit, abi};
use crate::keyed::{Backlog, Known, Tenure, Timers};
use crate::replica::{Answer, Cause, InFlight, Outgoing, Remind, Turn, TurnContext, Waiting};
use crate::telemetry::Cold;

use runner::{Runner, hand_over};
pub use wake::{Asleep, Unwoken};

type TurnFunction = TypedFunc<(abi::KeyedMessage,), (abi::WitOutcome,)>;

/// A turn that has ended, with what is to come of it.
pub struct Ended {
    /// Who waits.
    pub waiting: Waiting,
    /// What is to be told, once that is allowed.
    pub answer: Answer,
    /// The new state; none where it is as it was.
    pub state: Option<Bytes>,
    /// Why there was the message.
    pub cause: Cause,
    /// What it sends.
    pub sends: Vec<Outgoing>,
    /// What it says of its reminders.
    pub reminders: Vec<Remind>,
    /// What it began with, by its tenure.
    pub number: u64,
    /// What else is known of it.
    pub context: Arc<TurnContext>,
}

impl Ended {
    /// Whether there is anything to commit.
    pub fn has_effects(&self) -> bool {
        use Cause::{GiveUp, Overwrite, Reminder, Skip};
        let cause = matches!(self.cause, Reminder(_) | Skip(_) | GiveUp(..) | Overwrite(_));
        let reminded = cause && self.answer.is_ok();
        self.state.is_some() || !self.sends.is_empty() || !self.reminders.is_empty() || reminded
    }
}

/// What whoever commits is told, in this order.
#[allow(clippy::large_enum_variant, reason = "nearly all of them are the large one")]
pub enum Done {
    /// A turn has ended.
    Turn(Ended),
    /// The next turn waits until the key was claimed once more. With the id of a reminder of which the server is to be told
    /// once more.
    Confirm(oneshot::Sender<()>, Option<String>),
}

/// A guest that is awake.
pub struct KeyedInstance {
    store: Store<Guest>,
    turn: TurnFunction,
    limits: Limits,
}

/// What a turn may give at most, in bytes.
#[derive(Clone, Copy)]
struct Limits {
    /// Its reply, and each payload.
    payload: usize,
    state: u64,
}

/// What a guest serves with.
pub struct Serving<'a> {
    /// Where its messages are.
    pub mailbox: &'a mut mpsc::Receiver<Turn>,
    /// Who waits for what is in it.
    pub in_flight: &'a InFlight,
    /// Whether turns may begin.
    pub tenure: &'a Tenure,
    /// What it is asked with.
    pub confirmed: &'a mut u64,
    /// Where turns go that have ended, in their order.
    pub done: &'a mpsc::Sender<Done>,
    /// How many states were made before, and how many of them are committed.
    pub made: &'a mut u64,
    /// Follows the commits.
    pub committed: &'a watch::Receiver<u64>,
    /// What is committed of letters and reminders.
    pub known: &'a Mutex<Known>,
    /// What waits to be posted.
    pub backlog: &'a Backlog,
    /// What it wants to be told while it is awake.
    pub timers: &'a mut Timers,
    /// What the state and all that waits may have together, in bytes.
    pub room: usize,
    /// The last state that a turn made; what the guest is woken with after a trap.
    pub last: &'a mut Option<Bytes>,
    /// How long it may be without a message.
    pub idle: Duration,
    /// How long it took to wake, where messages waited for that.
    pub cold: Option<Cold>,
    /// When it falls asleep if none comes; none before the first instance. Timers are no messages, whatever instances they take.
    pub sleeps: &'a mut Option<Instant>,
}

impl KeyedInstance {
    /// Serves until it ends. Whatever is still in the mailbox then stays there.
    pub async fn serve(mut self, serving: Serving<'_>) -> Exit {
        let (turn, limits) = (self.turn, self.limits);
        let (home, long) = (self.store.data().home.clone(), self.store.data().long.clone());
        let in_flight = serving.in_flight;
        let served = settle(
            self.store
                .run_concurrent(async |accessor| Runner::new(accessor, turn, limits, serving).run().await),
        );
        let ended = tokio::select! {
            ended = metered(served, home, long) => Some(ended),
            () = in_flight.given_up() => None,
        };
        end(self.store, ended, in_flight)
    }
}

impl Serving<'_> {
    /// Takes in what an operator says the state of a key is, of which there is no guest. False when that is not to be, and
    /// the operator was told why.
    pub async fn overwrite(self, turn: Turn) -> bool {
        let Self { known, backlog, room, committed, made, last, done, timers, .. } = self;
        let desk = Desk { known, backlog, room, committed, made: *made };
        match prepare(turn, desk).await {
            Prepared::Overwritten(ended, state) => {
                *made += 1;
                *last = state;
                timers.clear();
                hand_over(done, ended).await.is_ok()
            }
            Prepared::Answered => false,
            Prepared::Run(turn) | Prepared::Unknown(turn, _) => {
                turn.waiting.answer(Err(turn.context.undone()));
                false
            }
            Prepared::Skipped(ended) => {
                ended.waiting.answer(Err(ended.context.undone()));
                false
            }
        }
    }
}
