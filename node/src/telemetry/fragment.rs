//! What one node has recorded of a trace. Whether it is kept is known when it ends here.
//!
//! Rules:
//! 1. It is kept if a span in it failed other than by what an actor answers (`rejected`), if its first span took as long as what counts as slow, or if another node keeps
//!    what it did on behalf of this one. So whatever is kept hangs under something that is kept.
//! 2. [`MOST`] spans may begin in it. Those that would be more are counted and never begin, so that each that did has the one
//!    that it hangs under.
//! 3. So many of an actor are kept in a second for what failed or was slow here, and no more: a storm of failures must not become one
//!    of spans. What another node keeps is not counted, as that one has.
//! 4. What is kept is held in memory for whoever looks ([`recent`](super::recent)), and exported where it was not chosen when it
//!    began. What was chosen is exported in any case, span by span as they end; of rule 2 only what is held is meant then.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use opentelemetry::KeyValue;

use super::attribute;
use super::recorder::Recorder;
use super::span::Open;

/// Spans that begin in one trace on one node, less the parts of a turn, of which each turn has four, and the first attempt of a call. A trace of more is hardly
/// read by anybody, and each takes some hundred bytes until it is known whether it is kept.
const MOST: u32 = 256;

/// The spans of one trace on this node.
#[derive(Debug)]
pub(super) struct Fragment {
    /// The id of the span with which it began, and ends.
    first: u64,
    /// Whether the trace was chosen.
    chosen: bool,
    /// When it began, by both clocks.
    began: (Instant, SystemTime),
    begun: AtomicU32,
    /// Held for a look into it only; a trace is mostly the business of one thread at a time.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    #[allow(clippy::vec_box, reason = "they come boxed, and half of them are thrown away unseen")]
    spans: Vec<Box<Open>>,
    keep: bool,
    /// Whether another node keeps its part.
    kept_elsewhere: bool,
    /// Set when it ended: whether it was kept.
    verdict: Option<bool>,
}

impl Fragment {
    pub fn new(first: u64, chosen: bool, began: Instant) -> Self {
        let began = (began, SystemTime::now());
        Self { first, chosen, began, begun: AtomicU32::new(1), state: Mutex::default() }
    }

    /// A moment since it began, as the wall clock told it then.
    pub fn at(&self, moment: Instant) -> SystemTime {
        let (began, wall) = self.began;
        wall + moment.saturating_duration_since(began)
    }

    /// Another node keeps its part, which hangs under this one.
    pub fn keep(&self) {
        self.state().kept_elsewhere = true;
    }

    /// Whether one more span may begin in it.
    pub fn admits(&self) -> bool {
        self.begun.fetch_add(1, Ordering::Relaxed) < MOST
    }

    /// Takes in a span that has ended, and tells whether the trace is kept as far as is known.
    pub fn take_in(&self, span: Box<Open>) -> bool {
        let Some(recorder) = Recorder::get() else { return false };
        if self.chosen {
            recorder.export((*span).clone());
        }
        let is_first = span.id == self.first;
        let mut state = self.state();
        // A turn whose guest trapped ends in a fault, too.
        state.keep |= span.is_failed();
        if let Some(kept) = state.verdict {
            drop(state);
            if kept {
                recorder.keep(vec![*span], self.chosen, true);
            }
            return kept;
        }
        if !is_first {
            state.spans.push(span);
            return state.keep || state.kept_elsewhere;
        }
        let own = state.keep || recorder.is_slow(&span);
        let kept = state.kept_elsewhere || (own && recorder.may_keep(&span));
        state.verdict = Some(kept);
        let spans = std::mem::take(&mut state.spans);
        let left_out = self.begun.load(Ordering::Relaxed).saturating_sub(MOST);
        // What is told may wait for others, and nobody should wait for that.
        drop(state);
        if kept {
            let mut first = *span;
            if left_out > 0 {
                first.extra().attributes.push(KeyValue::new(attribute::LEFT_OUT, i64::from(left_out)));
            }
            let all = std::iter::once(first).chain(spans.into_iter().map(|span| *span));
            recorder.keep(all.collect(), self.chosen, false);
        }
        kept
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_spans_begin_in_one_and_no_more() {
        let fragment = Fragment::new(1, false, Instant::now());
        let admitted = (0..1_000).filter(|_| fragment.admits()).count();
        assert_eq!(admitted, 255, "beside the first");
    }
}
