//! Sequential objects that run, written apart from the models that they are held against.

use fastrand::Rng;

use super::*;

/// A sequential object that runs, apart from its model, with what a test asks it.
pub(super) trait Object: Default {
    type Model: Model<Input: Clone, Output: Clone> + Default;

    /// Something to ask; `fresh` is new each time.
    fn ask(rng: &mut Rng, fresh: u32) -> Input<Self>;

    /// Runs an operation.
    fn run(&mut self, input: &Input<Self>) -> Output<Self>;

    /// What to ask when all is over.
    fn ask_at_last() -> Option<Input<Self>> {
        None
    }

    /// Makes an answer impossible, if it can be told to be so whatever else happened.
    fn spoil(output: &Output<Self>) -> Option<Output<Self>>;
}

pub(super) type Input<T> = <<T as Object>::Model as Model>::Input;
pub(super) type Output<T> = <<T as Object>::Model as Model>::Output;
pub(super) type Operations<T> = Vec<Operation<Input<T>, Output<T>>>;

#[derive(Default)]
pub(super) struct RealRegister(u32);

impl Object for RealRegister {
    type Model = Register<u32>;

    fn ask(rng: &mut Rng, fresh: u32) -> RegisterInput<u32> {
        match rng.u32(0..10) {
            0..5 => RegisterInput::Read,
            5..8 => RegisterInput::Write(fresh),
            _ => RegisterInput::Cas { expect: fresh.saturating_sub(rng.u32(1..5)), new: fresh },
        }
    }

    fn run(&mut self, input: &RegisterInput<u32>) -> RegisterOutput<u32> {
        match input {
            RegisterInput::Read => RegisterOutput::Value(self.0),
            RegisterInput::Write(value) => {
                self.0 = *value;
                RegisterOutput::Written
            }
            RegisterInput::Cas { expect, new } => {
                let fits = self.0 == *expect;
                if fits {
                    self.0 = *new;
                }
                RegisterOutput::Swapped(fits)
            }
        }
    }

    fn spoil(output: &RegisterOutput<u32>) -> Option<RegisterOutput<u32>> {
        matches!(output, RegisterOutput::Value(_)).then_some(RegisterOutput::Value(u32::MAX))
    }
}

/// A list that answers with its items.
#[derive(Default)]
pub(super) struct RealList(Vec<u32>);

impl Object for RealList {
    type Model = List<u32>;

    fn ask(rng: &mut Rng, fresh: u32) -> ListInput<u32> {
        if rng.u32(0..10) < 3 { ListInput::Read } else { ListInput::Append(fresh) }
    }

    fn run(&mut self, input: &ListInput<u32>) -> ListOutput<u32> {
        if let ListInput::Append(item) = input {
            self.0.push(*item);
        }
        ListOutput::Items(self.0.clone())
    }

    fn spoil(output: &ListOutput<u32>) -> Option<ListOutput<u32>> {
        Some(match output {
            ListOutput::Length(length) => ListOutput::Length(length + 1_000_000),
            ListOutput::Items(items) => ListOutput::Items([&[u32::MAX], &items[..]].concat()),
        })
    }
}

/// A list that answers an appended item with the length, and tells its items seldom.
#[derive(Default)]
pub(super) struct TerseList(RealList);

impl Object for TerseList {
    type Model = List<u32>;

    fn ask(rng: &mut Rng, fresh: u32) -> ListInput<u32> {
        if rng.u32(0..20) == 0 { ListInput::Read } else { ListInput::Append(fresh) }
    }

    fn run(&mut self, input: &ListInput<u32>) -> ListOutput<u32> {
        match (input, self.0.run(input)) {
            (ListInput::Append(_), ListOutput::Items(items)) => ListOutput::Length(items.len()),
            (_, output) => output,
        }
    }

    fn ask_at_last() -> Option<ListInput<u32>> {
        Some(ListInput::Read)
    }

    fn spoil(output: &ListOutput<u32>) -> Option<ListOutput<u32>> {
        RealList::spoil(output)
    }
}

#[derive(Default)]
pub(super) struct RealCounter(u64);

impl Object for RealCounter {
    type Model = Counter;

    fn ask(rng: &mut Rng, _: u32) -> CounterInput {
        if rng.u32(0..10) < 3 { CounterInput::Get } else { CounterInput::Add(rng.u64(1..4)) }
    }

    fn run(&mut self, input: &CounterInput) -> CounterOutput {
        if let CounterInput::Add(growth) = input {
            self.0 += growth;
        }
        CounterOutput(self.0)
    }

    fn spoil(_: &CounterOutput) -> Option<CounterOutput> {
        Some(CounterOutput(u64::MAX))
    }
}
