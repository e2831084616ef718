//! Histories of objects that really ran: clients whose operations overlap at random, and each of which takes effect, if it
//! does, at one moment between its call and its answer. They must be accepted, and none of them after one answer was
//! made impossible.

use fastrand::Rng;
use proptest::prelude::*;

use super::objects::{Input, Object, Operations, Output, RealCounter, RealList, RealRegister, TerseList};
use super::*;

/// How much to ask, by how many, and how much of it gets no answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) clients: usize,
    pub(super) operations: usize,
    pub(super) percent_unknown: u32,
    pub(super) percent_failed: u32,
}

/// What a client waits for.
struct Waiting<T: Object> {
    index: usize,
    input: Input<T>,
    /// What the object answered, if it ran already.
    output: Option<Output<T>>,
}

/// Runs an object.
pub(super) fn run<T: Object>(rng: &mut Rng, plan: Plan) -> Operations<T> {
    let mut object = T::default();
    let mut operations: Operations<T> = Vec::new();
    let mut clients: Vec<Option<Waiting<T>>> = (0..plan.clients).map(|_| None).collect();
    // What nobody waits for any more, and may yet run.
    let mut abandoned: Vec<Input<T>> = Vec::new();
    let mut now = 0;
    while operations.len() < plan.operations || clients.iter().any(Option::is_some) {
        // Sometimes two things happen at the same moment.
        now += rng.u64(0..3);
        if !abandoned.is_empty() && rng.u32(0..20) == 0 {
            let input = abandoned.swap_remove(rng.usize(..abandoned.len()));
            object.run(&input);
        }
        let client = rng.usize(..plan.clients);
        match clients[client].take() {
            None if operations.len() < plan.operations => {
                let index = operations.len();
                let input = T::ask(rng, u32::try_from(index).unwrap() + 1);
                operations.push(Operation {
                    client: Client(u32::try_from(client).unwrap()),
                    ..unknown(now, input.clone())
                });
                clients[client] = Some(Waiting { index, input, output: None });
            }
            None => {}
            // It waits no longer. What did not run yet may do so later, or is lost.
            Some(waiting) if rng.u32(0..100) < plan.percent_unknown => {
                abandoned.extend(Some(waiting.input).filter(|_| waiting.output.is_none() && rng.bool()));
            }
            Some(mut waiting) if waiting.output.is_none() => {
                if rng.u32(0..100) < plan.percent_failed {
                    operations[waiting.index].outcome = Outcome::Failed;
                } else {
                    waiting.output = Some(object.run(&waiting.input));
                    clients[client] = Some(waiting);
                }
            }
            Some(waiting) => {
                let output = waiting.output.unwrap();
                operations[waiting.index].outcome =
                    Outcome::Ok { output, completed: Duration::from_micros(now) };
            }
        }
    }
    if let Some(input) = T::ask_at_last() {
        let output = object.run(&input);
        operations.push(ok(now + 1, now + 2, input, output));
    }
    operations
}

/// Makes the answer of one operation impossible; nothing if it has none that can be.
pub(super) fn spoil<T: Object>(operations: &Operations<T>, which: usize) -> Option<Operations<T>> {
    let mut spoilt = operations.clone();
    let Outcome::Ok { output, .. } = &mut spoilt[which].outcome else { return None };
    *output = T::spoil(output)?;
    Some(spoilt)
}

fn any_plan() -> impl Strategy<Value = Plan> {
    (1..6usize, 1..80usize, 0..25u32, 0..10u32).prop_map(
        |(clients, operations, percent_unknown, percent_failed)| Plan {
            clients,
            operations,
            percent_unknown,
            percent_failed,
        },
    )
}

fn accepted_until_spoilt<T: Object>(seed: u64, plan: Plan) {
    let (mut rng, model) = (Rng::with_seed(seed), T::Model::default());
    let operations = run::<T>(&mut rng, plan);
    let verdict = judge(&model, operations.clone());
    assert!(verdict.is_linearizable(), "{verdict}");
    if let Some(spoilt) = spoil::<T>(&operations, rng.usize(..operations.len())) {
        let verdict = judge(&model, spoilt);
        assert!(verdict.is_violated(), "{verdict}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn registers_that_ran_are_accepted_until_an_answer_is_spoilt(seed in any::<u64>(), plan in any_plan()) {
        accepted_until_spoilt::<RealRegister>(seed, plan);
    }

    #[test]
    fn lists_that_ran_are_accepted_until_an_answer_is_spoilt(seed in any::<u64>(), plan in any_plan()) {
        accepted_until_spoilt::<RealList>(seed, plan);
    }

    #[test]
    fn terse_lists_that_ran_are_accepted_until_an_answer_is_spoilt(seed in any::<u64>(), plan in any_plan()) {
        accepted_until_spoilt::<TerseList>(seed, plan);
    }

    #[test]
    fn counters_that_ran_are_accepted_until_an_answer_is_spoilt(seed in any::<u64>(), plan in any_plan()) {
        accepted_until_spoilt::<RealCounter>(seed, plan);
    }
}

/// Two thousand operations on one key by eight clients, of which one in twenty gets no answer.
fn decides_much<T: Object>(what: &str) {
    let plan = Plan { clients: 8, operations: 2000, percent_unknown: 3, percent_failed: 1 };
    for seed in 0..3 {
        let operations = run::<T>(&mut Rng::with_seed(seed), plan);
        let history: History<_, _> = operations.iter().cloned().collect();
        let effort = assert_linearizable(&T::Model::default(), &history);
        crate::say(&format!("{what}, right: {history}: {effort}"));
        let late = (operations.len() / 2..).find_map(|which| spoil::<T>(&operations, which)).unwrap();
        let verdict = judge(&T::Model::default(), late);
        assert!(verdict.is_violated(), "{verdict}");
    }
}

#[test]
fn many_operations_on_a_register_are_decided() {
    decides_much::<RealRegister>("register");
}

#[test]
fn many_operations_on_a_list_are_decided() {
    decides_much::<RealList>("list");
}

#[test]
fn many_operations_on_a_terse_list_are_decided() {
    decides_much::<TerseList>("terse list");
}

#[test]
fn many_operations_on_a_counter_are_decided() {
    decides_much::<RealCounter>("counter");
}
