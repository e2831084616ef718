//! Payloads as JSON: arguments by parameter name, replies as they are.
//!
//! The rules of what a payload means, all of them:
//! 1. Arguments are one object, by parameter name. A name that no parameter has, or that is there twice, is an error.
//! 2. An argument that is missing is an error, unless its type is an `Option`: then it is `None`.
//! 3. No parameter: the payload is empty, `null` or `{}`.
//! 4. One parameter `p`: an object whose only field is `p` is rule 1. Anything else is the bare value, also an object.
//!    Clients of the SDK always write rule 1, so no value of theirs can be mistaken.
//! 5. `{}`, `null` and an empty payload are a missing argument for one parameter when they are no bare value for it.

mod arguments;
mod missing;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::arguments::Arguments;
use crate::call::Call;
use crate::interface::Callee;
use crate::{CallError, Result};

pub(crate) const CONTENT_TYPE: &str = "application/json";

/// The arguments of a call, as they are written.
pub struct Request(Result<Vec<u8>>);

impl Request {
    /// No arguments yet.
    #[expect(clippy::new_without_default, reason = "only generated code makes one")]
    pub fn new() -> Self {
        // Most requests fit, so most are allocated once.
        Request(Ok(Vec::with_capacity(128)))
    }

    /// Writes the next argument. The name is a Rust identifier, so nothing in it needs an escape.
    #[must_use]
    pub fn add<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> Self {
        if let Ok(payload) = &mut self.0 {
            payload.extend_from_slice(if payload.is_empty() { b"{\"" } else { b",\"" });
            payload.extend_from_slice(name.as_bytes());
            payload.extend_from_slice(b"\":");
            if let Err(error) = serde_json::to_writer(payload, value) {
                self.0 = Err(CallError::Malformed(format!(
                    "argument `{name}` cannot be written as JSON: {error}"
                )));
            }
        }
        self
    }

    fn finish(self) -> Result<Vec<u8>> {
        let mut payload = self.0?;
        if !payload.is_empty() {
            payload.push(b'}');
        }
        Ok(payload)
    }
}

/// A call with arguments by name.
pub fn call<T: DeserializeOwned>(callee: &Callee, operation: &str, request: Request) -> Call<T> {
    Call::new(callee, operation, CONTENT_TYPE, request.finish(), read_reply)
}

/// A call whose payload is any JSON.
pub(crate) fn call_with<T: DeserializeOwned>(
    callee: &Callee,
    operation: &str,
    arguments: &(impl Serialize + ?Sized),
) -> Call<T> {
    let payload = serde_json::to_vec(arguments)
        .map_err(|error| CallError::Malformed(format!("the arguments cannot be written as JSON: {error}")));
    Call::new(callee, operation, CONTENT_TYPE, payload, read_reply)
}

fn read_reply<T: DeserializeOwned>(payload: &[u8]) -> Result<T> {
    // Actors that were not built with this SDK may answer with nothing where Rust has `()`.
    let payload = if payload.is_empty() { b"null" } else { payload };
    // The callee ran, so this is no `Malformed`, which would say that it did not.
    serde_json::from_slice(payload).map_err(|error| {
        CallError::Unknown(format!("the reply is not what was expected: {}", reason(&error)))
    })
}

/// The payload of a reply, or what the caller learns instead.
///
/// # Errors
/// When the operation failed, or its result cannot be written as JSON.
pub fn reply<T: Serialize, E: Into<CallError>>(outcome: Result<T, E>) -> Result<Vec<u8>> {
    let value = outcome.map_err(|error| error.into().into_answer())?;
    serde_json::to_vec(&value).map_err(|error| {
        crate::Rejection::new("unwritable-reply", format!("the result cannot be written as JSON: {error}"))
            .into()
    })
}

/// What serde found, less the position: it counts from the start of one argument and would mislead.
fn reason(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    if text.ends_with(&position) {
        text.truncate(text.len() - position.len());
    }
    text
}
