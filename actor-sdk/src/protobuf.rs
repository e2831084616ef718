//! Payloads as Protobuf: one message in, one message out, for interfaces marked `#[interface(protobuf)]`.
//!
//! It has the items of `json` under the same names, because generated code differs in the module's path alone.

use prost::Message as Protobuf;

use crate::call::Call;
use crate::interface::Callee;
use crate::{CallError, Message, Result};

const CONTENT_TYPE: &str = "application/protobuf";

/// The message of a call, as it is written.
pub struct Request(Vec<u8>);

impl Request {
    /// No message yet.
    #[expect(clippy::new_without_default, reason = "only generated code makes one")]
    pub fn new() -> Self {
        Request(Vec::new())
    }

    /// Writes the message; the parameter's name does not travel.
    #[must_use]
    pub fn add<T: Protobuf>(self, _name: &str, value: &T) -> Self {
        Request(value.encode_to_vec())
    }
}

/// A call with one message.
pub fn call<T: Protobuf + Default>(callee: &Callee, operation: &str, request: Request) -> Call<T> {
    Call::new(callee, operation, CONTENT_TYPE, Ok(request.0), |payload| {
        T::decode(payload)
            .map_err(|error| CallError::Unknown(format!("the reply is not what was expected: {error}")))
    })
}

/// The one argument of a message.
#[derive(Debug)]
pub struct Arguments<'m> {
    operation: &'static str,
    names: &'static [&'static str],
    payload: &'m [u8],
}

impl<'m> Arguments<'m> {
    /// Checks that the payload claims to be Protobuf.
    ///
    /// # Errors
    /// [`CallError::Malformed`], when it claims to be something else.
    pub fn read(
        operation: &'static str,
        names: &'static [&'static str],
        message: &'m Message,
    ) -> Result<Self> {
        if message.content_type != CONTENT_TYPE {
            let other = &message.content_type;
            return Err(CallError::Malformed(format!("{operation}: it takes {CONTENT_TYPE}, not {other}")));
        }
        Ok(Arguments { operation, names, payload: &message.payload })
    }

    /// Decodes the message.
    ///
    /// # Errors
    /// [`CallError::Malformed`], naming the operation and the parameter.
    pub fn take<T: Protobuf + Default>(&mut self, index: usize) -> Result<T> {
        T::decode(self.payload).map_err(|error| {
            CallError::Malformed(format!("{}: argument `{}`: {error}", self.operation, self.names[index]))
        })
    }
}

/// The payload of a reply, or what the caller learns instead.
///
/// # Errors
/// When the operation failed.
pub fn reply<T: Protobuf, E: Into<CallError>>(outcome: Result<T, E>) -> Result<Vec<u8>> {
    outcome.map(|value| value.encode_to_vec()).map_err(|error| error.into().into_answer())
}
