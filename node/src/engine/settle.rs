//! Polls a future again at once when it was woken by what it did itself.
//!
//! Wasmtime keeps a store's pending calls in a `FuturesUnordered`, which wakes its own task after each round through its
//! members, ready or not. A task that is woken while it runs goes to the end of its thread's queue, and the scheduler
//! then wakes another thread to help. For a guest that has one call under way that is a switch between threads for
//! nothing, and costs more than the call. So such wakings are taken note of here, and the future is polled again, at
//! most [`AGAIN`] times before others get their turn.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Once is enough to find that nothing is ready; the second time is for what became ready meanwhile.
const AGAIN: usize = 2;

const POLLING: u8 = 1;
const WOKEN: u8 = 2;

/// The future, boxed, since it stays where it is for the life of a guest.
pub(super) struct Settle<F> {
    future: Pin<Box<F>>,
    state: Arc<State>,
    waker: Waker,
}

#[derive(Default)]
struct State {
    /// Which of [`POLLING`] and [`WOKEN`] hold. One number, so that no waking falls between two looks.
    flags: AtomicU8,
    /// Whoever polls this.
    outer: AtomicWaker,
}

/// Wraps a future.
pub(super) fn settle<F: Future>(future: F) -> Settle<F> {
    let state = Arc::<State>::default();
    Settle { future: Box::pin(future), waker: Waker::from(state.clone()), state }
}

impl<F: Future> Future for Settle<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, state, waker } = &mut *self;
        state.outer.register(task.waker());
        for _ in 0..=AGAIN {
            // A swap and no store: what was written before an earlier waking, which this takes away, must be seen now.
            state.flags.swap(POLLING, Ordering::AcqRel);
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(waker)) {
                return Poll::Ready(output);
            }
            // Fails when it was woken meanwhile, by itself or by another thread.
            if state.flags.compare_exchange(POLLING, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        state.flags.swap(0, Ordering::AcqRel);
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let before = self.flags.fetch_or(WOKEN, Ordering::AcqRel);
        if before & POLLING == 0 {
            self.outer.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::ready;

    use tokio::sync::oneshot;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll<F: Future + Unpin>(future: &mut F, count: &Arc<Count>) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(&Waker::from(count.clone())))
    }

    #[test]
    fn a_future_that_wakes_itself_once_disturbs_nobody() {
        let (count, mut polls) = (Arc::<Count>::default(), 0);
        let mut future = settle(std::future::poll_fn(|task| {
            polls += 1;
            if polls == 1 {
                task.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        }));
        assert!(poll(&mut future, &count).is_pending());
        drop(future);
        assert_eq!((polls, count.0.load(Ordering::SeqCst)), (2, 0));
    }

    #[test]
    fn a_future_that_wakes_itself_for_ever_lets_others_run() {
        let (count, mut polls) = (Arc::<Count>::default(), 0);
        let mut future = settle(std::future::poll_fn(|task| {
            polls += 1;
            task.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        assert!(poll(&mut future, &count).is_pending());
        drop(future);
        assert_eq!((polls, count.0.load(Ordering::SeqCst)), (AGAIN + 1, 1));
    }

    #[test]
    fn what_wakes_it_from_outside_is_passed_on() {
        let count = Arc::<Count>::default();
        let (sender, receiver) = oneshot::channel();
        let mut receiver = Box::pin(receiver);
        let mut future =
            settle(std::future::poll_fn(move |task| Poll::Ready(ready!(receiver.as_mut().poll(task)))));
        assert!(poll(&mut future, &count).is_pending());
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        sender.send(7).unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(poll(&mut future, &count), Poll::Ready(Ok(7)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_waking_is_lost_between_threads() {
        for _ in 0..2_000 {
            let (sender, receiver) = oneshot::channel();
            let waiting = tokio::spawn(settle(receiver));
            tokio::spawn(async move { sender.send(()) });
            waiting.await.unwrap().unwrap();
        }
    }
}
