//! The search for an order of one key's operations. The rules are those of [`linearize`](super), by number.

mod furthest;

use std::time::{Duration, Instant};

use super::entries::{Entries, Entry};
use super::seen::{Seen, Set};
use super::{Bound, Effort, Model};
use crate::history::{Operation, Outcome};

/// The clock is read once in so many steps.
const STEPS_PER_LOOK: u64 = 256;

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// With an order.
    Order,
    /// With the certainty that there is none.
    None,
    /// With its bound.
    Bound,
}

pub(super) struct Search<'a, M: Model> {
    model: &'a M,
    bound: Bound,
    looks_ahead: bool,
    started: Instant,
    effort: Effort,
    /// Those that were answered, in the order of their calls.
    answered: Vec<Answered<'a, M>>,
    /// Those of unknown outcome, in the order of their calls.
    open: Vec<Open<'a, M>>,
    /// The calls and returns of the answered ones that are not placed.
    entries: Entries,
    placed: Set,
    used: Set,
    state: M::State,
    seen: Seen<M::State>,
    /// The way to here.
    path: Vec<Turn<M::State>>,
    /// How many answered ones are on it.
    depth: usize,
    /// The way on which most answered ones could be placed, and how many.
    best: (usize, Vec<Placed>),
}

struct Answered<'a, M: Model> {
    operation: &'a Operation<M::Input, M::Output>,
    output: &'a M::Output,
    completed: Duration,
    only_reads: bool,
}

struct Open<'a, M: Model> {
    operation: &'a Operation<M::Input, M::Output>,
    /// The one before it that asked the same.
    twin: Option<usize>,
    forgets: bool,
}

#[derive(Debug, Clone, Copy)]
enum Placed {
    Answered(usize),
    Open(usize),
}

/// A step of the way, with what it takes to undo it and to go on from there.
struct Turn<S> {
    placed: Placed,
    before: S,
    resume: Cursor<S>,
}

/// What to try next in the present configuration.
enum Cursor<S> {
    /// The answered operations that only read, from this place of the list on.
    Reads(usize),
    /// The other answered ones, from this place on.
    Others(usize),
    /// These of unknown outcome, the last one first, with the states after them.
    Open(Vec<(usize, S)>),
    /// Nothing.
    Exhausted,
}

