//! The actors around the one under test, and a record of what they were asked.
//!
//! A call yields once before it is answered, so that calls which are joined are under way together, as in a lattice.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::executor::block_on;
use futures::future::LocalBoxFuture;
use serde::Serialize;
use serde_json::Value;

use super::TestContext;
use super::key::{Key, Reminder, Sent};
use super::keys::{Due, Keys, Letter};
use crate::call::Outgoing;
use crate::cause::Cause;
use crate::{Actor, CallError, Keyed, Message, Result, actor, json};

/// The actors that a test knows; a cheap handle, of which all clones share one record.
///
/// See [the module](crate::testing) for examples.
#[derive(Clone, Default)]
pub struct Mesh {
    self_id: Option<Rc<str>>,
    /// Where the message at hand was published to.
    topic: Option<Rc<str>>,
    /// The actors that wait for each other here, outermost first.
    chain: Vec<Rc<str>>,
    shared: Rc<Shared>,
}

#[derive(Default)]
pub(super) struct Shared {
    // Filled before the first call and looked up without a borrow held over an answer: answers may call again.
    actors: RefCell<HashMap<String, Handler>>,
    answers: RefCell<HashMap<(String, String), Handler>>,
    keys: Keys,
    calls: RefCell<Vec<Recorded>>,
    published: RefCell<Vec<Published>>,
    under_way: Cell<usize>,
    most_under_way: Cell<usize>,
}

type Handler = Rc<dyn Fn(TestContext, Message) -> LocalBoxFuture<'static, Result<Vec<u8>>>>;

/// A call that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Whom it was made to.
    pub to: String,
    /// What was asked.
    pub operation: String,
    /// The arguments; `null` where they are no JSON.
    pub arguments: Value,
    /// The time limit that the caller gave it, if any.
    pub timeout: Option<Duration>,
}

/// A message that was published.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// To which topic.
    pub topic: String,
    /// What was told; `null` where it is no JSON.
    pub message: Value,
    /// By whom.
    pub from: String,
}

impl Mesh {
    /// No actors yet.
    pub fn new() -> Self {
        Mesh::default()
    }

