//! How a state is saved: `{"version":1,"state":…}`, so that an operator can read it and a later version of the actor can
//! tell what it finds.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Keyed;
use crate::{CallError, Rejection, Result};

#[derive(Serialize)]
struct Written<'s, S> {
    version: u32,
    state: &'s S,
}

#[derive(Deserialize)]
struct Saved<'b> {
    version: u32,
    /// Raw, because only its version says how to read it.
    #[serde(borrow)]
    state: &'b RawValue,
}

/// The bytes of a state.
///
/// # Errors
/// A rejection of the code `unwritable-state`.
pub fn write<S: Keyed>(state: &S) -> Result<Vec<u8>> {
    serde_json::to_vec(&Written { version: S::VERSION, state }).map_err(|error| {
        Rejection::new("unwritable-state", format!("the state cannot be written as JSON: {error}")).into()
    })
}

/// The state that these bytes are.
///
/// # Errors
/// A rejection of the code `unknown-state-version` or `unreadable-state`, or what the migration says.
pub fn read<S: Keyed>(bytes: &[u8]) -> Result<S> {
    let saved: Saved<'_> = serde_json::from_slice(bytes).map_err(|error| unreadable(None, &error))?;
    let Saved { version, state } = saved;
    if version == S::VERSION {
        return serde_json::from_str(state.get()).map_err(|error| unreadable(Some(version), &error));
    }
    let state: Value =
        serde_json::from_str(state.get()).map_err(|error| unreadable(Some(version), &error))?;
    let state = S::migrate(version, state).map_err(CallError::into_answer)?;
    serde_json::from_value(state).map_err(|error| {
        let message = format!(
            "the state of version {version} is none of version {} after its migration: {error}",
            S::VERSION
        );
        Rejection::new("unreadable-state", message).into()
    })
}

pub fn unknown_version<S: Keyed>(from: u32) -> CallError {
    let own = S::VERSION;
    let message = format!(
        "the saved state has version {from} and this artifact reads version {own}: give its `#[keyed]` a `migrate` function"
    );
    Rejection::new("unknown-state-version", message).with_details(&from).into()
}

fn unreadable(version: Option<u32>, error: &serde_json::Error) -> CallError {
    let which = version.map(|version| format!(" of version {version}")).unwrap_or_default();
    Rejection::new("unreadable-state", format!("the saved state{which} cannot be read: {error}")).into()
}
