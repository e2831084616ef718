//! What goes to one other node: calls, replies and cancellations.
//!
//! A message costs the broker, and the client library at both ends, more than the call in it. So whatever is there to
//! be sent at the same moment travels together. No clock is waited for: on an idle node an entry is sent by whoever posts
//! it, on a busy one by a task, which sends all that is there when it gets its turn on its thread, or by whoever posts
//! something on another thread before that. So the busier a node is, the less each of its calls costs.
//!
//! Rules:
//! 1. A call gets its number when it is sent. No number is used twice by one incarnation, so that a late reply never
//!    meets another call.
//! 2. A call that was given up before it was sent is not sent; after that its number is cancelled.
//! 3. Calls that were never sent, or that NATS says nobody got, surely did not run. All others that get no reply may
//!    have.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::thread::{self, ThreadId};

use lattice_proto::envelope::{Calls, Cancel, Entry, MAX_TOGETHER, Replies, Reply};
use lattice_proto::subject::{Inbox, Refused, Subjects};
use lattice_proto::{Fault, Incarnation, Ran};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::bus::Connection;

/// Calls that may wait for the replies of one node. A caller that finds it full is told `overloaded`.
const MAX_WAITING: usize = 65_536;

/// A message that has this many bytes takes no more entries. Half of what async-nats reads at once: a message that does not
/// fit into its buffer is copied once more while it arrives.
const FULL: usize = 32 << 10;

/// From so many calls on that are under way, whoever posts one is taken to be about to post more.
const BUSY: usize = 8;

/// Frames that are sent in one go, before others get their turn.
const ROUNDS: usize = 4;

/// What a frame adds to the entries in it, in bytes, with room to spare.
const FRAME: usize = 256;

const GONE: &str = "the node that ran it is gone";

const UNREACHABLE: &str = "it runs on other nodes, and NATS cannot be reached at the moment";

/// What comes of a call that was posted: a reply, or why it never got there.
pub(super) type Delivered = Result<Reply, &'static str>;

/// Where that comes; none when the call's fate is not known.
type Delivery = oneshot::Receiver<Delivered>;

/// Why a call is not in the post.
pub(super) enum Unposted {
    /// It cannot get there at the moment.
    Unreachable(&'static str),
    /// It may not go.
    Refused(Fault),
}

/// What all posts of a node share.
pub(super) struct Sorting {
    pub bus: Connection,
    pub subjects: Subjects,
    pub own: Incarnation,
    /// Numbers the calls of this incarnation.
    pub numbers: AtomicU64,
    /// Whatever must be sent before the node may end.
    pub tasks: TaskTracker,
}

/// A cheap handle on the post to one node.
#[derive(Clone)]
pub(super) struct Post {
    shared: Arc<Shared>,
}

struct Shared {
    sorting: Arc<Sorting>,
    to: Incarnation,
    calls: String,
    replies: String,
    cancels: String,
    /// Held for a few operations on collections, never while anything is sent.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Not sent yet. Bounded with `waiting`, by [`MAX_WAITING`].
    calls: VecDeque<Outgoing>,
    /// Sent, by number.
    waiting: HashMap<u64, oneshot::Sender<Delivered>>,
    /// Not sent yet. One for each call that arrived, so that what bounds it is the other node's own [`MAX_WAITING`].
    replies: VecDeque<Entry>,
    /// Not sent yet. Bounded by the calls that were sent.
    cancels: VecDeque<u64>,
    sending: Sending,
}

/// Who sends what is there.
#[derive(Default, PartialEq, Eq)]
enum Sending {
    /// Nobody: nothing is there.
    #[default]
    Nobody,
    /// A task that waits for its turn behind whatever runs on this thread. Somebody on another thread need not wait for
    /// that, and sends instead.
    Soon(ThreadId),
    /// Somebody, at this moment.
    Now,
}

struct Outgoing {
    call: Entry,
    reply: oneshot::Sender<Delivered>,
    number: Arc<AtomicU64>,
}

/// One call in the post. Dropped before its end, it is taken out or cancelled.
pub(super) struct Posted<'a> {
    post: &'a Post,
    /// 0 for as long as it was not sent.
    number: Arc<AtomicU64>,
    delivery: Delivery,
    done: bool,
}

