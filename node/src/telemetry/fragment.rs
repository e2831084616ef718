//! What one node has recorded of a trace that was not chosen when it began. Whether it is kept is known when it ends here.
//!
//! Rules:
//! 1. It is kept if a span in it failed, if its first span took as long as what counts as slow, or if another node keeps
//!    what it did on behalf of this one. So whatever is kept hangs under something that is kept.
//! 2. It holds [`MOST`] spans; those that come later are counted and left out. The first one is always there.
//! 3. So many are kept in a second, and no more: a storm of failures must not become one of spans.

use std::sync::{Mutex, MutexGuard, PoisonError};

use opentelemetry::KeyValue;

use super::attribute;
use super::recorder::Recorder;
use super::span::Open;

/// Spans of one trace on one node that wait until it is known whether they are kept. A trace of more is hardly read by
/// anybody, and each takes some hundred bytes.
const MOST: usize = 256;

/// The spans of one trace on this node.
#[derive(Debug)]
pub(super) struct Fragment {
    /// The id of the span with which it began, and ends.
    first: u64,
    /// Held for a look into it only; a trace is mostly the business of one thread at a time.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    spans: Vec<Box<Open>>,
    left_out: u32,
    keep: bool,
    /// Set when it ended: whether it was kept.
    verdict: Option<bool>,
}

impl Fragment {
    pub fn new(first: u64) -> Self {
        Self { first, state: Mutex::default() }
    }

    /// Whatever becomes of it, it is to be seen.
    pub fn keep(&self) {
        self.state().keep = true;
    }

    /// Takes in a span that has ended, and tells whether the trace is kept as far as is known.
    pub fn take_in(&self, span: Box<Open>) -> bool {
        let Some(recorder) = Recorder::get() else { return false };
        let is_first = span.id == self.first;
        let mut state = self.state();
        state.keep |= span.error.is_some();
        if let Some(kept) = state.verdict {
            drop(state);
            if kept {
                recorder.tell(*span);
            }
            return kept;
        }
        if !is_first {
            let keep = state.keep;
            match state.spans.len() < MOST {
                true => state.spans.push(span),
                false => state.left_out += 1,
            }
            return keep;
        }
        let kept = (state.keep || recorder.is_slow(&span)) && recorder.may_keep();
        state.verdict = Some(kept);
        let (spans, left_out) = (std::mem::take(&mut state.spans), state.left_out);
        // What is told may wait for others, and nobody should wait for that.
        drop(state);
        if kept {
            let mut span = span;
            if left_out > 0 {
                span.attributes.push(KeyValue::new(attribute::LEFT_OUT, i64::from(left_out)));
            }
            recorder.tell(*span);
            spans.into_iter().for_each(|span| recorder.tell(*span));
        }
        kept
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
