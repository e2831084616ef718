//! Who checks the checker: histories whose verdict is known, histories of objects that really ran, and all permutations.

mod known;
mod objects;
mod permutations;
mod runs;
mod verdicts;

use std::time::Duration;

use super::*;
use crate::history::{Client, Operation, Outcome};

/// Operations on one key, each with its own client, its span in microseconds and an output.
pub(super) fn ok<I, O>(from: u64, to: u64, input: I, output: O) -> Operation<I, O> {
    let completed = Duration::from_micros(to);
    operation(from, input, Outcome::Ok { output, completed })
}

pub(super) fn failed<I, O>(from: u64, input: I) -> Operation<I, O> {
    operation(from, input, Outcome::Failed)
}

pub(super) fn unknown<I, O>(from: u64, input: I) -> Operation<I, O> {
    operation(from, input, Outcome::Unknown)
}

pub(super) fn operation<I, O>(from: u64, input: I, outcome: Outcome<O>) -> Operation<I, O> {
    let invoked = Duration::from_micros(from);
    Operation { client: Client(0), key: Key::new("k"), input, invoked, outcome }
}

pub(super) fn judge<M: Model>(
    model: &M,
    operations: impl IntoIterator<Item = Operation<M::Input, M::Output>>,
) -> Verdict {
    check(model, &operations.into_iter().collect(), Bound::default())
}