/// What is sent at once.
#[derive(Default)]
struct Round {
    first: u64,
    calls: Vec<Entry>,
    replies: Vec<Entry>,
    cancels: Vec<u64>,
}

impl Post {
    pub fn new(sorting: Arc<Sorting>, to: Incarnation) -> Self {
        let inbox = |inbox| sorting.subjects.inbox(&to, &inbox);
        let (calls, replies, cancels) = (inbox(Inbox::Call), inbox(Inbox::Reply), inbox(Inbox::Cancel));
        Self { shared: Arc::new(Shared { sorting, to, calls, replies, cancels, state: Mutex::default() }) }
    }

    /// Posts a call that was encoded.
    ///
    /// # Errors
    /// When there is no connection, it is larger than any message may be, or too many wait already.
    pub fn call(&self, call: Entry, actor: &str) -> Result<Posted<'_>, Unposted> {
        if !self.shared.sorting.bus.is_up() {
            return Err(Unposted::Unreachable(UNREACHABLE));
        }
        let too_large = |(limit, size)| Unposted::Refused(Fault::TooLarge { limit, size, ran: Ran::No });
        self.fits(&call).map_err(too_large)?;
        let (reply, delivery) = oneshot::channel();
        let number = Arc::<AtomicU64>::default();
        let mut state = self.state();
        if state.calls.len() + state.waiting.len() >= MAX_WAITING {
            let hint = format!("{actor} (too many calls wait for its node)");
            return Err(Unposted::Refused(Fault::Overloaded(hint)));
        }
        state.calls.push_back(Outgoing { call, reply, number: number.clone() });
        self.send_soon(state);
        Ok(Posted { post: self, number, delivery, done: false })
    }

    /// Whether an entry fits into a message: the server's limit and its size in bytes when it does not.
    pub fn fits(&self, entry: &Entry) -> Result<(), (u64, u64)> {
        let (limit, size) = (self.shared.sorting.bus.max_payload(), entry.len() + FRAME);
        if size > limit { Err((limit as u64, size as u64)) } else { Ok(()) }
    }

    /// Posts a reply that fits into a message.
    pub fn reply(&self, reply: Entry) {
        let mut state = self.state();
        state.replies.push_back(reply);
        self.send_soon(state);
    }

    /// Hands replies that arrived to those who wait for them.
    pub fn deliver(&self, replies: impl Iterator<Item = Reply>) {
        self.hand_over(replies.map(|reply| (reply.number, Ok(reply))));
    }

    /// Tells calls that nobody got them.
    pub fn return_to_sender(&self, refused: &Refused) {
        self.hand_over((refused.first..refused.first + refused.count).map(|number| (number, Err(GONE))));
    }

    fn hand_over(&self, all: impl Iterator<Item = (u64, Delivered)>) {
        let all: Vec<_> = all.collect();
        let delivered: Vec<_> = {
            let mut state = self.state();
            let waiting = |(number, delivered)| Some((state.waiting.remove(&number)?, delivered));
            all.into_iter().filter_map(waiting).collect()
        };
        for (waiting, delivered) in delivered {
            // Whoever gave up meanwhile reads nothing.
            let _ = waiting.send(delivered);
        }
    }

    /// Gives up on all calls: the node is lost. Those that were sent may have run.
    pub fn lose(&self) {
        let (calls, waiting) = {
            let mut state = self.state();
            (std::mem::take(&mut state.calls), std::mem::take(&mut state.waiting))
        };
        for call in calls {
            call.never_sent(GONE);
        }
        drop(waiting);
    }

    /// Whether calls wait for replies.
    pub fn is_waiting(&self) -> bool {
        let state = self.state();
        !state.calls.is_empty() || !state.waiting.is_empty()
    }

    /// Makes sure that what was just added is sent.
    fn send_soon(&self, mut state: MutexGuard<'_, State>) {
        let busy = state.waiting.len() > BUSY || self.shared.sorting.tasks.len() > BUSY;
        let own = thread::current().id();
        match state.sending {
            Sending::Now => return,
            Sending::Soon(thread) if thread == own => return,
            Sending::Nobody if busy => {
                state.sending = Sending::Soon(own);
                drop(state);
                let post = self.clone();
                // It runs when whoever is at it on this thread has gone through all that is ready, and most of that has
                // something to add.
                self.shared.sorting.tasks.spawn(async move {
                    if post.takes_over() {
                        post.send().await;
                    }
                });
                return;
            }
            Sending::Nobody | Sending::Soon(_) => state.sending = Sending::Now,
        }
        drop(state);
        // It is sent here and now: a task would have to be woken for it. What the guest has left of its time on this
        // thread says nothing about what may be sent. That it cannot wait here does not matter: a task polls it again.
        let mut sending = Box::pin(tokio::task::unconstrained(self.clone().send()));
        if sending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.shared.sorting.tasks.spawn(sending);
        }
    }

    /// Whether the task that was to send still has to.
    fn takes_over(&self) -> bool {
        let mut state = self.state();
        let soon = matches!(state.sending, Sending::Soon(_));
        if soon {
            state.sending = Sending::Now;
        }
        soon
    }

    /// Sends until nothing is left.
    async fn send(self) {
        let Sorting { bus, subjects, own, .. } = &*self.shared.sorting;
        for rounds in 1usize.. {
            let room = bus.max_payload().min(FULL);
            let Some(round) = self.state().next_round(&self.shared.sorting.numbers, room) else { return };
            let Round { first, calls, replies, cancels } = round;
            if !calls.is_empty() {
                let count = calls.len() as u64;
                let refused = Refused { peer: self.shared.to.clone(), first, count };
                let inbox = subjects.inbox(own, &Inbox::Refused(refused));
                let frame = Calls::encode(own, first, &calls);
                if !bus.publish_or_refuse(self.shared.calls.clone(), inbox, frame).await {
                    self.never_sent(first..first + count);
                }
            }
            if !replies.is_empty() {
                bus.publish(self.shared.replies.clone(), Replies::encode(own, &replies)).await;
            }
            if !cancels.is_empty() {
                let cancel = Cancel { origin: own.clone(), numbers: cancels };
                bus.publish(self.shared.cancels.clone(), cancel.encode()).await;
            }
            if rounds % ROUNDS == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// These have their numbers, and did not go out: there is no connection.
    fn never_sent(&self, numbers: std::ops::Range<u64>) {
        self.hand_over(numbers.map(|number| (number, Err(UNREACHABLE))));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is sent next; none when there is nothing, and then the sending ends.
    fn next_round(&mut self, numbers: &AtomicU64, room: usize) -> Option<Round> {
        let mut round = Round::default();
        let mut filled = FRAME;
        let mut sent = Vec::new();
        while let Some(call) = self.calls.front() {
            if call.reply.is_closed() {
                self.calls.pop_front();
                continue;
            }
            if !fits_beside(sent.len(), &mut filled, call.call.len(), room) {
                break;
            }
            sent.extend(self.calls.pop_front());
        }
        round.first = numbers.fetch_add(sent.len() as u64, Ordering::Relaxed);
        for (number, call) in (round.first..).zip(sent) {
            call.number.store(number, Ordering::Relaxed);
            self.waiting.insert(number, call.reply);
            round.calls.push(call.call);
        }
        filled = FRAME;
        while let Some(reply) = self.replies.front()
            && fits_beside(round.replies.len(), &mut filled, reply.len(), room)
        {
            round.replies.extend(self.replies.pop_front());
        }
        let taken = self.cancels.len().min(MAX_TOGETHER);
        round.cancels = self.cancels.drain(..taken).collect();
        let some = !(round.calls.is_empty() && round.replies.is_empty() && round.cancels.is_empty());
        if !some {
            self.sending = Sending::Nobody;
        }
        some.then_some(round)
    }
}

impl Outgoing {
    fn never_sent(self, reason: &'static str) {
        let _ = self.reply.send(Err(reason));
    }
}

/// Whether an entry of this size goes into a message beside so many others: the first one always does.
fn fits_beside(others: usize, filled: &mut usize, size: usize, room: usize) -> bool {
    // Each entry is preceded by its tag and length.
    *filled += size + 8;
    others == 0 || (others < MAX_TOGETHER && *filled <= room)
}

impl Posted<'_> {
    /// Gives up, and tells whether the message may have run: not if it was never sent.
    pub fn give_up(mut self) -> Ran {
        self.withdraw()
    }

    /// Takes it out, or cancels it.
    fn withdraw(&mut self) -> Ran {
        self.done = true;
        let mut state = self.post.state();
        let number = self.number.load(Ordering::Relaxed);
        if number == 0 {
            // Left out when its turn comes, since nobody waits for its reply.
            self.delivery.close();
            return Ran::No;
        }
        if state.waiting.remove(&number).is_some() {
            state.cancels.push_back(number);
            self.post.send_soon(state);
        }
        Ran::Maybe
    }

    /// Waits for the reply; none when the node was lost. Cancel safe.
    pub async fn delivered(&mut self) -> Option<Delivered> {
        let delivered = (&mut self.delivery).await;
        self.done = true;
        delivered.ok()
    }
}

impl Drop for Posted<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.withdraw();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(bytes: usize) -> (Outgoing, Delivery) {
        let (reply, delivery) = oneshot::channel();
        (Outgoing { call: vec![0; bytes].into(), reply, number: Arc::default() }, delivery)
    }

    #[test]
    fn what_is_there_goes_together_and_gets_numbers_in_order() {
        let (numbers, mut state) = (AtomicU64::new(1), State { sending: Sending::Now, ..State::default() });
        let (calls, deliveries): (VecDeque<_>, Vec<_>) = (0..3).map(|_| outgoing(10)).unzip();
        state.calls = calls;
        state.replies = [vec![1].into()].into();
        let round = state.next_round(&numbers, FULL).unwrap();
        assert_eq!((round.first, round.calls.len(), round.replies.len()), (1, 3, 1));
        assert_eq!(state.waiting.len(), 3);
        assert!(state.sending == Sending::Now);
        assert!(state.next_round(&numbers, FULL).is_none());
        assert!(state.sending == Sending::Nobody, "the next entry is sent by whoever posts it");
        drop(deliveries);
    }

    #[test]
    fn a_call_that_was_given_up_before_is_not_sent() {
        let (numbers, mut state) = (AtomicU64::new(1), State::default());
        let (first, given_up) = outgoing(10);
        let (second, delivery) = outgoing(10);
        state.calls = [first, second].into();
        drop(given_up);
        let round = state.next_round(&numbers, FULL).unwrap();
        assert_eq!((round.calls.len(), state.waiting.len()), (1, 1));
        drop(delivery);
    }

    #[test]
    fn a_large_call_goes_alone_and_is_not_held_back() {
        let rounds = |sizes: &[usize]| {
            let (numbers, mut state) = (AtomicU64::new(1), State::default());
            let (calls, _deliveries): (VecDeque<_>, Vec<_>) =
                sizes.iter().map(|size| outgoing(*size)).unzip();
            state.calls = calls;
            std::iter::from_fn(|| state.next_round(&numbers, FULL).map(|round| round.calls.len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(rounds(&[FULL * 2, 1]), [1, 1]);
        assert_eq!(rounds(&[1, FULL, 1]), [1, 1, 1]);
        assert_eq!(rounds(&[1; 300]), [MAX_TOGETHER, 300 - MAX_TOGETHER]);
        assert!(rounds(&[]).is_empty());
    }
}
