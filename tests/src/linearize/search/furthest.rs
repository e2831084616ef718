//! Where a search got furthest that found no order: what people need to see of it.

use super::{Answered, Cursor, Placed, Search};
use crate::history::Key;
use crate::linearize::Model;
use crate::linearize::violation::{Line, Violation};

impl<M: Model> Search<'_, M> {
    /// On how many answered operations the search got furthest.
    pub(in crate::linearize) fn reached(&self) -> usize {
        self.best.0
    }

    /// Where a search that found no order got furthest. It leaves the search there.
    pub(in crate::linearize) fn violation(&mut self, key: &Key) -> Violation {
        while self.undo().is_some() {}
        let mut explained = std::mem::take(&mut self.best.1);
        while explained.pop_if(|placed| matches!(placed, Placed::Open(_))).is_some() {}
        for placed in &explained {
            let state = self.stepped(&self.state, *placed).expect("it fitted before");
            self.place(*placed, state, Cursor::Exhausted);
        }
        let due = self.entries.due().expect("an operation is left that cannot be placed");
        let until = self.answered[due].completed;
        let mut stuck: Vec<_> =
            (0..self.answered.len()).filter(|number| !self.placed.contains(*number)).collect();
        stuck.retain(|number| self.answered[*number].operation.invoked <= until);
        stuck.sort_by_key(|number| self.answered[*number].completed);
        let unused = (0..self.open.len()).filter(|number| !self.used.contains(*number));
        let unused = unused.filter(|number| self.open[*number].operation.invoked <= until);
        Violation {
            key: key.clone(),
            answered: self.answered.len(),
            explained: explained.into_iter().map(|placed| self.line(placed)).collect(),
            state: self.model.show_state(&self.state),
            stuck: stuck.into_iter().map(|number| self.line(Placed::Answered(number))).collect(),
            unused: unused.map(|number| self.line(Placed::Open(number))).collect(),
        }
    }

    fn line(&self, placed: Placed) -> Line {
        let (operation, output, completed) = match placed {
            Placed::Answered(number) => {
                let Answered { operation, output, completed, .. } = &self.answered[number];
                (operation, Some(*output), Some(*completed))
            }
            Placed::Open(number) => (&self.open[number].operation, None, None),
        };
        let what = self.model.show(&operation.input, output);
        Line { client: operation.client, invoked: operation.invoked, completed, what }
    }
}
