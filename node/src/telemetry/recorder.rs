//! What spans are recorded, and where they go.
//!
//! Whether a trace is exported is decided where it begins, by the standard's `OTEL_TRACES_SAMPLER`, and others follow. All of them
//! are recorded in memory, and those are kept that turn out to be worth it ([`fragment`](super::fragment)).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use lattice_proto::envelope::{TraceContext, TraceParent};
use opentelemetry::trace::{SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, Sampler, SamplingDecision, ShouldSample, SpanData, SpanProcessor,
};

use super::facts::Facts;
use super::fragment::Fragment;
use super::recent::Recent;
use super::span::{Name, Open, Scope, Subject, random, remote};

/// Traces that are kept of one actor in one second, and parts that are held of all of them.
const KEPT: u64 = 25;
const HELD: u64 = 200;

/// Counts of what is kept, which actors share: one that fails all the time takes its own, and hardly anybody else's.
const SHARES: usize = 64;

static RECORDER: OnceLock<Recorder> = OnceLock::new();

/// Where spans go.
#[derive(Debug)]
pub(super) struct Recorder {
    /// None where spans are not exported.
    processor: Option<BatchSpanProcessor>,
    sampler: Sampler,
    recent: Recent,
    /// From when on a call counts as slow; none where nothing is kept.
    slow: Option<Duration>,
    scope: InstrumentationScope,
    started: Instant,
    kept: [Kept; SHARES],
    held: Kept,
}

/// How many were kept lately: the second, and in the lower half the number.
#[derive(Debug, Default)]
struct Kept(AtomicU64);

