//! The component's side of the WIT world `keyed-actor`: one activation in one instance.
//!
//! 1. The node calls `activate` once; it installs the logger and makes the actor, from its state where it has any.
//! 2. Each turn takes the activation out of its place and puts it back, so that no borrow is held while it waits. The node
//!    has one turn at a time; what comes in between all the same is refused.
//! 3. What the turn did is handed over as it is: the node commits, and then lets it out.

use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;

use self::bindings::exports::lattice::actor::keyed_handler::Guest;
use super::bindings::lattice::actor::types;
use super::deadline;
use crate::call::Outgoing;
use crate::cause::{Cause, Occurrence};
use crate::context::Origin;
use crate::keyed::{Activation, Outcome};
use crate::mesh::Mesh;
use crate::reminder::{Change, Reminder, Schedule, millis, time, whole_millis};
use crate::timer::{self, Timer};
use crate::{CallError, Context, Keyed, Message, logging};

/// What wit-bindgen makes of the world.
#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated, and the canonical ABI is raw memory")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../proto/wit",
        world: "keyed-actor",
        pub_export_macro: true,
        export_macro_name: "__export_keyed_handler",
        default_bindings_module: "lattice_actor::__private::keyed_bindings",
        runtime_path: "::lattice_actor::__private::wit_bindgen::rt",
        with: {
            "lattice:actor/types@0.1.0": crate::wasm::bindings::lattice::actor::types,
            "lattice:actor/mesh@0.1.0": crate::wasm::bindings::lattice::actor::mesh,
            "lattice:actor/log@0.1.0": crate::wasm::bindings::lattice::actor::log,
            "lattice:actor/trace@0.1.0": crate::wasm::bindings::lattice::actor::trace,
        },
    });
}

/// The export of a keyed actor's component.
pub struct ExportedKeyed<S>(PhantomData<S>);

thread_local! {
    /// The one activation of this component instance, while no turn has it.
    static ACTIVATION: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

impl<S: Keyed> Guest for ExportedKeyed<S> {
    async fn activate(key: String, state: Option<Vec<u8>>) -> Result<(), types::Failure> {
        logging::install();
        let activation = Activation::<S>::wake(key.into(), state)?;
        ACTIVATION.set(Some(Box::new(activation)));
        Ok(())
    }

    async fn turn(message: types::KeyedMessage) -> types::Outcome {
        let Some(mut activation) = ACTIVATION.take() else {
            return Outcome::without_effects(Err(not_now())).into();
        };
        let outcome = match activation.downcast_mut::<Activation<S>>() {
            Some(awake) => {
                let (context, message) = take_apart(message);
                awake.turn(context, message).await
            }
            None => Outcome::without_effects(Err(not_now())),
        };
        ACTIVATION.set(Some(activation));
        outcome.into()
    }
}

fn not_now() -> CallError {
    CallError::Malformed("a turn began before the actor was awake, or before the last one had ended".into())
}

fn take_apart(message: types::KeyedMessage) -> (Context, Message) {
    let types::KeyedMessage {
        id,
        operation,
        payload,
        content_type,
        cause,
        remaining_ms,
        traceparent,
        attempt,
    } = message;
    let (cause, caller) = match cause {
        types::Cause::Call(caller) => (Cause::Call, caller),
        types::Cause::Send(sender) => (Cause::Send, sender),
        types::Cause::Reminder(types::Occurrence { id, due }) => {
            (Cause::Reminder(Occurrence { id, due: time(due) }), Some(Mesh.self_id().to_owned()))
        }
        types::Cause::Timer(id) => (Cause::Timer(id), Some(Mesh.self_id().to_owned())),
    };
    let origin = Origin {
        message_id: id,
        caller,
        deadline: deadline(remaining_ms),
        traceparent: Some(traceparent).filter(|traceparent| !traceparent.is_empty()),
        attempt,
        cause,
        // The activation knows it.
        key: None,
    };
    (Context::new(Mesh, origin), Message { operation, content_type, payload })
}

impl From<Outcome> for types::Outcome {
    fn from(outcome: Outcome) -> Self {
        let Outcome { reply, state, sends, reminders, timers } = outcome;
        types::Outcome {
            reply: reply.map_err(Into::into),
            state,
            sends: sends.into_iter().map(Into::into).collect(),
            reminders: reminders.into_iter().map(Into::into).collect(),
            timers: timers.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Outgoing> for types::Outgoing {
    fn from(outgoing: Outgoing) -> Self {
        let Outgoing { to, operation, payload, content_type, timeout: _ } = outgoing;
        types::Outgoing { to, operation, payload, content_type: content_type.to_owned() }
    }
}

impl From<Change> for types::ReminderChange {
    fn from(change: Change) -> Self {
        match change {
            Change::Set(Reminder { id, schedule, operation, payload, content_type }) => {
                let content_type = content_type.to_owned();
                let schedule = schedule.into();
                types::ReminderChange::Set(types::Reminder { id, schedule, operation, payload, content_type })
            }
            Change::Cancel(id) => types::ReminderChange::Cancel(id),
        }
    }
}

impl From<timer::Change> for types::TimerChange {
    fn from(change: timer::Change) -> Self {
        match change {
            timer::Change::Set(Timer { id, after, repeats, operation, payload, content_type }) => {
                let (after, content_type) = (whole_millis(after), content_type.to_owned());
                types::TimerChange::Set(types::Timer { id, after, repeats, operation, payload, content_type })
            }
            timer::Change::Cancel(id) => types::TimerChange::Cancel(id),
        }
    }
}

impl From<Schedule> for types::Schedule {
    fn from(schedule: Schedule) -> Self {
        match schedule {
            Schedule::At(time) => types::Schedule::At(millis(time)),
            Schedule::After(delay) => types::Schedule::After(whole_millis(delay)),
            Schedule::Every(interval) => types::Schedule::Every(whole_millis(interval)),
            Schedule::Cron(pattern) => types::Schedule::Cron(pattern),
        }
    }
}
