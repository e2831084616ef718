//! An actor's own errors, and how they travel: as a code that programs match, a sentence for people, and details.
//!
//! Also the one place that decides what callers learn when an operation fails because a call of its own failed.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::CallError;

/// An actor's own error, as it travels.
///
/// # Examples
/// ```
/// use lattice_actor::{Rejection, Result};
///
/// fn check(quantity: u32) -> Result<u32> {
///     if quantity == 0 {
///         return Err(Rejection::new("no-quantity", "ask for one at least").with_details(&quantity).into());
///     }
///     Ok(quantity)
/// }
///
/// assert!(check(0).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// A stable word that callers match, such as `out-of-stock`.
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// More for programs, as JSON.
    pub details: Option<String>,
}

/// An error type of an actor's own; `?` turns it into a [`CallError::Rejected`], and callers turn that back with
/// [`CallError::rejected_as`].
///
/// Derive it, and `code` is the name of the variant in kebab case.
///
/// # Examples
/// ```
/// use lattice_actor::{ActorError, CallError};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize, ActorError)]
/// enum StockError {
///     OutOfStock { left: u32 },
/// }
///
/// impl std::fmt::Display for StockError {
///     fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         let StockError::OutOfStock { left } = self;
///         write!(out, "only {left} left")
///     }
/// }
///
/// let travelled: CallError = StockError::OutOfStock { left: 2 }.into();
/// match travelled.rejected_as::<StockError>() {
///     Some(StockError::OutOfStock { left }) => assert_eq!(left, 2),
///     None => panic!("another failure: {travelled}"),
/// }
/// ```
pub trait ActorError: fmt::Display + Serialize + DeserializeOwned {
    /// The stable word that callers of other languages match.
    fn code(&self) -> &'static str;
}

impl Rejection {
    /// An error of a stable code, with one sentence for people.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Rejection { code: code.into(), message: message.into(), details: None }
    }

    /// Adds what programs may want to know. Details that cannot be written as JSON are left out.
    #[must_use]
    pub fn with_details(mut self, details: &impl Serialize) -> Self {
        self.details = serde_json::to_string(details).ok();
        self
    }

    /// The details, when there are any and they are a `T`.
    pub fn details_as<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.details.as_deref()?).ok()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Rejection {}

impl CallError {
    /// The callee's own error, when it is an `E`.
    pub fn rejected_as<E: ActorError>(&self) -> Option<E> {
        let CallError::Rejected(rejection) = self else { return None };
        // A unit type serialises as `null`, and other codes may have details that happen to fit.
        let error: E = serde_json::from_str(rejection.details.as_deref().unwrap_or("null")).ok()?;
        (error.code() == rejection.code).then_some(error)
    }

    /// This error as the answer of an operation that ended with it.
    ///
    /// A failure says whether *the message it answers* ran, and routers try again what did not. An operation that ended
    /// with an error surely ran, so the failures of its own calls must not pass for its own: they become rejections
    /// whose code is the kind of the failure. Nodes do the same with what other SDKs answer.
    pub(crate) fn into_answer(self) -> CallError {
        if let CallError::Rejected(_) = self {
            return self;
        }
        // A stable word, so nothing in it needs an escape.
        let details = format!(r#"{{"ran":"{}"}}"#, self.ran());
        Rejection { code: self.kind().to_owned(), message: self.to_string(), details: Some(details) }.into()
    }
}

impl From<Rejection> for CallError {
    fn from(rejection: Rejection) -> Self {
        CallError::Rejected(rejection)
    }
}

impl<E: ActorError> From<E> for CallError {
    fn from(error: E) -> Self {
        CallError::Rejected(error.into())
    }
}

impl<E: ActorError> From<E> for Rejection {
    fn from(error: E) -> Self {
        Rejection::new(error.code(), error.to_string()).with_details(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ran;

    #[test]
    fn a_failed_call_of_its_own_never_passes_for_a_failure_of_the_message() {
        for error in [
            CallError::NoSuchActor("a".into()),
            CallError::NoSuchOperation("a".into()),
            CallError::NoReplica("a".into()),
            CallError::Overloaded("a".into()),
            CallError::NotHere("a".into()),
            CallError::Deadline(Ran::No),
            CallError::Deadlock("a".into()),
            CallError::Denied("a".into()),
            CallError::Cancelled(Ran::No),
            CallError::TooLarge { limit: 1, size: 2, ran: Ran::No },
            CallError::Malformed("a".into()),
            CallError::Unknown("a".into()),
            CallError::Trapped("a".into()),
        ] {
            assert_eq!(error.clone().into_answer().ran(), Ran::Yes, "{error}");
        }
    }

    #[test]
    fn the_kind_of_the_failed_call_stays_readable() {
        let CallError::Rejected(rejection) = CallError::Overloaded("stock".into()).into_answer() else {
            panic!("it was to become a rejection")
        };
        assert_eq!(rejection.code, "overloaded");
        assert_eq!(rejection.details.as_deref(), Some(r#"{"ran":"no"}"#));
    }

    #[test]
    fn an_error_of_an_actor_passes_unchanged() {
        let error = CallError::from(Rejection::new("out-of-stock", "none left"));
        assert_eq!(error.clone().into_answer(), error);
    }
}
