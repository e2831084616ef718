//! The last lines of one actor.

use std::collections::VecDeque;
use std::sync::Arc;

use lattice_proto::log::{Line, Query};

/// Lines of one actor that a node keeps.
const LINES: usize = 5_000;

/// What a line takes besides its text, in bytes.
const OVERHEAD: usize = 200;

/// Lines in the order of their numbers; the oldest fall out.
#[derive(Debug, Default)]
pub(super) struct Ring {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
    /// The number of the last one that fell out.
    fell_out: u64,
    /// How many fell out.
    gone: u64,
}

/// Some of the lines of a ring.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub lines: Vec<Arc<Line>>,
    /// The number of the last one that was looked at.
    pub next: u64,
    pub more: bool,
    pub lost: u64,
}

fn size(line: &Line) -> usize {
    line.text.len() + line.target.len() + OVERHEAD
}

impl Ring {
    /// Takes a line in, and keeps at most so many bytes.
    pub fn push(&mut self, line: Arc<Line>, most: usize) {
        self.bytes += size(&line);
        self.lines.push_back(line);
        self.shrink(most);
    }

    /// Keeps at most so many bytes, and the last line, however long it is.
    pub fn shrink(&mut self, most: usize) {
        while self.lines.len() > 1 && (self.bytes > most || self.lines.len() > LINES) {
            if let Some(old) = self.lines.pop_front() {
                self.bytes -= size(&old);
                self.fell_out = old.number;
                self.gone += 1;
            }
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What a query asks for, up to so many lines and bytes.
    pub fn find(&self, query: &Query, most: usize, most_bytes: usize) -> Found {
        let suits = |line: &&Arc<Line>| {
            line.level >= query.level
                && line.at_ms >= query.since_ms
                && (query.key.is_none() || query.key == line.key)
        };
        let from = match query.after {
            Some(after) => self.lines.partition_point(|line| line.number <= after),
            None => match query.last {
                Some(last) => {
                    let back = (0..self.lines.len()).rev().filter(|at| suits(&&self.lines[*at]));
                    back.take(last as usize).last().unwrap_or(self.lines.len())
                }
                None => 0,
            },
        };
        let lost = match query.after {
            Some(after) if after < self.fell_out => {
                // How many of those that fell out were asked for is not known any more; those of others may be among
                // the numbers between.
                self.fell_out - after
            }
            _ => 0,
        };
        let mut found = Found { lines: Vec::new(), next: query.after.unwrap_or(0), more: false, lost };
        let mut bytes = 0;
        for line in self.lines.range(from..) {
            if found.lines.len() == most || bytes > most_bytes {
                found.more = true;
                break;
            }
            found.next = line.number;
            if suits(&line) {
                bytes += size(line);
                found.lines.push(line.clone());
            }
        }
        if let (false, Some(last)) = (found.more, self.lines.back()) {
            found.next = found.next.max(last.number);
        }
        found.lost = found.lost.min(self.gone);
        found
    }
}

#[cfg(test)]
mod tests {
    use lattice_proto::log::Level;

    use super::*;

    fn line(number: u64, text: &str, level: Level) -> Arc<Line> {
        Arc::new(Line { number, at_ms: number, level, text: text.into(), ..Line::default() })
    }

    fn numbers(found: &Found) -> Vec<u64> {
        found.lines.iter().map(|line| line.number).collect()
    }

    fn ring(count: u64) -> Ring {
        let mut ring = Ring::default();
        for number in 1..=count {
            let level = if number % 2 == 0 { Level::Error } else { Level::Info };
            ring.push(line(number, "text", level), 1 << 20);
        }
        ring
    }

    #[test]
    fn a_query_goes_on_where_the_last_one_ended() {
        let ring = ring(5);
        let first = ring.find(&Query::default(), 3, 1 << 20);
        assert_eq!((numbers(&first), first.next, first.more), (vec![1, 2, 3], 3, true));
        let query = Query { after: Some(first.next), ..Query::default() };
        let second = ring.find(&query, 3, 1 << 20);
        assert_eq!((numbers(&second), second.next, second.more, second.lost), (vec![4, 5], 5, false, 0));
    }

    #[test]
    fn the_last_lines_are_those_that_suit() {
        let ring = ring(6);
        let query = Query { last: Some(2), level: Level::Error, ..Query::default() };
        assert_eq!(numbers(&ring.find(&query, 10, 1 << 20)), [4, 6]);
        let query = Query { since_ms: 5, ..Query::default() };
        assert_eq!(numbers(&ring.find(&query, 10, 1 << 20)), [5, 6]);
        let query = Query { level: Level::Error, after: Some(4), ..Query::default() };
        let found = ring.find(&query, 10, 1 << 20);
        assert_eq!((numbers(&found), found.next), (vec![6], 6));
    }

    #[test]
    fn what_fell_out_is_told_to_whoever_had_not_read_it() {
        let mut ring = Ring::default();
        for number in 1..=10 {
            ring.push(line(number, "text", Level::Info), 3 * (4 + OVERHEAD));
        }
        let query = Query { after: Some(2), ..Query::default() };
        let found = ring.find(&query, 10, 1 << 20);
        assert_eq!((numbers(&found), found.lost), (vec![8, 9, 10], 5));
        let query = Query { after: Some(8), ..Query::default() };
        assert_eq!(ring.find(&query, 10, 1 << 20).lost, 0);
        assert!(ring.bytes() <= 3 * (4 + OVERHEAD));
    }

    #[test]
    fn one_long_line_is_kept() {
        let mut ring = Ring::default();
        ring.push(line(1, &"x".repeat(1_000), Level::Info), 10);
        assert_eq!(numbers(&ring.find(&Query::default(), 10, 10)), [1]);
    }
}
