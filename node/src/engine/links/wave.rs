//! Arguments and results as they travel: in WebAssembly Value Encoding, the text of the component model's own types. A call is
//! `price({sku: "tea", amount: 2}, none)`, its reply the value alone, or nothing where the function gives nothing.
//!
//! What arrives is hostile: whatever it is, reading it ends in values of just these types or in an error, goes no deeper into the stack
//! than the parser's own limit of 100 values within each other, and takes no more memory than it is given room for ([`Share`]). The parser is
//! the library's. Its values are made here: the library looks at each of them again for each one that it is in, and at each field of a record
//! for each other one.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use bytes::Bytes;
use lattice_proto::envelope::ContentType;
use lattice_proto::{Fault, Operation, Ran};
use wasmtime::component::Val;
use wasmtime::component::wasm_wave::ast::Node;
use wasmtime::component::wasm_wave::parser::ParserError;
use wasmtime::component::wasm_wave::untyped::{UntypedFuncCall, UntypedValue};
use wasmtime::component::wasm_wave::writer::Writer;

use super::room::{QUICK, Share, Unread};
use super::types::{Function, Type};

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
/// When they are no such values, or there is no room for them.
pub(super) fn read_arguments(
    operation: &Operation,
    function: &Function,
    payload: &[u8],
    share: &mut Share,
) -> Result<Vec<Val>, Unread> {
    let text = text(payload)?;
    let call = UntypedFuncCall::parse(text)?;
    if call.name() != operation.as_str() {
        return Err(wrong(&format!("they are not those of `{operation}`")));
    }
    let nodes: Vec<&Node> = match call.params_node() {
        None => Vec::new(),
        Some(node) => node.as_tuple()?.collect(),
    };
    let (wanted, given) = (function.parameters.len(), nodes.len());
    if wanted != given {
        return Err(wrong(&format!("there are {given}, and the function takes {wanted}")));
    }
    let mut reading = Reading { text, share };
    nodes.into_iter().zip(&function.parameters).map(|(node, (_, kind))| reading.value(node, kind)).collect()
}

/// What a function gave, if it fits.
///
/// # Errors
/// When it is longer than `limit`.
pub(super) async fn result(values: Vec<Val>, limit: u64) -> Result<Bytes, Fault> {
    if values.iter().map(held).sum::<usize>() <= QUICK {
        return written_result(&values, limit);
    }
    // It may take long, and nothing could interrupt it here.
    let written = tokio::task::spawn_blocking(move || written_result(&values, limit)).await;
    written.unwrap_or_else(|_| Err(Fault::Unknown("the node is stopping".to_owned())))
}

fn written_result(values: &[Val], limit: u64) -> Result<Bytes, Fault> {
    written(limit, Ran::Yes, |text| match values {
        [value] => Writer::new(text).write_value(value).map_err(|_| fmt::Error),
        _ => Ok(()),
    })
}

/// The same as a value, of the type that the function gives.
///
/// # Errors
/// When it is no such value, or there is no room for it.
pub(crate) fn read_result(
    function: &Function,
    payload: &[u8],
    share: &mut Share,
) -> Result<Option<Val>, Unread> {
    match (&function.result, text(payload)?) {
        (Some(kind), text) => {
            let value = UntypedValue::parse(text)?;
            Reading { text, share }.value(value.node(), kind).map(Some)
        }
        (None, "") => Ok(None),
        (None, _) => Err(wrong("there is a result, and the function gives none")),
    }
}

/// Values on their way out of a text.
struct Reading<'a> {
    text: &'a str,
    share: &'a mut Share,
}