    /// Adds a real actor.
    #[must_use]
    pub fn actor<A: Actor + 'static>(self, id: &str, actor: A) -> Self {
        let actor = Rc::new(actor);
        let handler: Handler = Rc::new(move |context, message| {
            let actor = actor.clone();
            async move { actor::answer(&*actor, &context, message).await }.boxed_local()
        });
        self.shared.actors.borrow_mut().insert(id.to_owned(), handler);
        self
    }

    /// Adds a keyed actor by its name; any key of it wakes with its first message.
    #[must_use]
    pub fn keyed<S: Keyed>(self, name: &str) -> Self {
        self.shared.keys.add::<S>(name);
        self
    }

    /// Answers an operation with a closure, which is given the arguments. It goes before a real actor of that ID.
    #[must_use]
    pub fn answer<T: Serialize>(
        self,
        id: &str,
        operation: &str,
        answer: impl Fn(Value) -> Result<T> + 'static,
    ) -> Self {
        let handler: Handler = Rc::new(move |_, message| {
            let reply = json::reply(answer(arguments(message.payload())));
            async move { reply }.boxed_local()
        });
        self.shared.answers.borrow_mut().insert((id.to_owned(), operation.to_owned()), handler);
        self
    }

    /// Fails an operation.
    #[must_use]
    pub fn fail(self, id: &str, operation: &str, error: CallError) -> Self {
        let handler: Handler = Rc::new(move |_, _| {
            let error = error.clone();
            async move { Err(error) }.boxed_local()
        });
        self.shared.answers.borrow_mut().insert((id.to_owned(), operation.to_owned()), handler);
        self
    }

    /// A turn in this mesh, for the operation under test.
    pub fn context(&self) -> TestContext {
        TestContext::new(self.clone())
    }

    /// All calls so far, in the order in which they were sent.
    pub fn calls(&self) -> Vec<Recorded> {
        self.shared.calls.borrow().clone()
    }

    /// All messages that were published so far, in that order. Nobody subscribes here: a test hands them on as it likes.
    pub fn published(&self) -> Vec<Published> {
        self.shared.published.borrow().clone()
    }

    /// How many calls were under way at once, at most: 1 when each waited for the one before.
    pub fn most_at_once(&self) -> usize {
        self.shared.most_under_way.get()
    }

    /// One key of a keyed actor, such as `cart/alice`: its state, its reminders, and a way to put it to sleep.
    ///
    /// # Panics
    /// When no [keyed](Mesh::keyed) actor of that name was added.
    pub fn key(&self, id: &str) -> Key {
        match self.shared.keys.record(id) {
            Some(record) => Key(record),
            None => panic!("`{id}` is no key of a keyed actor in this mesh: add the actor with `keyed`"),
        }
    }

    /// All messages that turns sent so far, in that order, delivered or not.
    pub fn sent(&self) -> Vec<Sent> {
        self.shared.keys.sent()
    }

    /// Delivers what is on its way, and what that sends, until nothing is left. Gives what failed and why; it is not tried
    /// again.
    #[must_use = "what failed is not tried again"]
    pub fn deliver(&self) -> Vec<(Sent, CallError)> {
        let mut failed = Vec::new();
        while let Some(Letter { id, sent, message }) = self.shared.keys.next_letter() {
            let context = self.turn(&sent.to, Cause::Send).with_caller(&sent.from).with_message(id, 1);
            let reply = match self.find(&sent.to, message.operation()) {
                Some(handler) => block_on(handler(context, message)),
                None => Err(CallError::NoSuchActor(sent.to.clone())),
            };
            failed.extend(reply.err().map(|error| (sent, error)));
        }
        failed
    }

    /// What time it is in this test. Time passes only by [`advance`](Mesh::advance).
    pub fn now(&self) -> SystemTime {
        self.shared.keys.now()
    }

    /// Lets so much time pass. Each reminder, and each timer of a key that is awake, that is due meanwhile is delivered at its
    /// time, in the order of their times.
    /// Gives what failed and why; it is not tried again.
    #[must_use = "what failed is not tried again"]
    pub fn advance(&self, by: Duration) -> Vec<(Reminder, CallError)> {
        let keys = &self.shared.keys;
        let (mut failed, until) = (Vec::new(), keys.later(by));
        while let Some(Due { record, cause, id, reminder, message }) = keys.next_due(until) {
            let context = self.turn(&record.id, cause).with_caller(&record.id).with_message(id, 1);
            let reply = block_on(keys.turn(&record, context.into_context(), message));
            failed.extend(reply.err().map(|error| (reminder, error)));
        }
        keys.set_clock(until);
        failed
    }

    /// A turn that nobody waits for.
    fn turn(&self, id: &str, cause: Cause) -> TestContext {
        let mesh = Mesh { shared: self.shared.clone(), ..Mesh::default() };
        mesh.waited_for(id).context().with_cause(cause)
    }

    pub(crate) fn self_id(&self) -> &str {
        self.self_id.as_deref().unwrap_or("under-test")
    }

    pub(super) fn named(&self, id: String) -> Self {
        Mesh { self_id: Some(id.into()), ..self.clone() }
    }

    pub(super) fn heard_by(&self, topic: String) -> Self {
        Mesh { topic: Some(topic.into()), ..self.clone() }
    }

    /// The mesh around an actor that the actor of this one waits for.
    fn waited_for(&self, id: &str) -> Self {
        let id: Rc<str> = id.into();
        let chain = self.chain.iter().cloned().chain([id.clone()]).collect();
        Mesh { self_id: Some(id), topic: None, chain, shared: self.shared.clone() }
    }

    pub(crate) fn call(&self, outgoing: Outgoing) -> LocalBoxFuture<'static, Result<Vec<u8>>> {
        let Outgoing { to, operation, payload, content_type, timeout } = outgoing;
        let recorded = Recorded {
            to: to.clone(),
            operation: operation.clone(),
            arguments: arguments(&payload),
            timeout,
        };
        self.shared.calls.borrow_mut().push(recorded);
        let mut context = self.waited_for(&to).context().with_caller(self.self_id());
        if let Some(limit) = timeout {
            context = context.with_remaining(limit);
        }
        let handler = match self.find(&to, &operation) {
            Some(_) if self.is_deadlock(&to) => Err(CallError::Deadlock(to)),
            Some(handler) => Ok(handler),
            None => Err(CallError::NoSuchActor(to)),
        };
        let message = Message { operation, content_type: content_type.to_owned(), payload };
        let shared = self.shared.clone();
        async move {
            let _under_way = UnderWay::begin(shared);
            yield_once().await;
            handler?(context, message).await
        }
        .boxed_local()
    }

    pub(crate) fn publish(
        &self,
        topic: String,
        payload: Vec<u8>,
        _content_type: &'static str,
    ) -> LocalBoxFuture<'static, Result<()>> {
        let published = Published { topic, message: arguments(&payload), from: self.self_id().to_owned() };
        let shared = self.shared.clone();
        async move {
            yield_once().await;
            shared.published.borrow_mut().push(published);
            Ok(())
        }
        .boxed_local()
    }

    pub(crate) fn topic(&self) -> Option<String> {
        self.topic.as_deref().map(Into::into)
    }

    fn find(&self, to: &str, operation: &str) -> Option<Handler> {
        let answer = self.shared.answers.borrow().get(&(to.to_owned(), operation.to_owned())).cloned();
        answer.or_else(|| self.shared.actors.borrow().get(to).cloned()).or_else(|| self.find_key(to))
    }

    fn find_key(&self, to: &str) -> Option<Handler> {
        let record = self.shared.keys.record(to)?;
        let shared = self.shared.clone();
        Some(Rc::new(move |context, message| {
            let (shared, record) = (shared.clone(), record.clone());
            async move { shared.keys.turn(&record, context.into_context(), message).await }.boxed_local()
        }))
    }

    /// Whether the call would come back to an activation that waits for it.
    fn is_deadlock(&self, to: &str) -> bool {
        self.chain.iter().any(|id| **id == *to) && self.shared.keys.record(to).is_some()
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Mesh").field("self_id", &self.self_id()).finish_non_exhaustive()
    }
}

pub(super) fn arguments(payload: &[u8]) -> Value {
    serde_json::from_slice(payload).unwrap_or_default()
}

/// Counts a call until it ends or is dropped.
struct UnderWay(Rc<Shared>);

impl UnderWay {
    fn begin(shared: Rc<Shared>) -> Self {
        let now = shared.under_way.get() + 1;
        shared.under_way.set(now);
        shared.most_under_way.set(shared.most_under_way.get().max(now));
        UnderWay(shared)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|task| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        task.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
