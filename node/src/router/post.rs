//! What goes to one other node: calls, replies and cancellations.
//!
//! A message costs the broker, and the client library at both ends, more than the call in it. So whatever is there to
//! be sent at the same moment travels together. Nothing waits for a time: on an idle node an entry is sent at once, on a
//! busy one by a task, which sends all that is there when it gets its turn, and again until nothing is left. So the
//! busier a node is, the less each of its calls costs.
//!
//! Rules:
//! 1. A call gets its number when it is sent. No number is used twice by one incarnation, so that a late reply never
//!    meets another call.
//! 2. A call that was given up before it was sent is not sent; after that its number is cancelled.
//! 3. Calls that were never sent, or that NATS says nobody got, surely did not run. All others that get no reply may
//!    have.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lattice_proto::envelope::{Calls, Cancel, MAX_TOGETHER, Replies, Reply};
use lattice_proto::subject::{Inbox, Refused, Subjects};
use lattice_proto::{Fault, Incarnation, Ran};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::bus::Connection;

/// Calls that may wait for the replies of one node. A caller that finds it full is told `overloaded`.
const MAX_WAITING: usize = 65_536;

/// A message that has this many bytes takes no more entries: the next ones need not wait for it to be written.
const FULL: usize = 64 << 10;

/// From so many calls on that are under way, whoever posts one is taken to be about to post more.
const BUSY: usize = 8;

/// What a frame adds to the entries in it, in bytes, with room to spare.
const FRAME: usize = 256;

/// What comes of a call that was posted; none when its fate is not known.
pub(super) type Delivery = oneshot::Receiver<Reply>;

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
    calls: Vec<Outgoing>,
    /// Sent, by number.
    waiting: HashMap<u64, oneshot::Sender<Reply>>,
    /// Not sent yet. Bounded by the mailboxes, which took the calls that are answered here.
    replies: Vec<Bytes>,
    /// Not sent yet. Bounded by the calls that were sent.
    cancels: Vec<u64>,
    /// Whether a task is sending.
    sending: bool,
}

