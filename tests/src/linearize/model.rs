//! What a sequential object does: the specification that histories are held against.

use std::fmt::Debug;
use std::hash::Hash;

/// A sequential object.
///
/// All but the first two functions are optional. They tell the search what it need not try, and must be true of the
/// object: a model that claims too much makes the search miss orders.
pub trait Model {
    /// What the object remembers. The search keeps many of them, so a clone should be cheap.
    type State: Clone + Eq + Hash + Debug;
    /// What it can be asked.
    type Input: PartialEq + Debug;
    /// What it answers.
    type Output: Debug;

    /// Whether [`still_possible`](Self::still_possible) is worth a call. The search then asks it of every answer to
    /// come whenever the state changes.
    const LOOKS_AHEAD: bool = false;

    /// Before the first operation.
    fn initial(&self) -> Self::State;

    /// The state after an operation, or nothing if the object would not have given this output. Without an output nobody
    /// knows what it answered, and it takes effect.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// Whether an operation with this output, or with any if it is not known, never changes a state.
    fn only_reads(&self, _input: &Self::Input, _output: Option<&Self::Output>) -> bool {
        false
    }

    /// Whether the state after an operation is the same whatever it was before.
    fn forgets(&self, _input: &Self::Input) -> bool {
        false
    }

    /// Whether an operation may still have this output in this state or in one that can come after it. The search has
    /// asked the same of every state on the way, so only what came last needs a look.
    fn still_possible(&self, _state: &Self::State, _input: &Self::Input, _output: &Self::Output) -> bool {
        true
    }

    /// A state, for people.
    fn show_state(&self, state: &Self::State) -> String {
        format!("{state:?}")
    }

    /// An operation, for people.
    fn show(&self, input: &Self::Input, output: Option<&Self::Output>) -> String {
        match output {
            Some(output) => format!("{input:?} -> {output:?}"),
            None => format!("{input:?} -> ?"),
        }
    }
}
