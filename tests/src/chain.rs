//! Checks of the raw state stream after a test: what was stored, whatever clients were told.
//!
//! The rules, for the records of one subject in the order of the stream:
//!
//! 1. Epochs never fall.
//! 2. Revisions form one chain. A record is a *commit*, whose revision is its predecessor's plus one, or a *claim*, which
//!    keeps the revision. An owner may claim again in its own epoch: a key that slept, or one of which it was in doubt.
//! 3. Each commit has an id that no other record of the whole stream has, except the claims that copied it.
//!
//! The first record of a subject is taken as it is: a stream may have dropped what came before. Nothing here reads a
//! stream or knows how records are encoded.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

/// What the rules need of a stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<Id> {
    /// Its place in the stream.
    pub sequence: u64,
    /// The key's own subject.
    pub subject: String,
    /// The epoch of the owner that wrote it.
    pub epoch: u64,
    /// The revision of the state.
    pub revision: u64,
    /// The newest commit id that it carries. A claim carries that of the record which it copied, or none.
    pub commit: Option<Id>,
}

/// How much was checked, so that a test can see that it was not nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checked {
    /// Keys.
    pub subjects: usize,
    /// Records that continue a chain with a new revision.
    pub commits: usize,
    /// Records that continue a chain with no new revision.
    pub claims: usize,
}

/// A record that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break<Id> {
    /// The record.
    pub record: Record<Id>,
    /// The rule.
    pub rule: Rule,
}

/// Which rule, and what the record would have had to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The records came in another order than the stream's, so that nothing can be said.
    Order {
        /// The place of the record that was seen before.
        after: u64,
    },
    /// The epoch is lower than its predecessor's.
    EpochFell {
        /// The predecessor's.
        from: u64,
    },
    /// It is neither the next revision nor a claim of the present one.
    ChainBroke {
        /// The predecessor's revision.
        revision: u64,
        /// The predecessor's epoch.
        epoch: u64,
    },
    /// A commit that carries no id.
    NoCommitId,
    /// A claim that carries another id than the record which it copied.
    ClaimChanged,
    /// A commit whose id was there before.
    CommitTwice {
        /// Where it was first.
        first: u64,
    },
}

/// Checks a whole stream, whose records come in its order.
///
/// # Errors
/// Every record that breaks a rule. What follows a broken one is judged by what is stored, so that one fault is not told
/// again for each later record.
pub fn check<Id: Clone + Eq + Hash>(
    records: impl IntoIterator<Item = Record<Id>>,
) -> Result<Checked, Vec<Break<Id>>> {
    let mut stream =
        Stream { checked: Checked::default(), at: None, heads: HashMap::new(), commits: HashMap::new() };
    let mut breaks = Vec::new();
    for record in records {
        let broken = stream.follow(&record);
        breaks.extend(broken.into_iter().map(|rule| Break { record: record.clone(), rule }));
    }
    if breaks.is_empty() { Ok(stream.checked) } else { Err(breaks) }
}

struct Stream<Id> {
    checked: Checked,
    /// The place of the last record.
    at: Option<u64>,
    /// The last record of each subject.
    heads: HashMap<String, Record<Id>>,
    /// Where each commit id was first.
    commits: HashMap<Id, u64>,
}

impl<Id: Clone + Eq + Hash> Stream<Id> {
    /// Takes the next record, and says what it breaks.
    fn follow(&mut self, record: &Record<Id>) -> Vec<Rule> {
        let mut broken = Vec::new();
        if let Some(after) = self.at.replace(record.sequence).filter(|after| *after >= record.sequence) {
            broken.push(Rule::Order { after });
        }
        let Some(head) = self.heads.insert(record.subject.clone(), record.clone()) else {
            self.checked.subjects += 1;
            broken.extend(self.new_commit(record));
            return broken;
        };
        if record.epoch < head.epoch {
            broken.push(Rule::EpochFell { from: head.epoch });
        }
        if record.revision == head.revision + 1 {
            self.checked.commits += 1;
            broken.extend(record.commit.is_none().then_some(Rule::NoCommitId));
            broken.extend(self.new_commit(record));
        } else if record.revision == head.revision && record.epoch >= head.epoch {
            self.checked.claims += 1;
            match (&record.commit, head.commit) {
                // Claims that carry none must not make the chain forget what it had, for the claims that follow them.
                (None, had) => {
                    let head = self.heads.get_mut(&record.subject).expect("it was put there above");
                    head.commit = had;
                }
                (Some(id), had) if had.as_ref() != Some(id) => broken.push(Rule::ClaimChanged),
                (Some(_), _) => {}
            }
        } else if record.revision != head.revision {
            broken.push(Rule::ChainBroke { revision: head.revision, epoch: head.epoch });
        }
        broken
    }

    /// Notes a commit's id; says if it was there before.
    fn new_commit(&mut self, record: &Record<Id>) -> Option<Rule> {
        let id = record.commit.as_ref()?;
        match self.commits.get(id) {
            Some(first) => Some(Rule::CommitTwice { first: *first }),
            None => {
                self.commits.insert(id.clone(), record.sequence);
                None
            }
        }
    }
}

