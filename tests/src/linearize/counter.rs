//! A counter that only grows. It finds lost and doubled additions, but cannot say which.

use super::Model;

/// A counter that begins at zero.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counter;

/// What a counter can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CounterInput {
    /// To grow.
    Add(u64),
    /// Its value.
    Get,
}

/// Its value, after the addition if there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterOutput(pub u64);

impl Model for Counter {
    type State = u64;
    type Input = CounterInput;
    type Output = CounterOutput;

    const LOOKS_AHEAD: bool = true;

    fn initial(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, input: &CounterInput, output: Option<&CounterOutput>) -> Option<u64> {
        let next = state.checked_add(input.growth())?;
        output.is_none_or(|output| output.0 == next).then_some(next)
    }

    fn only_reads(&self, input: &CounterInput, _: Option<&CounterOutput>) -> bool {
        input.growth() == 0
    }

    fn still_possible(&self, state: &u64, input: &CounterInput, output: &CounterOutput) -> bool {
        state.checked_add(input.growth()).is_some_and(|least| least <= output.0)
    }
}

impl CounterInput {
    fn growth(self) -> u64 {
        match self {
            Self::Add(growth) => growth,
            Self::Get => 0,
        }
    }
}
