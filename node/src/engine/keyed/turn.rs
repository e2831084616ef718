//! Enters a guest for one turn, and checks what comes of it.

use std::time::Instant;

use bytes::Bytes;
use lattice_proto::reminder::Due;
use lattice_proto::{Fault, Ran};
use wasmtime::AsContextMut;
use wasmtime::component::Accessor;

use super::super::guest::Guest;
use super::super::instance::told;
use super::super::{Failure, abi, effects};
use super::room::Room;
use super::{Ended, Limits, TurnFunction};
use crate::replica::{Cause, InFlight, Message, Outgoing, Remind, Timing, Turn, TurnContext};

/// What a turn does besides its reply.
#[derive(Default)]
struct Effects {
    /// None where it is as it was.
    state: Option<Bytes>,
    sends: Vec<Outgoing>,
    reminders: Vec<Remind>,
    timers: Vec<Timing>,
}

/// Runs one turn to its end, and gives what it says of its timers. An error is a trap.
pub(super) async fn run(
    accessor: &Accessor<Guest>,
    function: TurnFunction,
    limits: Limits,
    room: Room<'_>,
    turn: Turn,
    in_flight: &InFlight,
) -> wasmtime::Result<(Ended, Vec<Timing>)> {
    let Turn { context, message, waiting } = turn;
    let cause = message.cause.clone();
    let message = keyed_message(&context, message);
    let slot = in_flight.enter(context.clone(), waiting);
    let call = accessor.with(|mut access| {
        let call = function.start_call_concurrent(access.as_context_mut(), (message,))?;
        let task = call.task();
        access.data_mut().enter(task, context.clone());
        wasmtime::error::Ok((task, call))
    });
    let (task, call) = call?;
    let (outcome,) = function.finish_call_concurrent(accessor, call).await?;
    accessor.with(|mut access| access.data_mut().leave(task, &context));
    let checked = match outcome.reply.is_ok() {
        true => check(accessor, limits, &room, &context, &cause, outcome),
        // Nothing of the rest takes effect.
        false => Ok((outcome.reply, Effects::default())),
    };
    let (answer, effects) = match checked {
        // Nobody reads it.
        Ok((Ok(_), effects)) if !matches!(cause, Cause::Call) => (Ok(Bytes::new()), effects),
        Ok((reply, effects)) => (told(reply, limits.payload, &context), effects),
        Err(fault) => {
            // The guest lives on with a state that never was: another one is woken with the last one that counts.
            in_flight.retire();
            (Err(fault), Effects::default())
        }
    };
    // It is there: nothing else takes turns out before they end.
    let waiting = in_flight.take(slot).ok_or_else(|| wasmtime::Error::msg("a turn was lost"))?;
    let Effects { state, sends, reminders, timers } = effects;
    Ok((Ended { waiting, answer, state, cause, sends, reminders, number: 0, context }, timers))
}

type Reply = Result<Vec<u8>, Failure>;

/// Whether all that a turn wants may be done. If not, none of it is.
fn check(
    accessor: &Accessor<Guest>,
    limits: Limits,
    room: &Room<'_>,
    context: &TurnContext,
    cause: &Cause,
    outcome: abi::WitOutcome,
) -> Result<(Reply, Effects), Fault> {
    let abi::WitOutcome { reply, state, sends, reminders, timers } = outcome;
    if let (Cause::Call, Ok(reply)) = (cause, &reply)
        && reply.len() > limits.payload
    {
        let (limit, size) = (limits.payload as u64, reply.len() as u64);
        return Err(Fault::TooLarge { limit, size, ran: Ran::Yes });
    }
    let size = state.as_ref().map_or(room.kept, Vec::len);
    if state.is_some() && size as u64 > limits.state {
        return Err(Fault::TooLarge { limit: limits.state, size: size as u64, ran: Ran::Yes });
    }
    let home = (!sends.is_empty()).then(|| accessor.with(|mut access| access.data_mut().home.clone()));
    let sends = effects::letters(home.as_deref(), sends, limits.payload)?;
    let reminders = effects::reminders(reminders, limits.payload)?;
    let timers = effects::timers(timers, limits.payload)?;
    room.fits(size, &sends, &reminders, &timers, context)?;
    Ok((reply, Effects { state: state.map(Bytes::from), sends, reminders, timers }))
}

fn keyed_message(context: &TurnContext, message: Message) -> abi::KeyedMessage {
    let Message { operation, payload, content_type, caller, attempt, cause } = message;
    let remaining = context.deadline.saturating_duration_since(Instant::now());
    abi::KeyedMessage {
        id: context.id.shared(),
        operation: operation.shared(),
        payload: payload.into(),
        content_type: content_type.as_str().to_owned(),
        cause: match cause {
            Cause::Letter(_) => abi::Cause::Send(caller),
            Cause::Reminder(Due { id, due_ms, .. }) => {
                abi::Cause::Reminder(abi::Occurrence { id, due: due_ms })
            }
            Cause::Timer(id) => abi::Cause::Timer(id),
            // The others do not enter the guest.
            Cause::Call
            | Cause::Http(_)
            | Cause::Topic(_)
            | Cause::Link(_)
            | Cause::Show(_)
            | Cause::Skip(_)
            | Cause::GiveUp(..)
            | Cause::Overwrite(_) => abi::Cause::Call(caller),
        },
        remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
        traceparent: context.trace.as_ref().map(|scope| scope.context.parent.to_string()).unwrap_or_default(),
        attempt,
    }
}
