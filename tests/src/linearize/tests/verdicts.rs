//! What is said of a history beyond right and wrong.

use super::known::{OnList, OnRegister, items, read, write};
use super::*;
use {ListInput::Append, ListOutput::Length};

#[test]
fn keys_are_judged_one_by_one() {
    let on = |key: &str, operation: OnRegister| Operation { key: Key::new(key), ..operation };
    // On one key this would be a stale read.
    let right = [on("a", write(0, 1, 1)), on("b", write(2, 3, 2)), on("a", read(4, 5, 1))];
    assert!(judge(&Register::default(), right.clone()).is_linearizable());
    let wrong = right.into_iter().chain([on("b", read(6, 7, 1)), on("c", read(6, 7, 0))]);
    let Verdict::Violated(violation) = judge(&Register::default(), wrong) else { panic!("accepted") };
    assert_eq!(violation.key, Key::new("b"));
}

#[test]
fn a_violation_says_how_far_it_can_be_explained_and_where_that_ends() {
    let on = |client, operation: OnList| Operation { client: Client(client), ..operation };
    let Verdict::Violated(violation) = judge(
        &List::default(),
        [
            on(1, ok(0, 1000, Append(1), Length(1))),
            on(2, unknown(500, Append(2))),
            on(3, unknown(600, Append(3))),
            on(1, items(1500, 1700, &[1, 2])),
            on(4, ok(1800, 2500, Append(5), Length(3))),
            on(1, items(2000, 2300, &[2, 1])),
            on(1, items(3000, 3300, &[2, 1, 5])),
        ],
    ) else {
        panic!("accepted")
    };
    let expected = "\
key k: no order of its operations explains all 5 answers
the longest run that has an order explains 3 of them:
       0.000 ..      1.000 ms  client 1: Append(1) -> length 1
       0.500 ..       open ms  client 2: Append(2) -> ?
       1.500 ..      1.700 ms  client 1: Read -> [1, 2]
       1.800 ..      2.500 ms  client 4: Append(5) -> length 3
the state is then: [1, 2, 5]
one of these would have to come next, the first one soon, and none can:
       2.000 ..      2.300 ms  client 1: Read -> [2, 1]
of unknown outcome and not used by then, which did not help:
       0.600 ..       open ms  client 3: Append(3) -> ?
";
    assert_eq!(violation.to_string(), expected);
}

#[test]
fn what_cannot_be_decided_within_the_bound_is_not_decided() {
    // Lengths that do not fit, many unknown appends, and no reading that would say in which order they stand.
    let mut operations: Vec<OnList> = (0..20).map(|item| unknown(0, Append(item))).collect();
    operations.extend([ok(1, 2, Append(100), Length(15)), ok(3, 4, Append(101), Length(15))]);
    let history = operations.into_iter().collect();
    let memory = Bound { configurations: 10_000, ..Bound::default() };
    let Verdict::Undecided(key, effort) = check(&List::default(), &history, memory) else {
        panic!("decided")
    };
    assert_eq!(key, Key::new("k"));
    assert!((10_000..10_100).contains(&effort.configurations), "{effort}");
    let time = Bound { time: Duration::ZERO, ..Bound::default() };
    assert!(matches!(check(&List::default(), &history, time), Verdict::Undecided(..)));
}

#[test]
#[should_panic(expected = "no order of its operations explains all 1 answers")]
fn a_test_ends_with_the_violation() {
    assert_linearizable(&Register::default(), &[read(0, 1, 1)].into_iter().collect());
}
