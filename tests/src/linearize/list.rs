//! A list that is appended to and read. It finds more than a register: what is overwritten is gone, but a list keeps every
//! update that took effect, so one that was lost, doubled or moved shows in each later reading.

mod items;
pub use items::Items;

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;

use super::Model;

/// A list that begins empty.
///
/// Append each item once in a test, and let some operations answer with all items, if only at the end: lengths alone do not
/// say in which order items stand, so many of unknown outcome could not be decided.
#[derive(Debug, Clone, Copy, Default)]
pub struct List<T>(PhantomData<T>);

/// What a list can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListInput<T> {
    /// To take this item at its end.
    Append(T),
    /// What it holds.
    Read,
}

/// What it holds, after the item was taken if there was one. Either operation may answer with either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListOutput<T> {
    /// How many items.
    Length(usize),
    /// All items.
    Items(Vec<T>),
}

impl<T: Clone + Eq + Hash + Debug> Model for List<T> {
    type State = Items<T>;
    type Input = ListInput<T>;
    type Output = ListOutput<T>;

    const LOOKS_AHEAD: bool = true;

    fn initial(&self) -> Items<T> {
        Items::default()
    }

    fn step(
        &self,
        state: &Items<T>,
        input: &ListInput<T>,
        output: Option<&ListOutput<T>>,
    ) -> Option<Items<T>> {
        let length = state.len() + input.growth();
        let fits = output.is_none_or(|output| match (output, input) {
            (ListOutput::Length(told), _) => *told == length,
            (ListOutput::Items(told), _) if told.len() != length => false,
            (ListOutput::Items(told), ListInput::Append(item)) => {
                told.last() == Some(item) && state.begins(told)
            }
            (ListOutput::Items(told), ListInput::Read) => state.begins(told),
        });
        fits.then(|| match input {
            ListInput::Append(item) => state.with(item.clone()),
            ListInput::Read => state.clone(),
        })
    }

    fn only_reads(&self, input: &ListInput<T>, _: Option<&ListOutput<T>>) -> bool {
        input.growth() == 0
    }

    fn still_possible(&self, state: &Items<T>, input: &ListInput<T>, output: &ListOutput<T>) -> bool {
        let least = state.len() + input.growth();
        match output {
            ListOutput::Length(told) => least <= *told,
            // Only the last item can be new since the search asked before.
            ListOutput::Items(told) => {
                least <= told.len() && state.last().is_none_or(|last| told[state.len() - 1] == *last)
            }
        }
    }

    fn show_state(&self, state: &Items<T>) -> String {
        shorten(state.len(), &state.newest(SHOWN))
    }

    fn show(&self, input: &ListInput<T>, output: Option<&ListOutput<T>>) -> String {
        let output = match output {
            Some(ListOutput::Items(items)) => {
                shorten(items.len(), &items[items.len().saturating_sub(SHOWN)..])
            }
            Some(ListOutput::Length(length)) => format!("length {length}"),
            None => "?".to_owned(),
        };
        format!("{input:?} -> {output}")
    }
}

/// A list of a thousand items is as readable by its end.
const SHOWN: usize = 8;

fn shorten<T: Debug>(length: usize, newest: &[T]) -> String {
    if length > newest.len() { format!("{length} items, the last {newest:?}") } else { format!("{newest:?}") }
}

impl<T> ListInput<T> {
    fn growth(&self) -> usize {
        match self {
            Self::Append(_) => 1,
            Self::Read => 0,
        }
    }
}
