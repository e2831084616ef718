//! What an artifact says of its actor: one line of JSON, put together when the actor is compiled.
//!
//! Routers read it to learn which operations may be tried again. Nothing here runs in a guest: it is all constants,
//! because a link section holds bytes only.

/// What an actor can do, in groups: its own operations, then those of each interface.
pub type Operations = &'static [&'static [Operation]];

/// One operation, as callers and routers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// Its name in messages.
    pub name: &'static str,
    /// The names of its parameters, in order.
    pub parameters: &'static [&'static str],
    /// Whether running it twice does no more than running it once.
    pub idempotent: bool,
    /// Whether it takes `&self`, and so leaves the state of a keyed actor as it is.
    pub read: bool,
}

/// Refuses, at compile time, two operations of one name: the second could never be called.
pub const fn check(operations: Operations) {
    let (mut group, mut index) = (0, 0);
    while group < operations.len() {
        if index == operations[group].len() {
            (group, index) = (group + 1, 0);
            continue;
        }
        if count(operations, operations[group][index].name) > 1 {
            panic!("two operations of this actor share a name");
        }
        index += 1;
    }
}

const fn count(operations: Operations, name: &str) -> usize {
    let (mut group, mut index, mut count) = (0, 0, 0);
    while group < operations.len() {
        if index == operations[group].len() {
            (group, index) = (group + 1, 0);
            continue;
        }
        count += same(operations[group][index].name, name) as usize;
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
pub const fn length(keyed: bool, operations: Operations) -> usize {
    write::<0>(keyed, operations).length
}

/// The line for the section, with its newline.
pub const fn line<const N: usize>(keyed: bool, operations: Operations) -> [u8; N] {
    write::<N>(keyed, operations).bytes
}

/// Writes the line, or only measures it where it does not fit.
struct Line<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

const fn write<const N: usize>(keyed: bool, operations: Operations) -> Line<N> {
    let mut line = Line { bytes: [0; N], length: 0 };
    line = line.text("{\"sdk\":\"").text(env!("CARGO_PKG_VERSION"));
    line = line.text(if keyed { "\",\"keyed\":true" } else { "\"" }).text(",\"operations\":[");
    let (mut group, mut index, mut first) = (0, 0, true);
    while group < operations.len() {
        if index == operations[group].len() {
            (group, index) = (group + 1, 0);
            continue;
        }
        line = line.text(if first { "" } else { "," }).operation(keyed, &operations[group][index]);
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

    const fn operation(mut self, keyed: bool, operation: &Operation) -> Self {
        self = self.text("{\"name\":\"").text(operation.name).text("\",\"parameters\":[");
        let mut index = 0;
        while index < operation.parameters.len() {
            self =
                self.text(if index == 0 { "\"" } else { ",\"" }).text(operation.parameters[index]).text("\"");
            index += 1;
        }
        self = self.text("],\"idempotent\":").flag(operation.idempotent);
        if keyed {
            self = self.text(",\"read\":").flag(operation.read);
        }
        self.text("}")
    }

    const fn flag(self, value: bool) -> Self {
        self.text(if value { "true" } else { "false" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Operations = &[
        &[Operation { name: "quote", parameters: &["sku", "quantity"], idempotent: false, read: true }],
        &[],
        &[Operation { name: "stock", parameters: &[], idempotent: true, read: false }],
    ];

    #[test]
    fn the_line_is_what_routers_read() {
        const LINE: [u8; length(false, TWO)] = line(false, TWO);
        let expected = concat!(
            r#"{"sdk":""#,
            env!("CARGO_PKG_VERSION"),
            r#"","operations":[{"name":"quote","parameters":["sku","quantity"],"idempotent":false},"#,
            r#"{"name":"stock","parameters":[],"idempotent":true}]}"#,
            "\n"
        );
        assert_eq!(std::str::from_utf8(&LINE), Ok(expected));
    }

    #[test]
    fn a_keyed_actor_says_so_and_which_operations_only_read() {
        const LINE: [u8; length(true, TWO)] = line(true, TWO);
        let expected = concat!(
            r#"{"sdk":""#,
            env!("CARGO_PKG_VERSION"),
            r#"","keyed":true,"operations":[{"name":"quote","parameters":["sku","quantity"],"#,
            r#""idempotent":false,"read":true},"#,
            r#"{"name":"stock","parameters":[],"idempotent":true,"read":false}]}"#,
            "\n"
        );
        assert_eq!(std::str::from_utf8(&LINE), Ok(expected));
    }
}
