//! Reads arguments: cuts the payload into one raw slice per parameter, then decodes each into its own type.
//!
//! It copies nothing out of the payload, and never guesses: what fits no rule of the parent module is an error.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::missing::Missing;
use super::{CONTENT_TYPE, reason};
use crate::{CallError, Message, Result};

/// The arguments of one message.
#[derive(Debug)]
pub struct Arguments<'m> {
    operation: &'static str,
    names: &'static [&'static str],
    values: Vec<Option<&'m [u8]>>,
    doubt: Doubt,
}

/// What else the bare value of the only parameter may have been meant as.
#[derive(Debug)]
enum Doubt {
    None,
    /// Rule 5: a missing argument.
    Missing,
    /// Rule 1: the arguments by name, but for a field that is too many.
    Named(TooMany),
}

impl<'m> Arguments<'m> {
    /// Finds the argument of each name.
    ///
    /// # Errors
    /// [`CallError::Malformed`], naming the operation and what is wrong.
    pub fn read(
        operation: &'static str,
        names: &'static [&'static str],
        message: &'m Message,
    ) -> Result<Self> {
        if !message.content_type.is_empty() && message.content_type != CONTENT_TYPE {
            return Err(malformed(
                operation,
                format_args!("it takes {CONTENT_TYPE}, not {}", message.content_type),
            ));
        }
        let payload = message.payload.trim_ascii();
        let payload = if payload.is_empty() { b"null".as_slice() } else { payload };
        let mut arguments =
            Arguments { operation, names, values: vec![None; names.len()], doubt: Doubt::None };
        if payload == b"null" && names.len() != 1 {
            return Ok(arguments);
        }
        match names {
            [name] => arguments.read_one(name, payload)?,
            _ => arguments.read_object(payload)?,
        }
        Ok(arguments)
    }

    /// Decodes the argument of this parameter.
    ///
    /// # Errors
    /// [`CallError::Malformed`], naming the operation and the parameter.
    pub fn take<T: DeserializeOwned>(&mut self, index: usize) -> Result<T> {
        let Some(value) = self.values[index] else { return self.missing(index) };
        serde_json::from_slice(value).or_else(|error| {
            let (operation, name, problem) = (self.operation, self.names[index], reason(&error));
            match &self.doubt {
                Doubt::None => Err(malformed(operation, format_args!("argument `{name}`: {problem}"))),
                Doubt::Missing => self.missing(index),
                Doubt::Named(TooMany { field, .. }) if field == name => {
                    Err(malformed(operation, format_args!("argument `{name}` is there twice")))
                }
                // Nobody can tell which of the two was meant, so both are answered; unless it looks like an argument that is an object.
                Doubt::Named(TooMany { field, beside }) if *beside || problem.starts_with(NO_OBJECT) => {
                    Err(malformed(
                        operation,
                        format_args!(
                            "argument `{name}`: {problem}; by name it is {{\"{name}\": …}} and no field more, this object has `{field}`"
                        ),
                    ))
                }
                Doubt::Named(_) => Err(malformed(operation, format_args!("argument `{name}`: {problem}"))),
            }
        })
    }

    fn missing<T: DeserializeOwned>(&self, index: usize) -> Result<T> {
        let name = self.names[index];
        T::deserialize(Missing)
            .map_err(|_| malformed(self.operation, format_args!("argument `{name}` is missing")))
    }

    fn read_one(&mut self, name: &'static str, payload: &'m [u8]) -> Result<()> {
        let mut value = payload;
        if payload.starts_with(b"{") {
            let mut object = serde_json::Deserializer::from_slice(payload);
            // Broken JSON is reported when the bare value is decoded.
            match object.deserialize_map(OnlyField(name)).and_then(|only| object.end().map(|()| only)) {
                Ok(Only::This(named)) => value = named,
                Ok(Only::Nothing) => self.doubt = Doubt::Missing,
                Ok(Only::Other(more)) => self.doubt = Doubt::Named(more),
                Err(_) => {}
            }
        } else if payload == b"null" {
            self.doubt = Doubt::Missing;
        }
        self.values[0] = Some(value);
        Ok(())
    }

    fn read_object(&mut self, payload: &'m [u8]) -> Result<()> {
        let mut object = serde_json::Deserializer::from_slice(payload);
        let (operation, names) = (self.operation, self.names);
        object
            .deserialize_map(AllFields { names, values: &mut self.values })
            .and_then(|()| object.end())
            .map_err(|error| match names {
                [] => malformed(operation, format_args!("it takes no arguments: {}", reason(&error))),
                _ => malformed(operation, format_args!("{}", reason(&error))),
            })
    }
}

fn malformed(operation: &str, problem: fmt::Arguments<'_>) -> CallError {
    CallError::Malformed(format!("{operation}: {problem}"))
}

/// Puts each field of an object where its parameter is.
struct AllFields<'a, 'm> {
    names: &'static [&'static str],
    values: &'a mut [Option<&'m [u8]>],
}

impl<'m> Visitor<'m> for AllFields<'_, 'm> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with the arguments by name")
    }

    fn visit_map<M: MapAccess<'m>>(self, mut fields: M) -> Result<(), M::Error> {
        while let Some(index) = fields.next_key_seed(Name(self.names))? {
            if self.values[index].is_some() {
                return Err(M::Error::custom(format_args!(
                    "argument `{}` is there twice",
                    self.names[index]
                )));
            }
            self.values[index] = Some(fields.next_value::<&RawValue>()?.get().as_bytes());
        }
        Ok(())
    }
}

/// A field's name, as the index of its parameter.
struct Name(&'static [&'static str]);

impl<'m> DeserializeSeed<'m> for Name {
    type Value = usize;

    fn deserialize<D: Deserializer<'m>>(self, name: D) -> Result<usize, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = usize;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the name of a parameter")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<usize, E> {
        match self.0.iter().position(|known| *known == name) {
            Some(index) => Ok(index),
            None => Err(E::custom(format_args!("unknown argument `{name}`"))),
        }
    }
}

/// Looks whether an object has this one field and no other.
struct OnlyField(&'static str);

enum Only<'m> {
    This(&'m [u8]),
    Nothing,
    Other(TooMany),
}

/// A field that is not the one, or is that one once more.
#[derive(Debug)]
struct TooMany {
    field: String,
    /// Whether the one is there as well.
    beside: bool,
}

/// The longest name of a field that is told, in characters.
const SHOWN: usize = 64;

/// What serde says of an object where there is to be none.
const NO_OBJECT: &str = "invalid type: map";

impl<'m> Visitor<'m> for OnlyField {
    type Value = Only<'m>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<M: MapAccess<'m>>(self, mut fields: M) -> Result<Only<'m>, M::Error> {
        let mut only = Only::Nothing;
        while let Some(name) = fields.next_key::<String>()? {
            let value = fields.next_value::<&RawValue>()?;
            let (is_this, other) = (name == self.0, |beside| {
                let field = name.chars().take(SHOWN).collect();
                Only::Other(TooMany { field, beside })
            });
            only = match only {
                Only::Nothing if is_this => Only::This(value.get().as_bytes()),
                Only::Nothing => other(false),
                Only::This(_) => other(true),
                Only::Other(TooMany { field, beside }) => {
                    Only::Other(TooMany { field, beside: beside || is_this })
                }
            };
        }
        Ok(only)
    }
}
