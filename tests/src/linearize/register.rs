//! A register: one value that is read, written, and written if it is still what it was.

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;

use super::Model;

/// A register that begins with the default of its values.
///
/// Write each value once in a test. A value that is written twice hides stale reads.
#[derive(Debug, Clone, Copy, Default)]
pub struct Register<V>(PhantomData<V>);

/// What a register can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterInput<V> {
    /// Its value.
    Read,
    /// To be this from now on.
    Write(V),
    /// To be `new` from now on if it is `expect`.
    Cas {
        /// What it has to be.
        expect: V,
        /// What it then becomes.
        new: V,
    },
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterOutput<V> {
    /// To `Read`.
    Value(V),
    /// To `Write`.
    Written,
    /// To `Cas`: whether it was what it had to be.
    Swapped(bool),
}

impl<V: Clone + Default + Eq + Hash + Debug> Model for Register<V> {
    type State = V;
    type Input = RegisterInput<V>;
    type Output = RegisterOutput<V>;

    fn initial(&self) -> V {
        V::default()
    }

    fn step(&self, state: &V, input: &Self::Input, output: Option<&Self::Output>) -> Option<V> {
        let (next, answer) = match input {
            RegisterInput::Read => (state, RegisterOutput::Value(state.clone())),
            RegisterInput::Write(value) => (value, RegisterOutput::Written),
            RegisterInput::Cas { expect, new } if state == expect => (new, RegisterOutput::Swapped(true)),
            RegisterInput::Cas { .. } => (state, RegisterOutput::Swapped(false)),
        };
        output.is_none_or(|output| *output == answer).then(|| next.clone())
    }

    fn only_reads(&self, input: &Self::Input, output: Option<&Self::Output>) -> bool {
        match input {
            RegisterInput::Read => true,
            RegisterInput::Write(_) => false,
            RegisterInput::Cas { .. } => output == Some(&RegisterOutput::Swapped(false)),
        }
    }

    fn forgets(&self, input: &Self::Input) -> bool {
        matches!(input, RegisterInput::Write(_))
    }
}
