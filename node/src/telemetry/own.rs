//! Spans that a guest makes within one turn. All of it is hostile until it is bounded here.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lattice_proto::log::{cut, plain};
use opentelemetry::trace::{Event, SpanKind};
use opentelemetry::{KeyValue, Value};

use super::recorder::Recorder;
use super::span::{Name, Open, Scope};

/// Spans of one turn.
const SPANS: u32 = 128;

/// Text of all of them together, in bytes.
const TEXT: usize = 64 << 10;

/// One name, and one value, in bytes.
const NAME: usize = 256;
const VALUE: usize = 4 << 10;

/// What an attribute or an event takes besides its text, in bytes.
const ENTRY: usize = 32;

/// The spans of one turn. Costs nothing until there are some.
#[derive(Debug, Default)]
pub struct Own(Mutex<Option<Box<State>>>);

#[derive(Debug, Default)]
struct State {
    /// Those that have not ended, by their numbers.
    open: BTreeMap<u64, Box<Open>>,
    made: u32,
    text: usize,
    /// The one under which the next call hangs.
    under: u64,
    /// The turn has ended.
    over: bool,
}

impl Own {
    /// Begins one under another, or under the turn; 0 where there is none.
    pub fn start(&self, turn: &Scope, parent: u64, name: &str) -> u64 {
        let Some(recorder) = Recorder::get() else { return 0 };
        let mut state = self.state();
        let state = state.get_or_insert_default();
        if state.over || state.made >= SPANS || !state.takes(name.len().min(NAME)) {
            return 0;
        }
        let parent = state.open.get(&parent).map(|parent| parent.scope(parent.id));
        let name = Name::Own(plain(cut(name, NAME)).into());
        match recorder.open(Some(parent.as_ref().unwrap_or(turn)), SpanKind::Internal, name, None) {
            Ok(open) => {
                state.made += 1;
                let number = u64::from(state.made);
                state.open.insert(number, open);
                number
            }
            Err(_) => 0,
        }
    }

    /// Says something of one.
    pub fn note(&self, span: u64, key: &str, value: Value) {
        self.change(span, key.len().min(NAME) + size(&value), |open| {
            open.extra().attributes.push(pair(key, value));
        });
    }

    /// Something happened in one.
    pub fn event(&self, span: u64, name: &str, attributes: Vec<(String, Value)>) {
        let entry = |(key, value): &(String, Value)| ENTRY + key.len().min(NAME) + size(value);
        let text: usize = attributes.iter().map(entry).sum();
        self.change(span, name.len().min(NAME) + text, |open| {
            let at = open.at(Instant::now());
            let attributes = attributes.into_iter().map(|(key, value)| pair(&key, value)).collect();
            open.extra().events.push(Event::new(plain(cut(name, NAME)), at, attributes, 0));
        });
    }

    /// One failed.
    pub fn fail(&self, span: u64, reason: &str) {
        self.change(span, reason.len().min(VALUE), |open| {
            open.extra().error = Some(plain(cut(reason, VALUE)));
        });
    }

    /// One ends.
    pub fn end(&self, span: u64) {
        let ended = self.state().as_mut().and_then(|state| state.open.remove(&span));
        // Told outside of the lock.
        if let Some(ended) = ended {
            ended.end(Instant::now());
        }
    }

    /// The next call hangs under this one.
    pub fn under(&self, span: u64) {
        if let Some(state) = &mut *self.state() {
            state.under = span;
        }
    }

    /// What this call hangs under; none where that is the turn.
    pub fn scope(&self) -> Option<Scope> {
        let mut state = self.state();
        let state = state.as_mut()?;
        let under = std::mem::take(&mut state.under);
        state.open.get(&under).map(|open| open.scope(open.id))
    }

    /// The turn has ended, and they with it.
    pub fn finish(&self) {
        let open = match &mut *self.state() {
            Some(state) => {
                state.over = true;
                std::mem::take(&mut state.open)
            }
            None => return,
        };
        let now = Instant::now();
        // Those within others first.
        for open in open.into_values().rev() {
            open.end(now);
        }
    }

    fn change(&self, span: u64, text: usize, change: impl FnOnce(&mut Open)) {
        let mut state = self.state();
        let Some(state) = state.as_mut().filter(|state| state.open.contains_key(&span)) else { return };
        if state.takes(text)
            && let Some(open) = state.open.get_mut(&span)
        {
            change(open);
        }
    }

    fn state(&self) -> MutexGuard<'_, Option<Box<State>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether there is room for so much text.
    fn takes(&mut self, text: usize) -> bool {
        let text = self.text + text + ENTRY;
        let fits = text <= TEXT;
        if fits {
            self.text = text;
        }
        fits
    }
}

fn pair(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::String(text) => plain(cut(text.as_str(), VALUE)).into(),
        other => other,
    };
    KeyValue::new(plain(cut(key, NAME)), value)
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.as_str().len().min(VALUE),
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_without_text_take_room_as_well() {
        let mut state = State::default();
        let none = ENTRY * 1_000;
        let fits = (0..).take_while(|_| state.takes(none)).count();
        assert!(fits <= TEXT / none, "{fits}");
    }
}
