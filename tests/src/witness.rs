//! A witness outside of the lattice: which node woke a key or began a turn of it, and when, beside what the stream says of
//! whose the key was.
//!
//! An actor that was told to (`WITNESS` in its `env`, with `log` granted) has its node write down each time that it is
//! woken and each turn, as it happens and whatever comes of it. All nodes of a test and its NATS servers read the same
//! clock, so that these times and those of the records can be compared.

use std::collections::BTreeMap;
use std::path::Path;

use crate::audit::Stored;
use crate::{Lattice, Ready};

/// Any time of today has more digits than that when none of them is cut off.
const IN_NANOSECONDS: i128 = 1_000_000_000_000_000_000;

/// What a node has written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The incarnation.
    pub by: String,
    /// The key of the ledger.
    pub key: String,
    /// Whether it is about a turn, or about waking.
    pub turn: bool,
    /// In nanoseconds since 1970.
    pub at: i128,
}

/// What came of comparing the two.
#[derive(Debug, Default)]
pub struct Report {
    /// Times that a key was woken.
    pub awake: usize,
    /// Turns that began.
    pub turns: usize,
    /// Turns that began when the key was already another one's. A guest may be woken then: it does nothing before its first
    /// turn.
    pub late: Vec<Seen>,
    /// Keys that another owner claimed than the one before.
    pub moved: usize,
    /// Of both, those of whose key nothing was claimed before.
    pub unclaimed: Vec<Seen>,
}

/// All that the nodes of a lattice have written down, since the start of each.
pub fn read(lattice: &Lattice) -> Vec<Seen> {
    let mut seen = Vec::new();
    for node in &lattice.nodes {
        for entry in std::fs::read_dir(&node.settings().folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "log") {
                seen.extend(read_log(&path));
            }
        }
    }
    seen
}

fn read_log(path: &Path) -> Vec<Seen> {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    // One that was killed before it was ready has served nothing.
    let Some(ready) = Ready::find(&text) else { return Vec::new() };
    text.lines().filter_map(|line| parse(&ready.id, line)).collect()
}

fn parse(by: &str, line: &str) -> Option<Seen> {
    let (_, rest) = line.split_once("witness ")?;
    let mut words = rest.split_whitespace();
    let turn = match words.next()? {
        "turn" => true,
        "awake" => false,
        _ => return None,
    };
    let key = words.next()?.to_owned();
    // A line that a kill has cut off says nothing.
    let at: i128 = words.next()?.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()?;
    (at > IN_NANOSECONDS).then_some(())?;
    Some(Seen { by: by.to_owned(), key, turn, at })
}

/// Compares what was seen with whose the keys were.
pub fn judge(seen: &[Seen], stored: &[Vec<Stored>]) -> Report {
    let mut owners: BTreeMap<&str, Vec<(i128, &str)>> = BTreeMap::new();
    for record in stored.iter().flatten() {
        let key = record.actor.key.as_deref().unwrap_or_default();
        owners.entry(key).or_default().push((record.at, record.state.owner.as_str()));
    }
    let moves = |claims: &Vec<(i128, &str)>| claims.windows(2).any(|pair| pair[0].1 != pair[1].1);
    let mut report =
        Report { moved: owners.values().filter(|claims| moves(claims)).count(), ..Report::default() };
    for one in seen {
        *(if one.turn { &mut report.turns } else { &mut report.awake }) += 1;
        let known = owners.get(one.key.as_str()).map_or(&[][..], Vec::as_slice);
        let before = known.partition_point(|(at, _)| *at <= one.at);
        match known[..before].last() {
            None => report.unclaimed.push(one.clone()),
            Some((_, owner)) if *owner != one.by && one.turn => report.late.push(one.clone()),
            Some(_) => {}
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_log_are_read_and_those_that_a_kill_has_cut_off_are_not() {
        let line =
            "2026-11-26T05:00:00Z  INFO guest: witness turn alice 1700000000000000000 actor=\"ledger\"";
        let seen = parse("0f", line).unwrap();
        assert_eq!((seen.key.as_str(), seen.turn, seen.at), ("alice", true, 1_700_000_000_000_000_000));
        assert!(!parse("0f", "witness awake bob 1700000000000000000").unwrap().turn);
        for line in ["", "witness", "witness turn", "witness turn alice", "witness nothing alice 17"] {
            assert_eq!(parse("0f", line), None, "{line}");
        }
    }
}