impl<'a, M: Model> Search<'a, M> {
    pub(super) fn new(model: &'a M, operations: &[&'a Operation<M::Input, M::Output>], bound: Bound) -> Self {
        let mut operations = operations.to_vec();
        operations.sort_by_key(|operation| operation.invoked);
        let (mut answered, mut open) = (Vec::new(), Vec::<Open<M>>::new());
        for operation in operations {
            match &operation.outcome {
                Outcome::Ok { output, completed } => {
                    let only_reads = model.only_reads(&operation.input, Some(output));
                    answered.push(Answered { operation, output, completed: *completed, only_reads });
                }
                // It would be of no use.
                Outcome::Unknown if model.only_reads(&operation.input, None) => {}
                Outcome::Unknown => {
                    let twin = open.iter().rposition(|before| before.operation.input == operation.input);
                    open.push(Open { operation, twin, forgets: model.forgets(&operation.input) });
                }
                Outcome::Failed => {}
            }
        }
        let spans: Vec<_> = answered.iter().map(|one| (one.operation.invoked, one.completed)).collect();
        Self {
            model,
            bound,
            looks_ahead: M::LOOKS_AHEAD,
            started: Instant::now(),
            effort: Effort::default(),
            placed: Set::new(answered.len()),
            used: Set::new(open.len()),
            entries: Entries::new(&spans),
            answered,
            open,
            state: model.initial(),
            seen: Seen::new(),
            path: Vec::new(),
            depth: 0,
            best: (0, Vec::new()),
        }
    }

    /// The same without looking ahead, to see how far an explanation gets: who looks ahead stops where the answer that
    /// cannot be explained is still far away.
    pub(super) fn shortsighted(self) -> Self {
        Self { looks_ahead: false, ..self }
    }

    /// Searches until an order is found, all have been tried, or the bound is reached.
    pub(super) fn run(&mut self) -> Found {
        let mut cursor = Cursor::Reads(self.entries.first());
        // Rule 1.
        while self.depth < self.answered.len() {
            if self.is_over() {
                return Found::Bound;
            }
            cursor = match cursor {
                Cursor::Reads(place) => self.try_read(place),
                Cursor::Others(place) => self.try_other(place),
                Cursor::Open(children) => self.try_open(children),
                Cursor::Exhausted => match self.undo() {
                    Some(resume) => resume,
                    None => return Found::None,
                },
            };
        }
        Found::Order
    }

    /// What it took until now.
    pub(super) fn effort(&self) -> Effort {
        Effort { configurations: self.seen.count(), time: self.started.elapsed(), ..self.effort }
    }

    fn is_over(&self) -> bool {
        self.seen.count() >= self.bound.configurations
            || (self.effort.steps.is_multiple_of(STEPS_PER_LOOK) && self.started.elapsed() >= self.bound.time)
    }

    /// Rule 5: what only reads, and fits, is placed for good. No memory is needed of what follows without a choice.
    fn try_read(&mut self, place: usize) -> Cursor<M::State> {
        let number = match self.entries.at(place) {
            Entry::Call(number) => number,
            Entry::Return(_) | Entry::End => return Cursor::Others(self.entries.first()),
        };
        let next = self.entries.after(place);
        if !self.answered[number].only_reads || self.step(Placed::Answered(number)).is_none() {
            return Cursor::Reads(next);
        }
        // The place that follows may be its own return, which is taken out.
        let next =
            if self.entries.at(next) == Entry::Return(number) { self.entries.after(next) } else { next };
        self.place(Placed::Answered(number), self.state.clone(), Cursor::Exhausted);
        Cursor::Reads(next)
    }

    fn try_other(&mut self, place: usize) -> Cursor<M::State> {
        let number = match self.entries.at(place) {
            Entry::Call(number) => number,
            // Rule 2. What returns here has to be placed before anything that was asked for later.
            Entry::Return(number) => return Cursor::Open(self.open_ones(self.answered[number].completed)),
            Entry::End => return Cursor::Exhausted,
        };
        let resume = Cursor::Others(self.entries.after(place));
        let placed = Placed::Answered(number);
        if self.answered[number].only_reads {
            return resume;
        }
        let Some(state) = self.step(placed).filter(|state| self.is_possible(state, Some(number))) else {
            return resume;
        };
        self.placed.insert(number);
        let is_new = self.seen.insert(&self.placed, &state, &self.used);
        self.placed.remove(number);
        if !is_new {
            return resume;
        }
        self.place(placed, state, resume);
        Cursor::Reads(self.entries.first())
    }

    /// The operations of unknown outcome that were asked for by then and lead to something new. All are noted as seen
    /// before the first is tried: what it leads to by way of a second one is then known to be worse than the second one
    /// alone.
    fn open_ones(&mut self, until: Duration) -> Vec<(usize, M::State)> {
        let follows_another = matches!(self.path.last(), Some(Turn { placed: Placed::Open(_), .. }));
        let mut children = Vec::new();
        for number in 0..self.open.len() {
            let Open { operation, twin, forgets } = &self.open[number];
            if operation.invoked > until {
                break;
            }
            // Rules 4 and 7.
            let is_turn = !self.used.contains(number) && twin.is_none_or(|twin| self.used.contains(twin));
            if !is_turn || (*forgets && follows_another) {
                continue;
            }
            let Some(state) = self.step(Placed::Open(number)) else { continue };
            if state == self.state || !self.is_possible(&state, None) {
                continue;
            }
            // Rule 3.
            self.used.insert(number);
            if self.seen.insert(&self.placed, &state, &self.used) {
                children.push((number, state));
            }
            self.used.remove(number);
        }
        children.reverse();
        children
    }

    fn try_open(&mut self, mut children: Vec<(usize, M::State)>) -> Cursor<M::State> {
        let Some((number, state)) = children.pop() else { return Cursor::Exhausted };
        self.place(Placed::Open(number), state, Cursor::Open(children));
        Cursor::Reads(self.entries.first())
    }

    /// The state after an operation, if it fits here.
    fn step(&mut self, placed: Placed) -> Option<M::State> {
        self.effort.steps += 1;
        self.stepped(&self.state, placed)
    }

    fn stepped(&self, state: &M::State, placed: Placed) -> Option<M::State> {
        match placed {
            Placed::Answered(number) => {
                let Answered { operation, output, .. } = &self.answered[number];
                self.model.step(state, &operation.input, Some(output))
            }
            Placed::Open(number) => self.model.step(state, &self.open[number].operation.input, None),
        }
    }

    /// Rule 6, for all that were answered and are not placed yet, but for the one that is being placed.
    fn is_possible(&self, state: &M::State, but: Option<usize>) -> bool {
        !self.looks_ahead
            || self.entries.iter().all(|entry| match entry {
                Entry::Call(number) if Some(number) != but => {
                    let Answered { operation, output, .. } = &self.answered[number];
                    self.model.still_possible(state, &operation.input, output)
                }
                _ => true,
            })
    }

    fn place(&mut self, placed: Placed, state: M::State, resume: Cursor<M::State>) {
        match placed {
            Placed::Answered(number) => {
                self.entries.lift(number);
                self.placed.insert(number);
                self.depth += 1;
            }
            Placed::Open(number) => self.used.insert(number),
        }
        let before = std::mem::replace(&mut self.state, state);
        self.path.push(Turn { placed, before, resume });
    }

    /// Takes the last step back, and says what to try instead; nothing if no step is left.
    fn undo(&mut self) -> Option<Cursor<M::State>> {
        // Not at each step forward, which would copy the whole way each time.
        if self.depth > self.best.0 {
            self.best = (self.depth, self.path.iter().map(|turn| turn.placed).collect());
        }
        let Turn { placed, before, resume } = self.path.pop()?;
        match placed {
            Placed::Answered(number) => {
                self.entries.unlift(number);
                self.placed.remove(number);
                self.depth -= 1;
            }
            Placed::Open(number) => self.used.remove(number),
        }
        self.state = before;
        Some(resume)
    }
}