impl Reading<'_> {
    fn value(&mut self, node: &Node, kind: &Type) -> Result<Val, Unread> {
        self.share.take(size_of::<Val>())?;
        Ok(match kind {
            Type::Plain(name) => self.plain(node, name)?,
            Type::List(element) => {
                let elements = node.as_list()?.map(|node| self.value(node, element));
                Val::List(elements.collect::<Result<_, _>>()?)
            }
            Type::Option(some) => {
                let node = node.as_option()?;
                Val::Option(self.payload(node, node.map(|_| &**some))?)
            }
            Type::Result(ok, err) => Val::Result(match node.as_result()? {
                Ok(node) => Ok(self.payload(node, ok.as_deref())?),
                Err(node) => Err(self.payload(node, err.as_deref())?),
            }),
            Type::Tuple(kinds) => {
                let nodes = node.as_tuple()?;
                if nodes.len() != kinds.len() {
                    return Err(wrong("a tuple has more or fewer elements"));
                }
                let elements = nodes.zip(kinds).map(|(node, kind)| self.value(node, kind));
                Val::Tuple(elements.collect::<Result<_, _>>()?)
            }
            Type::Record(fields) => self.record(node, fields)?,
            Type::Variant(cases) => {
                let (label, payload) = node.as_variant(self.text)?;
                let case = cases.iter().find(|(name, _)| name == label);
                let (name, kind) = case.ok_or_else(|| wrong(&format!("there is no case `{label}`")))?;
                Val::Variant(self.name(name)?, self.payload(payload, kind.as_ref())?)
            }
            Type::Enum(names) => Val::Enum(self.one_of(names, node.as_enum(self.text)?)?),
            Type::Flags(names) => {
                let flags = node.as_flags(self.text)?.map(|flag| self.one_of(names, flag));
                Val::Flags(flags.collect::<Result<_, _>>()?)
            }
        })
    }

    fn plain(&mut self, node: &Node, name: &str) -> Result<Val, Unread> {
        Ok(match name {
            "bool" => Val::Bool(node.as_bool()?),
            "s8" => Val::S8(node.as_number(self.text)?),
            "u8" => Val::U8(node.as_number(self.text)?),
            "s16" => Val::S16(node.as_number(self.text)?),
            "u16" => Val::U16(node.as_number(self.text)?),
            "s32" => Val::S32(node.as_number(self.text)?),
            "u32" => Val::U32(node.as_number(self.text)?),
            "s64" => Val::S64(node.as_number(self.text)?),
            "u64" => Val::U64(node.as_number(self.text)?),
            "f32" => Val::Float32(node.as_number(self.text)?),
            "f64" => Val::Float64(node.as_number(self.text)?),
            "char" => Val::Char(node.as_char(self.text)?),
            _ => {
                let text = node.as_str(self.text)?;
                self.share.take(text.len())?;
                Val::String(text.into_owned())
            }
        })
    }

    fn record(&mut self, node: &Node, fields: &[(String, Type)]) -> Result<Val, Unread> {
        let mut given: BTreeMap<&str, &Node> = node.as_record(self.text)?.collect();
        let mut values = Vec::new();
        for (name, kind) in fields {
            let value = match (given.remove(name.as_str()), kind) {
                (Some(node), _) => self.value(node, kind)?,
                // What there is none of is not written down, and takes memory all the same.
                (None, Type::Option(_)) => {
                    self.share.take(size_of::<Val>())?;
                    Val::Option(None)
                }
                (None, _) => return Err(wrong(&format!("the field `{name}` is missing"))),
            };
            values.push((self.name(name)?, value));
        }
        match given.keys().next() {
            None => Ok(Val::Record(values)),
            Some(name) => Err(wrong(&format!("there is no field `{name}`"))),
        }
    }

    /// What a case has with it, which must be there just where its type is.
    fn payload(&mut self, node: Option<&Node>, kind: Option<&Type>) -> Result<Option<Box<Val>>, Unread> {
        match (node, kind) {
            (Some(node), Some(kind)) => Ok(Some(Box::new(self.value(node, kind)?))),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(wrong("a case lacks its value")),
            (Some(_), None) => Err(wrong("a case has a value, and takes none")),
        }
    }

    fn one_of(&mut self, names: &[String], name: &str) -> Result<String, Unread> {
        match names.iter().any(|known| known == name) {
            true => self.name(name),
            false => Err(wrong(&format!("there is no `{name}`"))),
        }
    }

    fn name(&mut self, name: &str) -> Result<String, Unread> {
        self.share.take(size_of::<String>() + name.len())?;
        Ok(name.to_owned())
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

fn text(payload: &[u8]) -> Result<&str, Unread> {
    std::str::from_utf8(payload).map_err(|error| wrong(&format!("they are no text: {error}")))
}

impl From<ParserError> for Unread {
    fn from(error: ParserError) -> Self {
        wrong(&error.to_string())
    }
}

/// What is told may repeat what it is about, which may be as long as a payload.
fn wrong(reason: &str) -> Unread {
    Unread::Malformed(reason.chars().take(MAX_TEXT).flat_map(char::escape_debug).collect())
}

fn written(limit: u64, ran: Ran, write: impl FnOnce(&mut Limited) -> fmt::Result) -> Result<Bytes, Fault> {
    let mut text = Limited { text: String::new(), limit, size: 0 };
    match write(&mut text) {
        Ok(()) => Ok(text.text.into()),
        Err(fmt::Error) if text.size > limit => Err(Fault::TooLarge { limit, size: text.size, ran }),
        Err(fmt::Error) if ran == Ran::No => {
            Err(Fault::Malformed("a value cannot be written down".to_owned()))
        }
        // Whoever asked must not take it for one that did not run.
        Err(fmt::Error) => Err(Fault::Trapped("its result cannot be written down".to_owned())),
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