impl<Id: fmt::Debug> fmt::Display for Break<Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { sequence, subject, epoch, revision, commit } = &self.record;
        write!(f, "{subject} at sequence {sequence}, epoch {epoch}, revision {revision}, ")?;
        match commit {
            Some(id) => write!(f, "commit {id:?}: ")?,
            None => write!(f, "no commit id: ")?,
        }
        match self.rule {
            Rule::Order { after } => write!(f, "comes after sequence {after}"),
            Rule::EpochFell { from } => write!(f, "the epoch fell from {from}"),
            Rule::ChainBroke { revision, epoch } => {
                write!(f, "neither the successor nor a claim of revision {revision} in epoch {epoch}")
            }
            Rule::NoCommitId => write!(f, "a commit without an id"),
            Rule::ClaimChanged => write!(f, "a claim with another commit id than what it copied"),
            Rule::CommitTwice { first } => write!(f, "the commit is at sequence {first} already"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records as `(subject, epoch, revision, commit)`, numbered as a stream does.
    fn stream(records: &[(&str, u64, u64, Option<&'static str>)]) -> Result<Checked, Vec<(u64, Rule)>> {
        let numbered = records.iter().zip(1..).map(|((subject, epoch, revision, commit), sequence)| Record {
            sequence,
            subject: (*subject).to_owned(),
            epoch: *epoch,
            revision: *revision,
            commit: *commit,
        });
        check(numbered)
            .map_err(|breaks| breaks.into_iter().map(|one| (one.record.sequence, one.rule)).collect())
    }

    #[test]
    fn chains_of_commits_and_claims_are_right() {
        let checked = stream(&[
            ("k.a", 3, 0, None),
            ("k.b", 1, 0, None),
            ("k.a", 3, 1, Some("a1")),
            ("k.a", 3, 2, Some("a2")),
            ("k.b", 1, 1, Some("b1")),
            // Claims that copy the id, and one that carries none.
            ("k.a", 5, 2, Some("a2")),
            ("k.a", 6, 2, None),
            ("k.a", 7, 2, Some("a2")),
            ("k.a", 7, 3, Some("a3")),
            // The first commit of a new epoch may raise it itself.
            ("k.b", 2, 2, Some("b2")),
            // The same owner claims once more.
            ("k.b", 2, 2, None),
        ]);
        assert_eq!(checked, Ok(Checked { subjects: 2, commits: 5, claims: 4 }));
    }

    #[test]
    fn what_came_before_the_first_record_is_not_asked_for() {
        let checked = stream(&[("k.a", 3, 17, Some("a17")), ("k.a", 3, 18, Some("a18"))]);
        assert_eq!(checked, Ok(Checked { subjects: 1, commits: 1, claims: 0 }));
    }

    #[test]
    fn each_rule_is_told_where_it_breaks() {
        let first = ("k.a", 3, 5, Some("x"));
        let cases = [
            ("an older owner", ("k.a", 2, 6, Some("y")), Rule::EpochFell { from: 3 }),
            ("an older owner's claim", ("k.a", 2, 5, Some("x")), Rule::EpochFell { from: 3 }),
            ("a lost revision", ("k.a", 3, 7, Some("y")), Rule::ChainBroke { revision: 5, epoch: 3 }),
            (
                "a lost revision, new owner",
                ("k.a", 4, 7, Some("y")),
                Rule::ChainBroke { revision: 5, epoch: 3 },
            ),
            ("a fork", ("k.a", 3, 5, Some("y")), Rule::ClaimChanged),
            ("back", ("k.a", 3, 4, Some("y")), Rule::ChainBroke { revision: 5, epoch: 3 }),
            ("a commit applied twice", ("k.a", 3, 6, Some("x")), Rule::CommitTwice { first: 1 }),
            ("on another key", ("k.b", 3, 6, Some("x")), Rule::CommitTwice { first: 1 }),
            ("a commit without id", ("k.a", 3, 6, None), Rule::NoCommitId),
            ("a claim that changes", ("k.a", 4, 5, Some("y")), Rule::ClaimChanged),
        ];
        for (what, second, rule) in cases {
            assert_eq!(stream(&[first, second]), Err(vec![(2, rule)]), "{what}");
        }
    }

    #[test]
    fn a_commit_that_comes_again_later_is_found() {
        let broken = stream(&[
            ("k.a", 3, 1, Some("a1")),
            ("k.a", 3, 2, Some("a2")),
            ("k.a", 4, 2, Some("a2")),
            ("k.a", 4, 3, Some("a1")),
        ]);
        assert_eq!(broken, Err(vec![(4, Rule::CommitTwice { first: 1 })]));
    }

    #[test]
    fn one_fault_is_told_once() {
        let broken = stream(&[
            ("k.a", 3, 1, Some("a1")),
            ("k.a", 3, 3, Some("a3")),
            ("k.a", 3, 4, Some("a4")),
            ("k.a", 2, 5, Some("a5")),
            ("k.a", 2, 6, Some("a6")),
        ]);
        let gap = (2, Rule::ChainBroke { revision: 1, epoch: 3 });
        assert_eq!(broken, Err(vec![gap, (4, Rule::EpochFell { from: 3 })]));
    }

    #[test]
    fn records_out_of_order_are_not_judged_silently() {
        let record = |sequence, revision| Record {
            sequence,
            subject: "k.a".to_owned(),
            epoch: 1,
            revision,
            commit: Some(revision),
        };
        let breaks = check([record(2, 1), record(1, 2)]).unwrap_err();
        assert_eq!(breaks.len(), 1);
        assert_eq!(
            breaks[0].to_string(),
            "k.a at sequence 1, epoch 1, revision 2, commit 2: comes after sequence 2"
        );
    }
}
