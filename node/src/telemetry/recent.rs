//! What this node has kept lately of calls that failed or were slow, for whoever looks: parts of traces, in memory.
//!
//! A part is what one node did in one trace from where the trace came to it. Of [`PARTS`] and of [`BYTES`] there are no more; the
//! actor that takes the most room loses the oldest of its own first, so that one that fails all the time does not push out what
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

/// What one part may have of that: its first spans.
const LARGEST: usize = BYTES / 8;

/// What a part counts for beside its bytes, so that many small ones take room as well.
const PART: usize = BYTES / PARTS;

/// What was kept lately.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// The latest at the end.
    parts: VecDeque<Part>,
    bytes: usize,
    /// The room that each actor takes.
    room: BTreeMap<Arc<str>, usize>,
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
    /// Takes in one part, or what came late of one that is still here.
    pub(super) fn keep(&self, spans: &[SpanData], is_late: bool) {
        let Some(first) = spans.first() else { return };
        let trace = u128::from_be_bytes(first.span_context.trace_id().to_bytes());
        let mut encoded = Vec::with_capacity(spans.len());
        let mut bytes = 0;
        for span in spans {
            let span: Bytes = Span::from(span.clone()).encode_to_vec().into();
            if bytes + span.len() > LARGEST {
                break;
            }
            bytes += span.len();
            encoded.push(span);
        }
        let mut actors: Vec<Arc<str>> = spans.iter().filter_map(actor).collect();
        actors.sort();
        actors.dedup();
        let of = actor(first).unwrap_or_default();
        self.held().take_in(Part { trace, of, actors, spans: encoded, bytes }, is_late);
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
    fn take_in(&mut self, part: Part, is_late: bool) {
        if !is_late {
            self.account(&part.of, part.bytes + PART);
            self.bytes += part.bytes;
            self.parts.push_back(part);
        } else if let Some(earlier) = self.parts.iter_mut().rev().find(|earlier| earlier.trace == part.trace)
        {
            if earlier.bytes + part.bytes > LARGEST {
                return;
            }
            earlier.bytes += part.bytes;
            earlier.spans.extend(part.spans);
            earlier.actors.extend(part.actors);
            let of = earlier.of.clone();
            self.account(&of, part.bytes);
            self.bytes += part.bytes;
        }
        while self.parts.len() > PARTS || self.bytes > BYTES {
            let most = self.room.iter().max_by_key(|(_, room)| **room).map(|(of, _)| of.clone());
            let oldest = self.parts.iter().position(|part| most.as_ref() == Some(&part.of)).unwrap_or(0);
            let Some(part) = self.parts.remove(oldest) else { return };
            self.bytes -= part.bytes;
            if let Some(room) = self.room.get_mut(&part.of) {
                *room = room.saturating_sub(part.bytes + PART);
            }
            self.room.retain(|_, room| *room > 0);
        }
    }

    fn account(&mut self, of: &Arc<str>, more: usize) {
        *self.room.entry(of.clone()).or_default() += more;
    }
}

fn actor(span: &SpanData) -> Option<Arc<str>> {
    let named = span.attributes.iter().find(|attribute| attribute.key.as_str() == attribute::ACTOR)?;
    Some(named.value.as_str().into())
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
        recent.keep(&[span(1, 1, 0, "rare", 0), span(1, 2, 1, "callee", 0)], false);
        for trace in 2..2_000 {
            recent.keep(&[span(trace, 1, 0, "often", 0)], false);
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
        recent.keep(&[span(1, 1, 0, "small", 0)], false);
        for trace in 2..=100 {
            recent.keep(&[span(trace, 1, 0, "large", LARGEST - 1_000)], false);
        }
        let held = recent.held();
        assert!(held.bytes <= BYTES && held.parts.len() == 9, "{} in {}", held.bytes, held.parts.len());
        assert_eq!(held.bytes, held.parts.iter().map(|part| part.bytes).sum::<usize>());
        assert_eq!(held.room.values().sum::<usize>(), held.bytes + held.parts.len() * PART);
        assert_eq!(&*held.parts[0].of, "small", "it takes no room from others");
        drop(held);
        // Of one that is too large the first spans are kept.
        let spans: Vec<_> = (1..100).map(|id| span(1_000, id, id - 1, "long", LARGEST / 10)).collect();
        recent.keep(&spans, false);
        assert_eq!(recent.trace(1_000).len(), 9);
    }

    #[test]
    fn what_comes_late_is_put_to_its_part_and_is_none_of_its_own() {
        let recent = Recent::default();
        recent.keep(&[span(1, 1, 0, "a", 0)], false);
        recent.keep(&[span(2, 1, 0, "a", 0)], false);
        recent.keep(&[span(1, 5, 1, "b", 0)], true);
        recent.keep(&[span(3, 5, 1, "a", 0)], true);
        assert_eq!((recent.trace(1).len(), recent.trace(3).len(), recent.held().parts.len()), (2, 0, 2));
        assert_eq!(recent.firsts(Some(&"b".parse().unwrap()), 10).len(), 1, "another actor is in it now");
    }
}
