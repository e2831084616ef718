//! What an artifact says of its actor: one line of JSON, put together when the actor is compiled.
//!
//! Routers read it to learn which operations may be tried again. Nothing here runs in a guest: it is all constants,
//! because a link section holds bytes only.

use crate::Actor;

/// One operation, as callers and routers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// Its name in messages.
    pub name: &'static str,
    /// The names of its parameters, in order.
    pub parameters: &'static [&'static str],
    /// Whether running it twice does no more than running it once.
    pub idempotent: bool,
}

/// Refuses, at compile time, two operations of one name: the second could never be called.
pub const fn check<A: Actor>() {
    let (mut group, mut index) = (0, 0);
    while group < A::OPERATIONS.len() {
        if index == A::OPERATIONS[group].len() {
            (group, index) = (group + 1, 0);
            continue;
        }
        if count::<A>(A::OPERATIONS[group][index].name) > 1 {
            panic!("two operations of this actor share a name");
        }
        index += 1;
    }
}

const fn count<A: Actor>(name: &str) -> usize {
    let (mut group, mut index, mut count) = (0, 0, 0);
    while group < A::OPERATIONS.len() {
        if index == A::OPERATIONS[group].len() {
            (group, index) = (group + 1, 0);
            continue;
        }
        count += same(A::OPERATIONS[group][index].name, name) as usize;
        index += 1;
    }
    count
}

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// How many bytes [`line`] gives.
pub const fn length<A: Actor>() -> usize {
    write::<A, 0>().length
}

/// The line for the section, with its newline.
pub const fn line<A: Actor, const N: usize>() -> [u8; N] {
    write::<A, N>().bytes
}

/// Writes the line, or only measures it where it does not fit.
struct Line<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

const fn write<A: Actor, const N: usize>() -> Line<N> {
    let mut line = Line { bytes: [0; N], length: 0 };
    line = line.text("{\"sdk\":\"").text(env!("CARGO_PKG_VERSION")).text("\",\"operations\":[");
    let (mut group, mut index, mut first) = (0, 0, true);
    while group < A::OPERATIONS.len() {
        if index == A::OPERATIONS[group].len() {
            (group, index) = (group + 1, 0);
            continue;
        }
        line = line.text(if first { "" } else { "," }).operation(&A::OPERATIONS[group][index]);
        (index, first) = (index + 1, false);
    }
    line.text("]}\n")
}

impl<const N: usize> Line<N> {
    /// Names are Rust identifiers, so nothing in them needs an escape.
    const fn text(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        let mut index = 0;
        while index < text.len() {
            if self.length < N {
                self.bytes[self.length] = text[index];
            }
            self.length += 1;
            index += 1;
        }
        self
    }

    const fn operation(mut self, operation: &Operation) -> Self {
        self = self.text("{\"name\":\"").text(operation.name).text("\",\"parameters\":[");
        let mut index = 0;
        while index < operation.parameters.len() {
            self =
                self.text(if index == 0 { "\"" } else { ",\"" }).text(operation.parameters[index]).text("\"");
            index += 1;
        }
        self.text("],\"idempotent\":").text(if operation.idempotent { "true}" } else { "false}" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, Message, Result};

    struct Two;

    impl Actor for Two {
        const OPERATIONS: &'static [&'static [Operation]] = &[
            &[Operation { name: "quote", parameters: &["sku", "quantity"], idempotent: false }],
            &[],
            &[Operation { name: "stock", parameters: &[], idempotent: true }],
        ];

        async fn handle(&self, _: &Context, _: &Message) -> Result<Option<Vec<u8>>> {
            Ok(None)
        }
    }

    #[test]
    fn the_line_is_what_routers_read() {
        const LINE: [u8; length::<Two>()] = line::<Two, _>();
        let expected = concat!(
            r#"{"sdk":""#,
            env!("CARGO_PKG_VERSION"),
            r#"","operations":[{"name":"quote","parameters":["sku","quantity"],"idempotent":false},"#,
            r#"{"name":"stock","parameters":[],"idempotent":true}]}"#,
            "\n"
        );
        assert_eq!(std::str::from_utf8(&LINE), Ok(expected));
    }
}
