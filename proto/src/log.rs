//! Lines of logs: of guests, and of the nodes themselves, and how one node asks another for them.
//!
//! ```text
//! reader ── Query ──▶ every node: lines of this actor after that number
//!        ◀─ Lines ──  some of them, what to ask for next, and until when nothing is missing
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::envelope::{Malformed, TraceParent, VERSION, check_version, decode, parse, wire};
use crate::id::{ActorName, MAX_KEY_BYTES, NodeName};

/// The longest text of one line, in bytes. What is longer is cut by the node that keeps it.
pub const MAX_TEXT: usize = 16 << 10;

/// The longest name of a place in a program, in bytes.
pub const MAX_TARGET: usize = 256;

/// The most lines in one answer.
pub const MAX_LINES: usize = 2_000;

/// The longest that a node may be asked to wait for a line, in milliseconds.
pub const MAX_WAIT_MS: u32 = 10_000;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Every step.
    #[default]
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// What happens.
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
}

impl Level {
    /// `trace` to `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }

    fn number(self) -> u32 {
        self as u32 + 1
    }

    /// What is not known matters as much as anything.
    fn from_number(number: u32) -> Self {
        match number {
            0 | 1 => Level::Trace,
            2 => Level::Debug,
            3 => Level::Info,
            4 => Level::Warn,
            _ => Level::Error,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error];
        let found = all.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| format!("`{text}` is no level; use trace, debug, info, warn or error"))
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    /// In milliseconds since 1970 in the time of the NATS server.
    pub at_ms: u64,
    /// Grows with each line of its node.
    pub number: u64,
    /// How much it matters.
    pub level: Level,
    /// Whom it is of, or about; none for what is the node's own business.
    pub actor: Option<ActorName>,
    /// The key of a keyed actor.
    pub key: Option<Arc<str>>,
    /// The actor's version; 0 where it is not known.
    pub version: u64,
    /// Where in the program it was written.
    pub target: String,
    /// What it was written in the course of.
    pub trace: Option<TraceParent>,
    /// The line. It may hold several, as a backtrace does, and no other control characters.
    pub text: String,
    /// Whether the node wrote it and not the guest.
    pub by_node: bool,
}

/// Which lines a node is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// Of this actor; none for what the node says of itself.
    pub actor: Option<ActorName>,
    /// Of this key of it only.
    pub key: Option<Arc<str>>,
    /// Only what comes after the line with this number.
    pub after: Option<u64>,
    /// Only what was written then or later.
    pub since_ms: u64,
    /// Only the last so many, and what comes after them.
    pub last: Option<u32>,
    /// How long to wait where there is none.
    pub wait_ms: u32,
    /// Only those of this level or worse.
    pub level: Level,
}

/// Some of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    /// Who answers.
    pub node: NodeName,
    /// The oldest first.
    pub lines: Vec<Line>,
    /// What to ask for next.
    pub next: u64,
    /// Whether more is there now.
    pub more: bool,
    /// Lines after the last one that was asked for that are not kept any more.
    pub lost: u64,
    /// All lines until then were looked at, if there are no more.
    pub until_ms: u64,
}

impl Query {
    /// As bytes for the wire.
    pub fn encode(&self) -> Bytes {
        let message = wire::LogQuery {
            version: VERSION,
            actor: self.actor.as_ref().map(ActorName::to_string).unwrap_or_default(),
            key: self.key.as_deref().unwrap_or_default().to_owned(),
            // Numbers begin with 1, so that 0 is none.
            after: self.after.unwrap_or(0),
            since_ms: self.since_ms,
            last: self.last.unwrap_or(0),
            wait_ms: self.wait_ms,
            level: self.level.number(),
        };
        message.encode_to_vec().into()
    }

    /// From the wire.
    ///
    /// # Errors
    /// When the bytes are no query of a version that this node reads.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::LogQuery = decode(bytes)?;
        check_version(message.version)?;
        if message.key.len() > MAX_KEY_BYTES {
            return Err(Malformed::field("key", "too long"));
        }
        let actor = match message.actor.as_str() {
            "" => None,
            actor => Some(parse("actor", actor)?),
        };
        Ok(Self {
            actor,
            key: Some(message.key).filter(|key| !key.is_empty()).map(Arc::from),
            after: Some(message.after).filter(|after| *after > 0),
            since_ms: message.since_ms,
            last: Some(message.last).filter(|last| *last > 0),
            wait_ms: message.wait_ms.min(MAX_WAIT_MS),
            level: Level::from_number(message.level),
        })
    }
}

impl Lines {
    /// As bytes for the wire, of lines that were encoded by [`Line::encode`].
    pub fn encode(&self, lines: Vec<Bytes>) -> Bytes {
        let message = wire::LogLines {
            version: VERSION,
            node: self.node.to_string(),
            lines,
            next: self.next,
            more: self.more,
            lost: self.lost,
            until_ms: self.until_ms,
        };
        message.encode_to_vec().into()
    }

