//! Arguments and results as they travel: in WebAssembly Value Encoding, the text of the component model's own types. A call is
//! `price({sku: "tea", amount: 2}, none)`, its reply the value alone, or nothing where the function gives nothing.
//!
//! What arrives is hostile: whatever it is, reading it ends in values of just these types or in an error, and never goes deeper into the
//! stack than the parser's own limit of 100 values within each other.

use std::fmt::{self, Write};

use bytes::Bytes;
use lattice_proto::envelope::ContentType;
use lattice_proto::{Fault, Operation, Ran};
use wasmtime::component::types::ComponentFunc;
use wasmtime::component::wasm_wave::parser::ParserError;
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::wasm_wave::writer::Writer;
use wasmtime::component::{Type, Val};

/// What a payload says of itself.
pub(crate) const CONTENT_TYPE: &str = "application/wave";

/// How much of what is wrong with a text is told, in characters.
const MAX_TEXT: usize = 300;

/// The type of all payloads of links.
pub(crate) fn content_type() -> ContentType {
    ContentType::Other(CONTENT_TYPE.into())
}

/// The arguments of a call, if they fit.
///
/// # Errors
/// When they are longer than `limit`.
pub(crate) fn arguments(operation: &Operation, values: &[Val], limit: u64) -> Result<Bytes, Fault> {
    written(limit, Ran::No, |text| {
        write!(text, "{operation}(")?;
        for (number, value) in values.iter().enumerate() {
            if number > 0 {
                text.write_str(", ")?;
            }
            Writer::new(&mut *text).write_value(value).map_err(|_| fmt::Error)?;
        }
        text.write_str(")")
    })
}

/// The same as values, of the types that the function takes.
///
/// # Errors
/// When they are no such values.
pub(crate) fn read_arguments(
    operation: &Operation,
    function: &ComponentFunc,
    payload: &[u8],
) -> Result<Vec<Val>, Fault> {
    let call = UntypedFuncCall::parse(text(payload)?).map_err(|error| malformed(&error))?;
    if call.name() != operation.as_str() {
        return Err(Fault::Malformed(format!("the arguments are not those of `{operation}`")));
    }
    let types: Vec<Type> = function.params().map(|(_, kind)| kind).collect();
    call.to_wasm_params(&types).map_err(|error| malformed(&error))
}

/// What a function gave, if it fits.
///
/// # Errors
/// When it is longer than `limit`.
pub(crate) fn result(values: &[Val], limit: u64) -> Result<Bytes, Fault> {
    written(limit, Ran::Yes, |text| match values {
        [value] => Writer::new(text).write_value(value).map_err(|_| fmt::Error),
        _ => Ok(()),
    })
}

/// The same as a value, of the type that the function gives.
///
/// # Errors
/// When it is no such value.
pub(crate) fn read_result(function: &ComponentFunc, payload: &[u8]) -> Result<Option<Val>, Fault> {
    match (function.results().next(), text(payload)?) {
        (Some(kind), text) => {
            let value = wasmtime::component::wasm_wave::from_str(&kind, text);
            value.map(Some).map_err(|error| malformed(&error))
        }
        (None, "") => Ok(None),
        (None, _) => Err(Fault::Malformed("there is a result, and the function gives none".to_owned())),
    }
}

/// The memory that a value takes, in bytes: a small one too, and many times its text where there is much that is left out of that.
pub(crate) fn held(value: &Val) -> usize {
    let inner = match value {
        Val::String(text) | Val::Enum(text) => text.len(),
        Val::List(values) | Val::Tuple(values) => values.iter().map(held).sum(),
        Val::Record(fields) => {
            fields.iter().map(|(name, value)| size_of_val(name) + name.len() + held(value)).sum()
        }
        Val::Variant(name, payload) => name.len() + payload.as_deref().map_or(0, held),
        Val::Option(payload) | Val::Result(Ok(payload) | Err(payload)) => payload.as_deref().map_or(0, held),
        Val::Flags(names) => names.iter().map(|name| size_of_val(name) + name.len()).sum(),
        _ => 0,
    };
    size_of::<Val>() + inner
}

fn text(payload: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(payload).map_err(|error| Fault::Malformed(format!("its values are no text: {error}")))
}

/// An error repeats what it is about, which may be as long as a payload.
fn malformed(error: &ParserError) -> Fault {
    let told: String = error.to_string().chars().take(MAX_TEXT).flat_map(char::escape_debug).collect();
    Fault::Malformed(format!("its values cannot be read: {told}"))
}

fn written(limit: u64, ran: Ran, write: impl FnOnce(&mut Limited) -> fmt::Result) -> Result<Bytes, Fault> {
    let mut text = Limited { text: String::new(), limit, size: 0 };
    match write(&mut text) {
        Ok(()) => Ok(text.text.into()),
        Err(fmt::Error) if text.size > limit => Err(Fault::TooLarge { limit, size: text.size, ran }),
        Err(fmt::Error) => Err(Fault::Malformed("a value cannot be written down".to_owned())),
    }
}

/// A text that ends where it gets too long: few values can have a very long one.
struct Limited {
    text: String,
    limit: u64,
    /// With what did not fit any more.
    size: u64,
}

impl Write for Limited {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        self.size += more.len() as u64;
        if self.size > self.limit {
            return Err(fmt::Error);
        }
        self.text.push_str(more);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