impl Kept {
    /// Whether one more than there were may be kept in this second, of so many.
    fn admits(&self, second: u64, most: u64) -> bool {
        let count = |kept: u64| if kept >> 32 == second & 0xffff_ffff { kept & 0xffff_ffff } else { 0 };
        let next = |kept: u64| (count(kept) < most).then(|| (second << 32) | (count(kept) + 1));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl Recorder {
    /// One that exports what the sampler chooses.
    pub fn exporting(processor: BatchSpanProcessor, sampler: Sampler, slow: Option<Duration>) -> Self {
        Self { processor: Some(processor), sampler, ..Self::keeping(slow) }
    }

    /// One that exports nothing.
    pub fn keeping(slow: Option<Duration>) -> Self {
        Self {
            processor: None,
            // What others chose is left to them.
            sampler: Sampler::ParentBased(Box::new(Sampler::AlwaysOff)),
            recent: Recent::default(),
            slow,
            scope: InstrumentationScope::builder("lattice").with_version(env!("CARGO_PKG_VERSION")).build(),
            started: Instant::now(),
            kept: std::array::from_fn(|_| Kept::default()),
            held: Kept::default(),
        }
    }

    /// From now on spans are recorded. False when they were before, as by another node in this process.
    pub fn install(self) -> bool {
        RECORDER.set(self).is_ok()
    }

    /// None while spans are not recorded.
    pub fn get() -> Option<&'static Self> {
        RECORDER.get()
    }

    /// What was kept.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Sends what is left.
    pub fn shutdown(&self) {
        if let Some(processor) = &self.processor {
            // It says so itself if it cannot.
            let _ = processor.shutdown();
        }
    }

    /// Hands on what was chosen. When the queue is full it is dropped and counted there.
    pub fn export(&self, span: Open) {
        if let Some(processor) = &self.processor {
            span.with_parts()
                .into_iter()
                .for_each(|span| processor.on_end(span.into_data(self.scope.clone())));
        }
    }

    /// Keeps a part of a trace, its first span before all others, or what came late of one that is kept. It is handed on as well
    /// where that was not done yet.
    pub fn keep(&self, spans: Vec<Open>, is_exported: bool, is_late: bool) {
        let spans = spans.into_iter().flat_map(Open::with_parts);
        let spans: Vec<SpanData> = spans.map(|span| span.into_data(self.scope.clone())).collect();
        // What other nodes keep is not counted there; here it is, as it takes room and time.
        if self.held.admits(self.started.elapsed().as_secs(), HELD) {
            self.recent.keep(&spans, is_late);
        }
        if let Some(processor) = self.processor.as_ref().filter(|_| !is_exported) {
            spans.into_iter().for_each(|span| processor.on_end(span));
        }
    }

    /// A new span; where it is not recorded, what is passed on in its place, so that it is not decided again.
    pub fn open(
        &self,
        parent: Option<&Scope>,
        kind: SpanKind,
        name: Name,
        subject: Option<Subject>,
    ) -> Result<Box<Open>, Scope> {
        let id = random();
        let context = parent.map(|parent| &parent.context);
        let (trace_id, sampled, fragment, is_remote) = match parent {
            Some(Scope { context, fragment, decided: true }) => {
                (context.parent.trace_id, context.parent.sampled(), fragment.clone(), false)
            }
            Some(Scope { context, .. }) => {
                let sampled = self.chooses(context.parent.trace_id, Some(&context.parent));
                (context.parent.trace_id, sampled, None, true)
            }
            None => {
                let trace_id = fastrand::u128(1..);
                (trace_id, self.chooses(trace_id, None), None, false)
            }
        };
        let began = Instant::now();
        // Another process exports it, and this one does not: what hangs under a span of this one would hang under nothing.
        let passes = sampled && self.processor.is_none();
        let fragment = match fragment {
            _ if passes => None,
            Some(fragment) if fragment.admits() => Some(fragment),
            // There is no room for it among what is kept.
            Some(_) => None,
            // Of one that was decided here there was no room before.
            None if self.slow.is_some() && (is_remote || parent.is_none()) => {
                Some(Arc::new(Fragment::new(id, sampled, began)))
            }
            None => None,
        };
        if fragment.is_none() && (passes || !sampled) {
            let Some(parent) = parent.filter(|parent| passes || parent.decided) else {
                let state = context.and_then(|context| context.state.clone());
                let span_id = context.map_or(id, |context| context.parent.span_id);
                let context = TraceContext { parent: TraceParent { trace_id, span_id, flags: 0 }, state };
                return Err(Scope { context, fragment: None, decided: true });
            };
            return Err(Scope { decided: true, ..parent.clone() });
        }
        // Asked once in a trace, so that what it is made of fits together also where the clock is set meanwhile.
        let wall = fragment.as_ref().map_or_else(SystemTime::now, |fragment| fragment.at(began));
        Ok(Box::new(Open {
            trace_id: trace_id.to_be_bytes(),
            id,
            parent: context.map_or(0, |context| context.parent.span_id),
            parent_is_remote: is_remote,
            state: context.and_then(|context| context.state.clone()),
            sampled,
            fragment,
            kind,
            name,
            subject,
            began,
            wall,
            ended: None,
            facts: Facts::None,
            extra: None,
            parts: None,
            attempts: Vec::new(),
            awaited: false,
        }))
    }

    fn chooses(&self, trace_id: u128, parent: Option<&TraceParent>) -> bool {
        // The common ones are decided without asking, which takes a context of OpenTelemetry's.
        match (&self.sampler, parent) {
            (Sampler::AlwaysOn, _) => return true,
            (Sampler::ParentBased(_), Some(parent)) => return parent.sampled(),
            (_, None) if self.processor.is_none() => return false,
            _ => {}
        }
        let context = parent.map(|parent| Context::new().with_remote_span_context(remote(parent)));
        let id = TraceId::from_bytes(trace_id.to_be_bytes());
        let chosen = self.sampler.should_sample(context.as_ref(), id, "", &SpanKind::Server, &[], &[]);
        chosen.decision == SamplingDecision::RecordAndSample
    }

    pub fn is_slow(&self, span: &Open) -> bool {
        let took = span.ended.map(|ended| ended.saturating_duration_since(span.began));
        took.zip(self.slow).is_some_and(|(took, slow)| took >= slow)
    }

    /// Whether one more that begins with this span may be kept in this second.
    pub fn may_keep(&self, first: &Open) -> bool {
        let actor = first.subject.as_ref().map_or("", |subject| subject.actor.name.as_str());
        let share = actor.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        self.kept[share % SHARES].admits(self.started.elapsed().as_secs(), KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::super::attempt::{self, Attempt};
    use super::super::span::Span;
    use super::*;

    #[test]
    fn so_many_are_kept_in_a_second_and_no_more() {
        let kept = Kept::default();
        let admitted = |second| (0..1_000).filter(|_| kept.admits(second, 25)).count();
        assert_eq!((admitted(0), admitted(0), admitted(7)), (25, 0, 25));
    }

    /// Takes spans to nowhere.
    #[derive(Debug)]
    struct Nowhere;

    impl opentelemetry_sdk::trace::SpanExporter for Nowhere {
        async fn export(&self, _: Vec<SpanData>) -> opentelemetry_sdk::error::OTelSdkResult {
            Ok(())
        }
    }

    fn open(recorder: &Recorder, parent: Option<&Scope>) -> Result<Box<Open>, Scope> {
        recorder.open(parent, SpanKind::Server, Name::Step("x"), None)
    }

    fn context(flags: u8) -> TraceContext {
        TraceContext { parent: TraceParent { trace_id: 7, span_id: 8, flags }, state: None }
    }

    #[test]
    fn without_an_exporter_what_somebody_else_chose_is_passed_on_as_it_is() {
        let recorder = Recorder::keeping(Some(Duration::from_secs(1)));
        let chosen = Scope::from(context(1));
        let passed = open(&recorder, Some(&chosen)).unwrap_err();
        assert!(passed.context == context(1) && passed.decided && passed.fragment.is_none());
        assert!(open(&recorder, Some(&passed)).is_err(), "so is what hangs under it");
        for parent in [None, Some(Scope::from(context(0)))] {
            let span = open(&recorder, parent.as_ref()).unwrap();
            assert!(!span.sampled && span.fragment.is_some());
            assert_eq!(span.scope(span.id).context.parent.flags, 0);
        }
    }

    #[test]
    fn nothing_is_kept_where_nothing_is_to_be() {
        let nothing = open(&Recorder::keeping(None), None).unwrap_err();
        assert!(nothing.fragment.is_none() && nothing.context.parent.flags == 0);
    }

    #[test]
    fn what_is_chosen_is_exported_also_where_there_is_no_room_to_keep_it() {
        let processor = BatchSpanProcessor::builder(Nowhere).build();
        let recorder = Recorder::exporting(processor, Sampler::AlwaysOn, Some(Duration::from_secs(1)));
        let first = open(&recorder, None).unwrap();
        let fragment = first.fragment.clone().unwrap();
        let under = first.scope(first.id);
        let second = open(&recorder, Some(&under)).unwrap();
        assert!(Arc::ptr_eq(second.fragment.as_ref().unwrap(), &fragment), "one trace has one part here");
        while fragment.admits() {}
        let third = open(&recorder, Some(&under)).unwrap();
        assert!(third.sampled && third.fragment.is_none());
        let fourth = open(&recorder, Some(&third.scope(third.id))).unwrap();
        assert!(fourth.sampled && fourth.fragment.is_none(), "it begins no other part");
    }

    #[test]
    fn a_call_that_finds_nobody_keeps_so_many_attempts_and_no_more() {
        let recorder = Recorder::keeping(Some(Duration::from_secs(1)));
        let first = open(&recorder, None).unwrap();
        let call = open(&recorder, Some(&first.scope(first.id))).unwrap();
        let mut call = Span { live: Some(call), parent: None };
        let refused = lattice_proto::Fault::NoReplica("x".to_owned());
        for number in 1..1_000 {
            let under = call.tries(number, None, "here").unwrap();
            call.tried(Some(&refused));
            assert_eq!(under.context.parent.trace_id, u128::from_be_bytes(first.trace_id));
        }
        let mut call = call.live.take().unwrap();
        call.ended = Some(Instant::now());
        assert_eq!(
            call.attempts.len(),
            255,
            "the first, and those that there was room for beside the two spans"
        );
        assert!(call.attempts.iter().all(Attempt::is_failed) && call.is_failed());
        // One that was chosen and has no room among what is kept.
        let mut chosen =
            Span { live: Some(Box::new(Open { fragment: None, sampled: true, ..*call })), parent: None };
        chosen.live.as_mut().unwrap().attempts.clear();
        (0..1_000).for_each(|number| drop(chosen.tries(number, None, "here")));
        assert_eq!(chosen.live.take().unwrap().attempts.len(), attempt::MOST);
    }

    #[test]
    fn what_is_not_chosen_ends_where_there_is_no_room() {
        let recorder = Recorder::keeping(Some(Duration::from_secs(1)));
        let first = open(&recorder, None).unwrap();
        while first.fragment.as_ref().unwrap().admits() {}
        let under = first.scope(first.id);
        let passed = open(&recorder, Some(&under)).unwrap_err();
        assert_eq!(passed.context, under.context);
    }
}
