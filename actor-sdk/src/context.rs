//! What an operation knows of the message it handles, and its way to other actors.
//!
//! It reads the clock, and keeps nothing from one message to the next.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::Call;
use crate::cause::Cause;
use crate::interface::{Callee, Interface};
use crate::json;
use crate::mesh::Mesh;
use crate::{CallError, Result};

/// The message being handled, and the mesh around it. Every operation gets one.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use lattice_actor::{Context, Result, actor, interface, join};
///
/// #[interface]
/// pub trait Pricing {
///     async fn price(sku: String) -> Result<u64>;
/// }
///
/// #[derive(Default)]
/// pub struct Basket;
///
/// #[actor]
/// impl Basket {
///     async fn total(&self, ctx: &Context, one: String, other: String) -> Result<u64> {
///         let pricing = ctx.actor::<dyn Pricing>("pricing").timeout(Duration::from_millis(200));
///         // Both calls are under way before either is answered.
///         let (one, other) = join!(pricing.price(&one), pricing.price(&other));
///         Ok(one? + other?)
///     }
/// }
///
/// # use lattice_actor::testing::{Mesh, block_on};
/// # let mesh = Mesh::new().answer("pricing", "price", |_| Ok(5));
/// # assert_eq!(block_on(Basket.total(&mesh.context(), "tea".into(), "cup".into())), Ok(10));
/// ```
#[derive(Debug)]
pub struct Context {
    pub(crate) mesh: Mesh,
    pub(crate) origin: Origin,
}

/// Where the message comes from, and what is left for it.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub message_id: String,
    pub caller: Option<String>,
    pub deadline: Instant,
    pub traceparent: Option<String>,
    pub attempt: u32,
    pub cause: Cause,
    /// Of a keyed actor.
    pub key: Option<Rc<str>>,
}

impl Context {
    pub(crate) fn new(mesh: Mesh, origin: Origin) -> Self {
        Context { mesh, origin }
    }

    /// This actor's own ID; with its key, for a keyed one: `cart/alice`.
    pub fn self_id(&self) -> &str {
        self.mesh.self_id()
    }

    /// The key of a keyed actor: `alice` for `cart/alice`.
    pub fn key(&self) -> Option<&str> {
        self.origin.key.as_deref()
    }

    /// Whether this is a call, a send, or a reminder of the actor's own. A replicated actor is only ever called.
    pub fn cause(&self) -> &Cause {
        &self.origin.cause
    }

    /// Who calls or sends: an actor's ID, `external` for a plain NATS client or what was published to a topic, or
    /// none when it came through the admin API.
    /// For a reminder it is the actor itself.
    pub fn caller(&self) -> Option<&str> {
        self.origin.caller.as_deref()
    }

    /// When the lattice gives up on this message.
    pub fn deadline(&self) -> Instant {
        self.origin.deadline
    }

    /// How long it is until then; zero when it has passed.
    pub fn remaining(&self) -> Duration {
        self.origin.deadline.saturating_duration_since(Instant::now())
    }

    /// What time it is, by the clock of this machine; in a unit test, by the clock of the test.
    pub fn now(&self) -> SystemTime {
        self.mesh.now()
    }

    /// The W3C trace context of this turn. Calls carry it along by themselves.
    pub fn traceparent(&self) -> Option<&str> {
        self.origin.traceparent.as_deref()
    }

    /// Unique in the lattice; the same over retries of one call, and over all deliveries of one send or of one occurrence
    /// of a reminder.
    pub fn message_id(&self) -> &str {
        &self.origin.message_id
    }

    /// 1 on the first try.
    pub fn attempt(&self) -> u32 {
        self.origin.attempt
    }

    /// A client of the actor of this ID, typed by an interface: `ctx.actor::<dyn Pricing>("pricing")`.
    ///
    /// Whether the actor exists shows when it is called.
    pub fn actor<I: Interface + ?Sized>(&self, id: impl Into<Rc<str>>) -> I::Client {
        I::client(self.callee(id))
    }

    /// Calls an operation without an interface. The arguments are what [`serde_json::json!`] makes, or anything that
    /// serialises to the same; the reply is read as a `T`.
    ///
    /// # Errors
    /// As any call; see [`CallError`](crate::CallError).
    ///
    /// # Examples
    /// ```
    /// use lattice_actor::serde_json::json;
    /// use lattice_actor::testing::{Mesh, block_on};
    ///
    /// let mesh = Mesh::new().answer("greeter", "hello", |arguments| Ok(format!("Hi {}", arguments["name"])));
    /// let ctx = mesh.context();
    /// let reply: String = block_on(ctx.call("greeter", "hello", &json!({ "name": "Ada" })))?;
    /// assert_eq!(reply, r#"Hi "Ada""#);
    /// # Ok::<(), lattice_actor::CallError>(())
    /// ```
    pub fn call<T: DeserializeOwned>(
        &self,
        to: impl Into<Rc<str>>,
        operation: &str,
        arguments: &(impl Serialize + ?Sized),
    ) -> Call<T> {
        json::call_with(&self.callee(to), operation, arguments)
    }

    /// Publishes a message to a topic, for whoever subscribes: `ctx.publish("orders.created", &order)`. The message is written as
    /// JSON. It returns when the message is stored: from then on each actor that subscribes gets it at least once, by one of its
    /// replicas, in no certain order.
    ///
    /// A keyed actor publishes as it calls, and not as it sends: what its turn saw is committed before, and the turn itself
    /// after it.
    ///
    /// # Errors
    /// As any call; [`Denied`](crate::CallError::Denied) where the manifest does not grant the topic (`grants.publish`).
    ///
    /// # Examples
    /// ```
    /// use lattice_actor::serde_json::json;
    /// use lattice_actor::testing::{Mesh, block_on};
    ///
    /// let mesh = Mesh::new();
    /// block_on(mesh.context().publish("orders.created", &json!({ "id": 7 })))?;
    /// assert_eq!(mesh.published()[0].topic, "orders.created");
    /// assert_eq!(mesh.published()[0].message["id"], 7);
    /// # Ok::<(), lattice_actor::CallError>(())
    /// ```
    pub async fn publish(&self, topic: &str, message: &(impl Serialize + ?Sized)) -> Result<()> {
        let payload = serde_json::to_vec(message);
        let payload = payload.map_err(|error| {
            CallError::Malformed(format!("the message cannot be written as JSON: {error}"))
        })?;
        self.mesh.publish(topic.to_owned(), payload, json::CONTENT_TYPE).await
    }

    /// The topic that this message was published to; none where it is a call, a send or a reminder. An operation takes what was
    /// published as its only argument.
    ///
    /// # Examples
    /// ```
    /// use lattice_actor::testing::{Mesh, block_on};
    /// use lattice_actor::{Context, Result, actor};
    ///
    /// #[derive(Default)]
    /// pub struct Audit;
    ///
    /// #[actor]
    /// impl Audit {
    ///     /// What the manifest has `subscribe = ["orders.>"]` for.
    ///     async fn on_message(&self, ctx: &Context, order: u64) -> Result<String> {
    ///         Ok(format!("{} {order}", ctx.topic().unwrap_or_default()))
    ///     }
    /// }
    ///
    /// let ctx = Mesh::new().context().with_topic("orders.created");
    /// assert_eq!(block_on(Audit.on_message(&ctx, 7)), Ok("orders.created 7".into()));
    /// ```
    pub fn topic(&self) -> Option<String> {
        self.mesh.topic()
    }

    fn callee(&self, id: impl Into<Rc<str>>) -> Callee {
        Callee { mesh: self.mesh.clone(), id: id.into(), timeout: None }
    }
}