struct Outgoing {
    call: Bytes,
    reply: oneshot::Sender<Reply>,
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
    calls: Vec<Bytes>,
    replies: Vec<Bytes>,
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
    /// When it is larger than any message may be, or too many wait already.
    pub fn call(&self, call: Bytes, actor: &str) -> Result<Posted<'_>, Fault> {
        self.fits(&call).map_err(|(limit, size)| Fault::TooLarge { limit, size, ran: Ran::No })?;
        let (reply, delivery) = oneshot::channel();
        let number = Arc::<AtomicU64>::default();
        let mut state = self.state();
        if state.calls.len() + state.waiting.len() >= MAX_WAITING {
            return Err(Fault::Overloaded(format!("{actor} (too many calls wait for its node)")));
        }
        state.calls.push(Outgoing { call, reply, number: number.clone() });
        self.send_soon(state);
        Ok(Posted { post: self, number, delivery, done: false })
    }

    /// Whether an entry fits into a message: the server's limit and its size in bytes when it does not.
    pub fn fits(&self, entry: &Bytes) -> Result<(), (u64, u64)> {
        let (limit, size) = (self.shared.sorting.bus.max_payload(), entry.len() + FRAME);
        if size > limit { Err((limit as u64, size as u64)) } else { Ok(()) }
    }

    /// Posts a reply that fits into a message.
    pub fn reply(&self, reply: Bytes) {
        let mut state = self.state();
        state.replies.push(reply);
        self.send_soon(state);
    }

    /// Hands replies that arrived to those who wait for them.
    pub fn deliver(&self, replies: impl Iterator<Item = Reply>) {
        let mut state = self.state();
        for reply in replies {
            if let Some(waiting) = state.waiting.remove(&reply.number) {
                // Whoever gave up meanwhile reads nothing.
                let _ = waiting.send(reply);
            }
        }
    }

    /// Tells calls that nobody got them.
    pub fn return_to_sender(&self, refused: &Refused) {
        // The count comes from a subject that others could write.
        let numbers = (refused.first..).take((refused.count as usize).min(MAX_TOGETHER));
        let gone = |number| {
            let reason = "the node that ran it is gone".to_owned();
            Reply { number, outcome: Err(Fault::NoReplica(reason)), load: 0 }
        };
        self.deliver(numbers.map(gone));
    }

    /// Gives up on all calls: the node is lost. Those that were sent may have run.
    pub fn lose(&self) {
        let (calls, waiting) = {
            let mut state = self.state();
            (std::mem::take(&mut state.calls), std::mem::take(&mut state.waiting))
        };
        for call in calls {
            call.never_sent("the node that ran it is gone");
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
        if std::mem::replace(&mut state.sending, true) {
            return;
        }
        drop(state);
        let mut sending = Box::pin(self.clone().send());
        // On an idle node it is sent here and now: a task would have to be woken for it. That it cannot wait here does
        // not matter, as it is polled again by its task then. On a busy one the task runs when whoever is at it has
        // gone through all that is ready, and most of that has something to add.
        let now = &mut std::task::Context::from_waker(std::task::Waker::noop());
        if self.is_busy() || sending.as_mut().poll(now).is_pending() {
            self.shared.sorting.tasks.spawn(sending);
        }
    }

    /// Whether so much is under way that more is about to be sent.
    fn is_busy(&self) -> bool {
        self.shared.sorting.tasks.len() > BUSY || self.state().waiting.len() > BUSY
    }

    /// Sends until nothing is left.
    async fn send(self) {
        let Sorting { bus, subjects, own, .. } = &*self.shared.sorting;
        // The server may allow less than the entries were measured against, after a reconnection to another one.
        let room = bus.max_payload().min(FULL);
        loop {
            let Some(round) = self.state().next_round(&self.shared.sorting.numbers, room) else { return };
            if !bus.is_up() {
                self.state().take_back(&round);
                continue;
            }
            let Round { first, calls, replies, cancels } = round;
            if !calls.is_empty() {
                let refused = Refused { peer: self.shared.to.clone(), first, count: calls.len() as u64 };
                let refused = subjects.inbox(own, &Inbox::Refused(refused));
                let frame = Calls::new(own.clone(), first, calls).encode();
                bus.publish_or_refuse(self.shared.calls.clone(), refused, frame).await;
            }
            if !replies.is_empty() {
                bus.publish(self.shared.replies.clone(), Replies::new(own.clone(), replies).encode()).await;
            }
            if !cancels.is_empty() {
                let cancel = Cancel { origin: own.clone(), numbers: cancels };
                bus.publish(self.shared.cancels.clone(), cancel.encode()).await;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is sent next; none when there is nothing, and then the sending ends.
    fn next_round(&mut self, numbers: &AtomicU64, room: usize) -> Option<Round> {
        self.calls.retain(|call| !call.reply.is_closed());
        let sizes = self.calls.iter().map(|call| call.call.len());
        let taken = fitting(sizes, room);
        let first = numbers.fetch_add(taken as u64, Ordering::Relaxed);
        let mut round = Round { first, ..Round::default() };
        for (number, call) in (first..).zip(self.calls.drain(..taken)) {
            call.number.store(number, Ordering::Relaxed);
            self.waiting.insert(number, call.reply);
            round.calls.push(call.call);
        }
        let taken = fitting(self.replies.iter().map(Bytes::len), room);
        round.replies = self.replies.drain(..taken).collect();
        let taken = self.cancels.len().min(MAX_TOGETHER);
        round.cancels = self.cancels.drain(..taken).collect();
        self.sending = !(round.calls.is_empty() && round.replies.is_empty() && round.cancels.is_empty());
        self.sending.then_some(round)
    }

    /// There is no connection. Calls of this round were never sent; replies and cancellations are lost with it.
    fn take_back(&mut self, round: &Round) {
        for number in (round.first..).take(round.calls.len()) {
            if let Some(waiting) = self.waiting.remove(&number) {
                let reason = "it runs on other nodes, and NATS cannot be reached at the moment".to_owned();
                let _ = waiting.send(Reply { number, outcome: Err(Fault::NoReplica(reason)), load: 0 });
            }
        }
    }
}

impl Outgoing {
    fn never_sent(self, reason: &str) {
        let outcome = Err(Fault::NoReplica(reason.to_owned()));
        let _ = self.reply.send(Reply { number: 0, outcome, load: 0 });
    }
}

/// How many entries of these sizes go into one message: as many as fit, and at least one.
fn fitting(sizes: impl Iterator<Item = usize>, room: usize) -> usize {
    let mut total = FRAME;
    sizes
        .take(MAX_TOGETHER)
        .enumerate()
        .take_while(|(index, size)| {
            // Each entry is preceded by its tag and length.
            total += size + 8;
            *index == 0 || total <= room
        })
        .count()
}

impl Posted<'_> {
    /// Waits for the reply; none when the node was lost. Cancel safe.
    pub async fn delivered(&mut self) -> Option<Reply> {
        let delivered = (&mut self.delivery).await;
        self.done = true;
        delivered.ok()
    }
}

impl Drop for Posted<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.post.state();
        let number = self.number.load(Ordering::Relaxed);
        // A call that was not sent is left out when its turn comes, since nobody waits for its reply.
        if number != 0 && state.waiting.remove(&number).is_some() {
            state.cancels.push(number);
            self.post.send_soon(state);
        } else {
            self.delivery.close();
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
        let (numbers, mut state) = (AtomicU64::new(1), State { sending: true, ..State::default() });
        let (calls, deliveries): (Vec<_>, Vec<_>) = (0..3).map(|_| outgoing(10)).unzip();
        state.calls = calls;
        state.replies = vec![Bytes::from_static(b"a")];
        let round = state.next_round(&numbers, FULL).unwrap();
        assert_eq!((round.first, round.calls.len(), round.replies.len()), (1, 3, 1));
        assert_eq!(state.waiting.len(), 3);
        assert!(state.sending);
        assert!(state.next_round(&numbers, FULL).is_none());
        assert!(!state.sending, "the next entry starts a new task");
        drop(deliveries);
    }

    #[test]
    fn a_call_that_was_given_up_before_is_not_sent() {
        let (numbers, mut state) = (AtomicU64::new(1), State::default());
        let (first, given_up) = outgoing(10);
        let (second, delivery) = outgoing(10);
        state.calls = vec![first, second];
        drop(given_up);
        let round = state.next_round(&numbers, FULL).unwrap();
        assert_eq!((round.calls.len(), state.waiting.len()), (1, 1));
        drop(delivery);
    }

    #[test]
    fn a_large_call_goes_alone_and_is_not_held_back() {
        assert_eq!(fitting([FULL * 2, 1].into_iter(), FULL), 1);
        assert_eq!(fitting([1, FULL, 1].into_iter(), FULL), 1);
        assert_eq!(fitting(std::iter::repeat_n(1, 1000), FULL), MAX_TOGETHER);
        assert_eq!(fitting(std::iter::empty(), FULL), 0);
    }

    #[test]
    fn without_a_connection_calls_surely_did_not_run() {
        let (numbers, mut state) = (AtomicU64::new(1), State::default());
        let (call, mut delivery) = outgoing(10);
        state.calls = vec![call];
        let round = state.next_round(&numbers, FULL).unwrap();
        state.take_back(&round);
        let reply = delivery.try_recv().unwrap();
        assert!(matches!(reply.outcome, Err(Fault::NoReplica(_))));
        assert!(state.waiting.is_empty());
    }
}
