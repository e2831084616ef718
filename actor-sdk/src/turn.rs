//! The turn of a keyed actor that may change its state: a context, and what is to leave when the turn is committed.
//!
//! Nothing leaves from here. What is sent or reminded of is written down, goes to the node with the outcome of the turn,
//! and is forgotten when the turn fails.

use std::cell::RefCell;
use std::ops::Deref;
use std::time::Duration;

use crate::call::{Call, Outgoing};
use crate::reminder::{self, Change, Reminder, Schedule};
use crate::timer::{self, Timer};
use crate::{Context, Interface, Rejection, Result};

/// The message that a keyed actor handles, where the operation may change the state: a [`Context`], and the way to send
/// and to be reminded.
///
/// What it records leaves once the state of this turn is saved, and not at all when the turn fails: neither is there a
/// message about a change that was lost, nor a change whose message was. Operations that take `&self` have a plain
/// [`Context`], because they save nothing.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use lattice_actor::testing::{Mesh, block_on};
/// use lattice_actor::{Context, Result, Schedule, Turn, keyed};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// pub struct Door { open: bool }
///
/// #[keyed]
/// impl Door {
///     async fn open(&mut self, ctx: &Turn) -> Result<()> {
///         self.open = true;
///         ctx.remind("close", Schedule::after(Duration::from_secs(30)), ctx.myself::<Self>().close())?;
///         ctx.send(ctx.call::<()>("bell", "ring", &ctx.key()))
///     }
///
///     async fn close(&mut self, _ctx: &Turn) -> Result<()> {
///         self.open = false;
///         Ok(())
///     }
///
///     async fn is_open(&self, _ctx: &Context) -> Result<bool> {
///         Ok(self.open)
///     }
/// }
///
/// let mesh = Mesh::new().keyed::<Door>("door");
/// let ctx = mesh.context();
/// let door = ctx.actor::<Door>("door/front");
/// block_on(door.open())?;
/// assert_eq!(mesh.sent()[0].operation, "ring");
/// assert_eq!(block_on(door.is_open()), Ok(true));
/// assert_eq!(mesh.advance(Duration::from_secs(30)), []);
/// assert_eq!(block_on(door.is_open()), Ok(false));
/// # Ok::<(), lattice_actor::CallError>(())
/// ```
#[derive(Debug)]
pub struct Turn {
    context: Context,
    effects: RefCell<Effects>,
}

/// What leaves with the commit, in the order in which the actor said it.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub sends: Vec<Outgoing>,
    pub reminders: Vec<Change>,
    pub timers: Vec<timer::Change>,
}

impl Turn {
    pub(crate) fn new(context: Context) -> Self {
        Turn { context, effects: RefCell::default() }
    }

    pub(crate) fn into_effects(self) -> Effects {
        self.effects.into_inner()
    }

    /// The key of this actor: `alice` for `cart/alice`.
    pub fn key(&self) -> &str {
        self.context.key().unwrap_or_default()
    }

    /// A client of this very actor, for what it [sends](Turn::send) itself or [reminds](Turn::remind) itself of. The type
    /// is an interface, or the actor's own: `ctx.myself::<Self>()`.
    ///
    /// A call that is awaited fails with [`Deadlock`](crate::CallError::Deadlock): the actor is busy with this turn.
    pub fn myself<I: Interface + ?Sized>(&self) -> I::Client {
        self.context.actor::<I>(self.context.self_id())
    }

    /// Sends what this call would ask, instead of asking it: the message is kept until the actor has handled it, and
    /// nobody waits for a reply. What is sent from one actor to another arrives in that order.
    ///
    /// It is delivered at least once. A keyed receiver changes its state at most once for each message; any other may see
    /// the same [message id](Context::message_id) again. A timeout that the call has is of no account.
    ///
    /// # Errors
    /// When the arguments cannot be encoded, or the call was awaited before.
    pub fn send<T>(&self, call: Call<T>) -> Result<()> {
        let outgoing = call.into_outgoing()?;
        self.effects.borrow_mut().sends.push(outgoing);
        Ok(())
    }

    /// Lets this actor be reminded: at the scheduled time the call, which must be one to [itself](Turn::myself), is
    /// delivered as a message. It survives whatever the state survives, comes never early, and at least once.
    ///
    /// The id is the actor's to choose, of 1 to 128 bytes; a reminder of the same id is replaced. The operation learns from
    /// [`cause`](Context::cause) that it is a reminder, and which.
    ///
    /// # Errors
    /// A rejection of the code `bad-reminder`, when the id or the schedule cannot be, or the call is one to another actor;
    /// and as for [`send`](Turn::send).
    pub fn remind<T>(&self, id: impl Into<String>, schedule: Schedule, call: Call<T>) -> Result<()> {
        let id = id.into();
        reminder::check(&id, &schedule)?;
        let Outgoing { operation, payload, content_type, .. } = self.to_itself(&id, call)?;
        let reminder = Reminder { id, schedule, operation, payload, content_type };
        self.effects.borrow_mut().reminders.push(Change::Set(reminder));
        Ok(())
    }

    /// Lets this actor be told after so long, 10 ms at least, if it is awake until then: a timer is in memory, and ends when
    /// the key falls asleep, moves or is lost. It costs no commit of its own, and does not keep the key awake. For what must
    /// come, there are [reminders](Turn::remind).
    ///
    /// The call must be one to [itself](Turn::myself). A timer of the same id is replaced; an actor has 256 at most. The
    /// operation learns from [`cause`](Context::cause) that it is a timer, and which.
    ///
    /// # Errors
    /// As for [`remind`](Turn::remind).
    pub fn timer<T>(&self, id: impl Into<String>, after: Duration, call: Call<T>) -> Result<()> {
        self.set_timer(id.into(), after, false, call)
    }

    /// The same, again and again, with so long between. Those that are missed are left out.
    ///
    /// # Errors
    /// As for [`remind`](Turn::remind).
    pub fn timer_every<T>(&self, id: impl Into<String>, interval: Duration, call: Call<T>) -> Result<()> {
        self.set_timer(id.into(), interval, true, call)
    }

    fn set_timer<T>(&self, id: String, after: Duration, repeats: bool, call: Call<T>) -> Result<()> {
        reminder::check_id(&id)?;
        let Outgoing { operation, payload, content_type, .. } = self.to_itself(&id, call)?;
        let timer = Timer { id, after, repeats, operation, payload, content_type };
        self.effects.borrow_mut().timers.push(timer::Change::Set(timer));
        Ok(())
    }

    fn to_itself<T>(&self, id: &str, call: Call<T>) -> Result<Outgoing> {
        let outgoing = call.into_outgoing()?;
        if outgoing.to != self.context.self_id() {
            let message =
                format!("`{id}` is to remind `{}`, and an actor can remind only itself", outgoing.to);
            return Err(Rejection::new(reminder::REJECTED, message).into());
        }
        Ok(outgoing)
    }

    /// Takes a timer back; without effect where there is none of that id. After this turn it comes no more.
    pub fn cancel_timer(&self, id: impl Into<String>) {
        self.effects.borrow_mut().timers.push(timer::Change::Cancel(id.into()));
    }

    /// Takes a reminder back; without effect where there is none of that id. After this turn it comes no more.
    pub fn cancel_reminder(&self, id: impl Into<String>) {
        self.effects.borrow_mut().reminders.push(Change::Cancel(id.into()));
    }
}

impl Deref for Turn {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}
