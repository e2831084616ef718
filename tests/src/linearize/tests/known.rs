//! Histories that people can judge.

use super::*;
use {ListInput::Append, ListOutput::Items as Holds, ListOutput::Length};
use {
    RegisterInput::Cas, RegisterInput::Write, RegisterOutput::Swapped, RegisterOutput::Value,
    RegisterOutput::Written,
};

pub(super) type OnRegister = Operation<RegisterInput<u32>, RegisterOutput<u32>>;
pub(super) type OnList = Operation<ListInput<u32>, ListOutput<u32>>;
type OnCounter = Operation<CounterInput, CounterOutput>;

/// A history and what it shows.
type Named<I, O> = (&'static str, Vec<Operation<I, O>>);

pub(super) fn write(from: u64, to: u64, value: u32) -> OnRegister {
    ok(from, to, Write(value), Written)
}

pub(super) fn read(from: u64, to: u64, value: u32) -> OnRegister {
    ok(from, to, RegisterInput::Read, Value(value))
}

fn cas(from: u64, to: u64, (expect, new): (u32, u32), swapped: bool) -> OnRegister {
    ok(from, to, Cas { expect, new }, Swapped(swapped))
}

pub(super) fn items(from: u64, to: u64, items: &[u32]) -> OnList {
    ok(from, to, ListInput::Read, Holds(items.to_vec()))
}

#[track_caller]
fn judged<M: Model>(
    model: M,
    right: Vec<Named<M::Input, M::Output>>,
    wrong: Vec<Named<M::Input, M::Output>>,
) {
    for (what, history) in right {
        let verdict = judge(&model, history);
        assert!(verdict.is_linearizable(), "{what}: {verdict}");
    }
    for (what, history) in wrong {
        let verdict = judge(&model, history);
        assert!(verdict.is_violated(), "{what}: {verdict}");
    }
}

#[test]
fn histories_of_registers() {
    let right: Vec<(&str, Vec<OnRegister>)> = vec![
        ("nothing", vec![]),
        ("one after the other", vec![write(0, 1, 1), read(2, 3, 1), write(4, 5, 2), read(6, 7, 2)]),
        ("the first value", vec![read(0, 1, 0)]),
        ("a read beside a write sees the old", vec![write(0, 9, 1), read(1, 2, 0), read(10, 11, 1)]),
        ("a read beside a write sees the new", vec![write(0, 9, 1), read(1, 2, 1), read(3, 4, 1)]),
        (
            "reads beside a write see the old, then the new",
            vec![write(0, 9, 1), read(1, 2, 0), read(3, 4, 1)],
        ),
        ("writes in the order of their answers", vec![write(0, 9, 1), write(1, 8, 2), read(10, 11, 1)]),
        ("writes in the other order", vec![write(0, 9, 1), write(1, 8, 2), read(10, 11, 2)]),
        (
            "writes in reverse, as three reads in their middle say",
            vec![write(0, 9, 1), write(0, 9, 2), write(0, 9, 3), read(1, 2, 3), read(3, 4, 2), read(5, 6, 1)],
        ),
        ("what happens at the same moment is concurrent", vec![write(0, 5, 1), read(5, 6, 0)]),
        ("one of two swaps wins", vec![cas(0, 9, (0, 1), true), cas(0, 9, (0, 2), false), read(10, 11, 1)]),
        ("swaps follow each other", vec![cas(0, 9, (1, 2), true), cas(0, 9, (0, 1), true), read(10, 11, 2)]),
        ("a swap fails before the write that it expects", vec![write(0, 9, 1), cas(1, 2, (1, 2), false)]),
        ("a failed write is never seen", vec![write(0, 1, 1), failed(2, Write(2)), read(3, 4, 1)]),
        ("an unknown write is never seen", vec![write(0, 1, 1), unknown(2, Write(2)), read(3, 4, 1)]),
        (
            "an unknown write is seen much later",
            vec![unknown(0, Write(2)), read(1, 2, 0), write(3, 4, 1), read(5, 6, 2)],
        ),
        (
            "an unknown write explains a swap",
            vec![write(0, 1, 1), unknown(2, Write(5)), cas(3, 4, (5, 6), true), read(5, 6, 6)],
        ),
        (
            "two unknown writes of the same, both needed",
            vec![unknown(0, Write(5)), read(1, 2, 5), write(3, 4, 1), unknown(5, Write(5)), read(6, 7, 5)],
        ),
        (
            "the older of two unknown writes of the same is needed late",
            vec![unknown(0, Write(5)), write(1, 2, 1), read(3, 4, 5), unknown(5, Write(5))],
        ),
        ("an unknown swap that did not fit", vec![unknown(0, Cas { expect: 7, new: 8 }), read(1, 2, 0)]),
        (
            "an unknown read says nothing",
            vec![unknown(0, RegisterInput::Read), write(1, 2, 1), read(3, 4, 1)],
        ),
        ("nothing was answered", vec![unknown(0, Write(1)), failed(1, Write(2))]),
    ];
    let wrong: Vec<(&str, Vec<OnRegister>)> = vec![
        ("a value from nowhere", vec![read(0, 1, 1)]),
        ("a value from the future", vec![read(0, 1, 1), write(2, 3, 1)]),
        ("a stale read", vec![write(0, 1, 1), write(2, 3, 2), read(4, 5, 1)]),
        ("a lost write", vec![write(0, 1, 1), read(2, 3, 0)]),
        ("a write is seen and then unseen", vec![write(0, 9, 1), read(1, 2, 1), read(3, 4, 0)]),
        (
            "reads disagree about the order of two writes",
            vec![write(0, 9, 1), write(0, 9, 2), read(10, 11, 1), read(12, 13, 2)],
        ),
        (
            "concurrent readers disagree about the order of two writes",
            vec![
                write(0, 20, 1),
                write(0, 20, 2),
                read(1, 3, 1),
                read(2, 4, 2),
                read(5, 7, 1),
                read(8, 9, 2),
                read(10, 11, 1),
            ],
        ),
        (
            "writes that follow each other are seen in the other order",
            vec![write(0, 1, 1), write(2, 3, 2), read(4, 5, 2), read(6, 7, 1)],
        ),
        ("both swaps win", vec![cas(0, 9, (0, 1), true), cas(0, 9, (0, 2), true)]),
        ("a swap fails for no reason", vec![cas(0, 9, (0, 1), false)]),
        (
            "a swap wins on what was overwritten",
            vec![write(0, 1, 1), write(2, 3, 2), cas(4, 5, (1, 3), true)],
        ),
        ("a failed write is seen", vec![write(0, 1, 1), failed(2, Write(2)), read(3, 4, 2)]),
        ("an unknown write is seen before it was asked for", vec![read(0, 1, 2), unknown(2, Write(2))]),
        (
            "an unknown write is seen, unseen, and seen again",
            vec![write(0, 1, 1), unknown(2, Write(2)), read(3, 4, 2), read(5, 6, 1), read(7, 8, 2)],
        ),
        (
            "one unknown write takes effect twice",
            vec![unknown(0, Write(2)), read(1, 2, 2), write(3, 4, 1), read(5, 6, 2)],
        ),
        (
            "two unknown writes of the same, three needed",
            vec![
                unknown(0, Write(5)),
                unknown(0, Write(5)),
                read(1, 2, 5),
                write(3, 4, 1),
                read(5, 6, 5),
                write(7, 8, 2),
                read(9, 10, 5),
            ],
        ),
        (
            "the younger of two unknown writes of the same came too late",
            vec![unknown(0, Write(5)), read(1, 2, 5), write(3, 4, 1), read(5, 6, 5), unknown(7, Write(5))],
        ),
        ("an answer of another kind", vec![ok(0, 1, RegisterInput::Read, Written)]),
    ];
    judged(Register::default(), right, wrong);
}

#[test]
fn histories_of_lists() {
    let append =
        |from, to, item, after: &[u32]| -> OnList { ok(from, to, Append(item), Holds(after.to_vec())) };
    let count = |from, to, item, length| -> OnList { ok(from, to, Append(item), Length(length)) };
    let right: Vec<(&str, Vec<OnList>)> = vec![
        ("one after the other", vec![append(0, 1, 1, &[1]), append(2, 3, 2, &[1, 2]), items(4, 5, &[1, 2])]),
        ("concurrent, in the other order", vec![append(0, 9, 1, &[2, 1]), append(0, 9, 2, &[2])]),
        ("lengths give the order", vec![count(0, 9, 1, 2), count(0, 9, 2, 1), items(10, 11, &[2, 1])]),
        ("an unknown append is there", vec![unknown(0, Append(1)), append(1, 2, 2, &[1, 2])]),
        ("an unknown append is not there", vec![unknown(0, Append(1)), append(1, 2, 2, &[2])]),
        (
            "an unknown append comes late",
            vec![unknown(0, Append(1)), append(1, 2, 2, &[2]), items(3, 4, &[2, 1])],
        ),
        (
            "unknown appends, of which some came, in another order",
            vec![
                unknown(0, Append(1)),
                unknown(0, Append(2)),
                unknown(0, Append(3)),
                unknown(0, Append(4)),
                count(1, 2, 5, 3),
                items(3, 4, &[4, 2, 5]),
                items(5, 6, &[4, 2, 5, 1]),
            ],
        ),
        ("two appends of the same", vec![append(0, 1, 1, &[1]), append(2, 3, 1, &[1, 1])]),
        ("a failed append is not there", vec![failed(0, Append(1)), append(1, 2, 2, &[2])]),
    ];
    let wrong: Vec<(&str, Vec<OnList>)> = vec![
        ("a lost update", vec![append(0, 9, 1, &[1]), append(0, 9, 2, &[2])]),
        ("a lost update, by length", vec![count(0, 9, 1, 1), count(0, 9, 2, 1)]),
        ("an update is lost later", vec![append(0, 1, 1, &[1]), items(2, 3, &[1]), items(4, 5, &[])]),
        ("a doubled append", vec![append(0, 1, 1, &[1]), items(2, 3, &[1, 1])]),
        ("an append that answers with another item", vec![append(0, 1, 1, &[2])]),
        ("a doubled append, by length", vec![count(0, 1, 1, 1), count(2, 3, 2, 3)]),
        (
            "an unknown append is doubled",
            vec![unknown(0, Append(1)), append(1, 2, 2, &[1, 2]), items(3, 4, &[1, 2, 1])],
        ),
        ("a failed append is there", vec![failed(0, Append(1)), append(1, 2, 2, &[1, 2])]),
        (
            "appends that follow each other stand in the other order",
            vec![count(0, 1, 1, 1), count(2, 3, 2, 2), items(4, 5, &[2, 1])],
        ),
        (
            "readers saw the items in different orders",
            vec![unknown(0, Append(1)), unknown(0, Append(2)), items(1, 9, &[1, 2]), items(1, 9, &[2, 1])],
        ),
        (
            "an append that is not the last in its answer",
            vec![append(0, 9, 1, &[1, 2]), append(0, 9, 2, &[1, 2])],
        ),
        (
            "an unknown append is seen and then unseen",
            vec![unknown(0, Append(1)), items(1, 2, &[1]), items(3, 4, &[])],
        ),
    ];
    judged(List::default(), right, wrong);
}

#[test]
fn histories_of_counters() {
    let add = |from, to, growth, after| -> OnCounter {
        ok(from, to, CounterInput::Add(growth), CounterOutput(after))
    };
    let get = |from, to, value| -> OnCounter { ok(from, to, CounterInput::Get, CounterOutput(value)) };
    let right: Vec<(&str, Vec<OnCounter>)> = vec![
        ("one after the other", vec![add(0, 1, 1, 1), add(2, 3, 5, 6), get(4, 5, 6)]),
        ("concurrent", vec![add(0, 9, 1, 3), add(0, 9, 2, 2), get(1, 2, 0), get(3, 4, 2)]),
        ("two of three unknown ones", {
            let open = || unknown(0, CounterInput::Add(1));
            vec![open(), open(), open(), get(1, 2, 0), get(3, 4, 1), get(5, 6, 2)]
        }),
        (
            "an unknown one that would be too much",
            vec![unknown(0, CounterInput::Add(u64::MAX)), add(1, 2, 1, 1)],
        ),
    ];
    let wrong: Vec<(&str, Vec<OnCounter>)> = vec![
        ("a lost addition", vec![add(0, 9, 1, 1), add(0, 9, 1, 1)]),
        ("a doubled addition", vec![add(0, 1, 1, 1), get(2, 3, 2)]),
        ("four of three unknown ones", {
            let open = || unknown(0, CounterInput::Add(1));
            vec![open(), open(), open(), get(1, 2, 4)]
        }),
        ("readers disagree", vec![add(0, 9, 1, 1), get(1, 2, 1), get(3, 4, 0)]),
    ];
    judged(Counter, right, wrong);
}
