//! What this node has kept lately of calls that failed or were slow, for whoever looks: parts of traces, in memory.
//!
//! A part is what one node did in one trace from where the trace came to it. Of [`PARTS`] and of [`BYTES`] there are no more; who
//! has the most of them loses the oldest of its own first, so that one actor that fails all the time does not push out what
//! others have to show.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lattice_proto::ActorName;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_sdk::trace::SpanData;
use prost::Message;

use super::attribute;
use super::recorder::Recorder;

/// Parts that are kept.
const PARTS: usize = 300;

/// What they may have together, in bytes as they are encoded.
const BYTES: usize = 8 << 20;

/// The most spans of one part: those that begin in it, and the parts of their turns.
const SPANS: usize = 2_000;

/// What was kept lately.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// The latest at the end.
    parts: VecDeque<Part>,
    bytes: usize,
}

#[derive(Debug)]
struct Part {
    trace: u128,
    /// The actor that its first span is about; empty where it is about none.
    of: Arc<str>,
    /// All that are in it.
    actors: Vec<Arc<str>>,
    /// Encoded, the first before all others.
    spans: Vec<Bytes>,
    bytes: usize,
}

impl Recent {
    /// Takes in one part, or what came late of one.
    pub(super) fn keep(&self, spans: &[SpanData]) {
        let Some(first) = spans.first() else { return };
        let trace = u128::from_be_bytes(first.span_context.trace_id().to_bytes());
        let encoded: Vec<Bytes> =
            spans.iter().take(SPANS).map(|span| Span::from(span.clone()).encode_to_vec().into()).collect();
        let mut actors: Vec<Arc<str>> = spans.iter().filter_map(actor).collect();
        actors.sort();
        actors.dedup();
        let mut held = self.held();
        // One that ended after the first of its part: there is one span, and that one has a parent here.
        let late = spans.len() == 1 && !is_first(first);
        let earlier = held.parts.iter_mut().rev().find(|part| late && part.trace == trace);
        if let Some(part) = earlier {
            let more = encoded.iter().map(Bytes::len).sum::<usize>();
            if part.spans.len() < SPANS {
                part.spans.extend(encoded);
                part.bytes += more;
                held.bytes += more;
            }
        } else {
            let bytes = encoded.iter().map(Bytes::len).sum();
            let of = actor(first).unwrap_or_default();
            held.parts.push_back(Part { trace, of, actors, spans: encoded, bytes });
            held.bytes += bytes;
        }
        held.make_room();
    }

    /// The first span of each part, the latest first.
    fn firsts(&self, of: Option<&ActorName>, most: usize) -> Vec<Bytes> {
        let held = self.held();
        let is_of =
            |part: &&Part| of.is_none_or(|actor| part.actors.iter().any(|there| **there == *actor.as_str()));
        let firsts = held.parts.iter().rev().filter(is_of).filter_map(|part| part.spans.first());
        firsts.take(most).cloned().collect()
    }

    /// All of one trace.
    fn trace(&self, id: u128) -> Vec<Bytes> {
        let held = self.held();
        let parts = held.parts.iter().filter(|part| part.trace == id);
        parts.flat_map(|part| part.spans.iter().cloned()).collect()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first span of each part that this node keeps, the latest first; only of parts in which this actor is.
pub fn firsts(of: Option<&ActorName>, most: usize) -> Vec<Bytes> {
    Recorder::get().map(|recorder| recorder.recent().firsts(of, most)).unwrap_or_default()
}

/// What this node keeps of one trace.
pub fn trace(id: u128) -> Vec<Bytes> {
    Recorder::get().map(|recorder| recorder.recent().trace(id)).unwrap_or_default()
}

impl Held {
    fn make_room(&mut self) {
        while self.parts.len() > PARTS || (self.bytes > BYTES && self.parts.len() > 1) {
            let mut counts = BTreeMap::<&str, usize>::new();
            for part in &self.parts {
                *counts.entry(&part.of).or_default() += 1;
            }
            // Of those with equally many, whose are the oldest.
            let most = counts.values().max().copied().unwrap_or(0);
            let oldest = self.parts.iter().position(|part| counts[&*part.of] == most).unwrap_or(0);
            if let Some(part) = self.parts.remove(oldest) {
                self.bytes -= part.bytes;
            }
        }
    }
}

fn actor(span: &SpanData) -> Option<Arc<str>> {
    let named = span.attributes.iter().find(|attribute| attribute.key.as_str() == attribute::ACTOR)?;
    Some(named.value.as_str().into())
}

/// Whether it came from elsewhere, or from nowhere.
fn is_first(span: &SpanData) -> bool {
    span.parent_span_is_remote || span.parent_span_id == opentelemetry::trace::SpanId::INVALID
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
    use opentelemetry::{InstrumentationScope, KeyValue};
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    use super::*;

    fn span(trace: u128, id: u64, parent: u64, actor: &str, text: usize) -> SpanData {
        let trace_id = TraceId::from_bytes(trace.to_be_bytes());
        let span_id = SpanId::from_bytes(id.to_be_bytes());
        let context = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::default());
        SpanData {
            span_context: context,
            parent_span_id: SpanId::from_bytes(parent.to_be_bytes()),
            parent_span_is_remote: false,
            span_kind: SpanKind::Server,
            name: "x".into(),
            start_time: SystemTime::UNIX_EPOCH,
            end_time: SystemTime::UNIX_EPOCH,
            attributes: vec![
                KeyValue::new(attribute::ACTOR, actor.to_owned()),
                KeyValue::new("text", "x".repeat(text)),
            ],
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    #[test]
    fn an_actor_that_fails_all_the_time_does_not_push_out_others() {
        let recent = Recent::default();
        recent.keep(&[span(1, 1, 0, "rare", 0), span(1, 2, 1, "callee", 0)]);
        for trace in 2..2_000 {
            recent.keep(&[span(trace, 1, 0, "often", 0)]);
        }
        assert_eq!(recent.held().parts.len(), PARTS);
        let of = |actor: &str| recent.firsts(Some(&actor.parse().unwrap()), 1_000).len();
        assert_eq!((of("rare"), of("callee"), of("often")), (1, 1, PARTS - 1));
        assert_eq!((recent.trace(1).len(), recent.trace(2).len(), recent.trace(1_999).len()), (2, 0, 1));
        assert_eq!(recent.firsts(None, 7).len(), 7);
    }

    #[test]
    fn so_many_bytes_are_kept_and_no_more() {
        let recent = Recent::default();
        for trace in 1..=100 {
            recent.keep(&[span(trace, 1, 0, "a", 1 << 20)]);
        }
        let held = recent.held();
        assert!(held.bytes <= BYTES && held.parts.len() == 7, "{} in {}", held.bytes, held.parts.len());
        assert_eq!(held.bytes, held.parts.iter().map(|part| part.bytes).sum::<usize>());
    }

    #[test]
    fn what_comes_late_is_put_to_its_part() {
        let recent = Recent::default();
        recent.keep(&[span(1, 1, 0, "a", 0)]);
        recent.keep(&[span(2, 1, 0, "a", 0)]);
        recent.keep(&[span(1, 5, 1, "a", 0)]);
        assert_eq!((recent.trace(1).len(), recent.held().parts.len()), (2, 2));
    }
}
