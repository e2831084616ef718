//! Failures across the component's edge: each case of [`CallError`] is the WIT failure of the same name, both ways.

use crate::wasm::bindings::lattice::actor::types;
use crate::{CallError, Ran, Rejection};

impl From<types::Failure> for CallError {
    fn from(failure: types::Failure) -> Self {
        use types::Failure;
        match failure {
            Failure::NoSuchActor(actor) => CallError::NoSuchActor(actor),
            Failure::NoSuchOperation(operation) => CallError::NoSuchOperation(operation),
            Failure::NoReplica(actor) => CallError::NoReplica(actor),
            Failure::Overloaded(actor) => CallError::Overloaded(actor),
            Failure::NotHere(actor) => CallError::NotHere(actor),
            Failure::Deadline(ran) => CallError::Deadline(ran.into()),
            Failure::Unknown(reason) => CallError::Unknown(reason),
            Failure::Deadlock(actor) => CallError::Deadlock(actor),
            Failure::Denied(reason) => CallError::Denied(reason),
            Failure::Trapped(reason) => CallError::Trapped(reason),
            Failure::Rejected(types::Rejection { code, message, details }) => {
                CallError::Rejected(Rejection { code, message, details })
            }
            Failure::Cancelled(ran) => CallError::Cancelled(ran.into()),
            Failure::TooLarge(types::TooLarge { limit, size, ran }) => {
                CallError::TooLarge { limit, size, ran: ran.into() }
            }
            Failure::Malformed(reason) => CallError::Malformed(reason),
        }
    }
}

impl From<CallError> for types::Failure {
    fn from(error: CallError) -> Self {
        use types::Failure;
        match error {
            CallError::NoSuchActor(actor) => Failure::NoSuchActor(actor),
            CallError::NoSuchOperation(operation) => Failure::NoSuchOperation(operation),
            CallError::NoReplica(actor) => Failure::NoReplica(actor),
            CallError::Overloaded(actor) => Failure::Overloaded(actor),
            CallError::NotHere(actor) => Failure::NotHere(actor),
            CallError::Deadline(ran) => Failure::Deadline(ran.into()),
            CallError::Unknown(reason) => Failure::Unknown(reason),
            CallError::Deadlock(actor) => Failure::Deadlock(actor),
            CallError::Denied(reason) => Failure::Denied(reason),
            CallError::Trapped(reason) => Failure::Trapped(reason),
            CallError::Rejected(Rejection { code, message, details }) => {
                Failure::Rejected(types::Rejection { code, message, details })
            }
            CallError::Cancelled(ran) => Failure::Cancelled(ran.into()),
            CallError::TooLarge { limit, size, ran } => {
                Failure::TooLarge(types::TooLarge { limit, size, ran: ran.into() })
            }
            CallError::Malformed(reason) => Failure::Malformed(reason),
        }
    }
}

impl From<types::Ran> for Ran {
    fn from(ran: types::Ran) -> Self {
        match ran {
            types::Ran::No => Ran::No,
            types::Ran::Maybe => Ran::Maybe,
            types::Ran::Yes => Ran::Yes,
        }
    }
}

impl From<Ran> for types::Ran {
    fn from(ran: Ran) -> Self {
        match ran {
            Ran::No => types::Ran::No,
            Ran::Maybe => types::Ran::Maybe,
            Ran::Yes => types::Ran::Yes,
        }
    }
}
