//! Small histories, right and wrong ones, judged once more by trying every order of every choice of their operations.

use proptest::collection::vec;
use proptest::prelude::*;

use super::objects::{Object, RealCounter, RealList, RealRegister, TerseList};
use super::*;

/// Whether the operations that are left have an order. Those that were answered must all be in it, those of unknown
/// outcome may be.
fn has_order<M: Model>(model: &M, state: &M::State, left: &[&Operation<M::Input, M::Output>]) -> bool {
    let end = |operation: &Operation<_, _>| match operation.outcome {
        Outcome::Ok { completed, .. } => Some(completed),
        _ => None,
    };
    if left.iter().all(|operation| end(operation).is_none()) {
        return true;
    }
    (0..left.len()).any(|next| {
        let mut others = left.to_vec();
        let operation = others.remove(next);
        let output = match &operation.outcome {
            Outcome::Ok { output, .. } => Some(output),
            Outcome::Unknown => None,
            Outcome::Failed => return false,
        };
        let in_time = others.iter().filter_map(|other| end(other)).all(|end| end >= operation.invoked);
        let state = model.step(state, &operation.input, output);
        in_time && state.is_some_and(|state| has_order(model, &state, &others))
    })
}

/// Inputs and outputs from so few values that right and wrong histories are about as frequent.
type Given<I, O> = (u64, u64, I, O, u32);

fn given<I: Clone + std::fmt::Debug + 'static, O: Clone + std::fmt::Debug + 'static>(
    calls: impl Strategy<Value = (I, O)> + 'static,
) -> impl Strategy<Value = Vec<Given<I, O>>> {
    let one = (0..12u64, 0..8u64, calls, 0..10u32);
    vec(one.prop_map(|(from, length, (input, output), fate)| (from, length, input, output, fate)), 1..7)
}

fn operations<I, O>(given: Vec<Given<I, O>>) -> Vec<Operation<I, O>> {
    given
        .into_iter()
        .map(|(from, length, input, output, fate)| match fate {
            0 => failed(from, input),
            1..4 => unknown(from, input),
            _ => ok(from, from + length, input, output),
        })
        .collect()
}

fn agrees<M: Model<Input: Clone, Output: Clone>>(
    model: &M,
    operations: Vec<Operation<M::Input, M::Output>>,
) -> Result<bool, TestCaseError> {
    let left: Vec<_> = operations.iter().collect();
    let expected = has_order(model, &model.initial(), &left);
    let verdict = judge(model, operations.clone());
    prop_assert!(verdict.is_linearizable() == expected, "there is an order: {}; {}", expected, verdict);
    prop_assert!(verdict.is_violated() != expected);
    Ok(expected)
}

fn on_register() -> impl Strategy<Value = (RegisterInput<u32>, RegisterOutput<u32>)> {
    prop_oneof![
        (0..3u32).prop_map(|value| (RegisterInput::Read, RegisterOutput::Value(value))),
        (0..3u32).prop_map(|value| (RegisterInput::Write(value), RegisterOutput::Written)),
        (0..3u32, 0..3u32, any::<bool>()).prop_map(|(expect, new, swapped)| (
            RegisterInput::Cas { expect, new },
            RegisterOutput::Swapped(swapped)
        )),
    ]
}

fn on_list() -> impl Strategy<Value = (ListInput<u32>, ListOutput<u32>)> {
    let input = prop_oneof![Just(ListInput::Read), (0..3u32).prop_map(ListInput::Append)];
    let output =
        prop_oneof![(0..4usize).prop_map(ListOutput::Length), vec(0..3u32, 0..4).prop_map(ListOutput::Items)];
    (input, output).prop_map(|(input, output)| match (input, output) {
        // Mostly what an append could answer.
        (ListInput::Append(item), ListOutput::Items(items)) => {
            (ListInput::Append(item), ListOutput::Items([&items[..], &[item]].concat()))
        }
        other => other,
    })
}

fn on_counter() -> impl Strategy<Value = (CounterInput, CounterOutput)> {
    let input = prop_oneof![Just(CounterInput::Get), (0..3u64).prop_map(CounterInput::Add)];
    (input, (0..5u64).prop_map(CounterOutput))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn all_orders_of_a_small_history_of_a_register_agree(given in given(on_register())) {
        agrees(&Register::default(), operations(given))?;
    }

    #[test]
    fn all_orders_of_a_small_history_of_a_list_agree(given in given(on_list())) {
        agrees(&List::default(), operations(given))?;
    }

    #[test]
    fn all_orders_of_a_small_history_of_a_counter_agree(given in given(on_counter())) {
        agrees(&Counter, operations(given))?;
    }
}

/// Objects that ran, with one answer replaced by another one's: right as often as wrong, and wrong by little. Every second
/// one leaves much unknown.
fn agrees_nearly<T: Object>() {
    let (mut right, mut wrong) = (0, 0);
    for seed in 0..5000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (operations, percent_unknown) = if seed % 2 == 0 { (7, 15) } else { (8, 40) };
        let plan = runs::Plan { clients: 3, operations, percent_unknown, percent_failed: 5 };
        let mut operations = runs::run::<T>(&mut rng, plan);
        let (one, other) = (rng.usize(..operations.len()), rng.usize(..operations.len()));
        if let Outcome::Ok { output: new, .. } = operations[other].outcome.clone()
            && let Outcome::Ok { output, .. } = &mut operations[one].outcome
        {
            *output = new;
        }
        match agrees(&T::Model::default(), operations) {
            Ok(true) => right += 1,
            Ok(false) => wrong += 1,
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    // Otherwise this would be a test of one verdict only.
    assert!(right > 500 && wrong > 500, "{right} right, {wrong} wrong");
}

#[test]
fn all_orders_of_a_register_that_nearly_ran_agree() {
    agrees_nearly::<RealRegister>();
}

#[test]
fn all_orders_of_a_list_that_nearly_ran_agree() {
    agrees_nearly::<RealList>();
}

#[test]
fn all_orders_of_a_terse_list_that_nearly_ran_agree() {
    agrees_nearly::<TerseList>();
}

#[test]
fn all_orders_of_a_counter_that_nearly_ran_agree() {
    agrees_nearly::<RealCounter>();
}