    /// From the wire. A line that cannot be read is left out.
    ///
    /// # Errors
    /// When the bytes are no answer of a version that this node reads.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::LogLines = decode(bytes)?;
        check_version(message.version)?;
        if message.lines.len() > MAX_LINES {
            return Err(Malformed::field("lines", format!("more than {MAX_LINES}")));
        }
        Ok(Self {
            node: parse("node", &message.node)?,
            lines: message.lines.into_iter().filter_map(|line| Line::decode(line).ok()).collect(),
            next: message.next,
            more: message.more,
            lost: message.lost,
            until_ms: message.until_ms,
        })
    }
}

impl Line {
    /// As an entry of [`Lines`].
    pub fn encode(&self) -> Bytes {
        let message = wire::LogLine {
            at_ms: self.at_ms,
            number: self.number,
            level: self.level.number(),
            actor: self.actor.as_ref().map(ActorName::to_string).unwrap_or_default(),
            key: self.key.as_deref().unwrap_or_default().to_owned(),
            actor_version: self.version,
            target: self.target.clone(),
            traceparent: self.trace.map(|trace| trace.to_string()).unwrap_or_default(),
            text: self.text.clone(),
            by_node: self.by_node,
        };
        message.encode_to_vec().into()
    }

    /// From an entry of [`Lines`].
    ///
    /// # Errors
    /// When the bytes are no line.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::LogLine = decode(bytes)?;
        let too_long = message.text.len() > MAX_TEXT * 2
            || message.target.len() > MAX_TARGET
            || message.key.len() > MAX_KEY_BYTES;
        if too_long {
            return Err(Malformed::field("line", "too long"));
        }
        let actor = match message.actor.as_str() {
            "" => None,
            actor => Some(parse::<ActorName>("actor", actor)?),
        };
        Ok(Self {
            at_ms: message.at_ms,
            number: message.number,
            level: Level::from_number(message.level),
            actor,
            key: Some(message.key).filter(|key| !key.is_empty()).map(Arc::from),
            version: message.actor_version,
            target: plain(&message.target),
            trace: message.traceparent.parse().ok(),
            text: plain(&message.text),
            by_node: message.by_node,
        })
    }
}

/// A text that does nothing to whoever's terminal shows it: control characters are escaped, but for new lines and tabs.
pub fn plain(text: &str) -> String {
    let is_plain = |c: char| c == '\n' || c == '\t' || !c.is_control();
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match is_plain(c) {
            true => plain.push(c),
            false => plain.extend(c.escape_default()),
        }
    }
    plain
}

/// The longest beginning of a text that is at most so many bytes.
pub fn cut(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            at_ms: 7,
            number: 3,
            level: Level::Warn,
            actor: Some("cart".parse().unwrap()),
            key: Some("alice".into()),
            version: 2,
            target: "cart::add".into(),
            trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().ok(),
            text: "two\nlines".into(),
            by_node: false,
        }
    }

    #[test]
    fn queries_and_lines_cross_the_wire_unchanged() {
        let query = Query {
            actor: Some("cart".parse().unwrap()),
            key: Some("alice".into()),
            after: Some(5),
            since_ms: 9,
            last: None,
            wait_ms: 200,
            level: Level::Info,
        };
        assert_eq!(Query::decode(query.encode()), Ok(query));
        let none = Query::default();
        assert_eq!(Query::decode(none.encode()), Ok(none));
        let lines = Lines {
            node: "n1".parse().unwrap(),
            lines: vec![line()],
            next: 3,
            more: true,
            lost: 1,
            until_ms: 8,
        };
        assert_eq!(Lines::decode(lines.encode(vec![line().encode()])), Ok(lines.clone()));
        let damaged = lines.encode(vec![Bytes::from_static(b"\xff\xff")]);
        assert_eq!(Lines::decode(damaged).unwrap().lines, []);
        assert!(Query::decode(Bytes::from_static(b"\xff\xff")).is_err());
    }

    #[test]
    fn a_terminal_is_safe_from_a_line() {
        assert_eq!(plain("a\tb\nc é"), "a\tb\nc é");
        assert_eq!(plain("\u{1b}[2J\r\u{9b}0"), "\\u{1b}[2J\\r\\u{9b}0");
        let hostile = Line { text: "\u{1b}]0;x\u{7}".into(), ..line() };
        assert!(!Line::decode(hostile.encode()).unwrap().text.contains('\u{1b}'));
    }

    #[test]
    fn a_cut_is_between_characters() {
        assert_eq!(cut("aéb", 2), "a");
        assert_eq!(cut("aéb", 3), "aé");
        assert_eq!(cut("", 0), "");
    }

    #[test]
    fn levels_are_read_and_compared() {
        assert_eq!("WARN".parse(), Ok(Level::Warn));
        assert!("loud".parse::<Level>().unwrap_err().contains("trace, debug"));
        assert!(Level::Error > Level::Info);
    }
}
