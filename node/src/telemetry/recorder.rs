//! What spans are recorded, and where they go.
//!
//! Whether a trace is recorded is decided where it begins, by the standard's `OTEL_TRACES_SAMPLER`, and others follow.
//! One that was not chosen is recorded in memory all the same, and kept if it turns out to be worth it
//! ([`fragment`](super::fragment)).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use lattice_proto::envelope::{TraceContext, TraceParent};
use opentelemetry::trace::{SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::trace::{BatchSpanProcessor, Sampler, SamplingDecision, ShouldSample, SpanProcessor};

use super::fragment::Fragment;
use super::span::{Name, Open, Scope, Subject, random, remote};

/// Traces that were not chosen and are kept, in one second.
const KEPT: u64 = 100;

static RECORDER: OnceLock<Recorder> = OnceLock::new();

/// Where spans go.
#[derive(Debug)]
pub(super) struct Recorder {
    processor: BatchSpanProcessor,
    sampler: Sampler,
    /// From when on a call counts as slow; none where nothing is kept that was not chosen.
    slow: Option<Duration>,
    scope: InstrumentationScope,
    started: Instant,
    kept: Kept,
}

/// How many were kept lately: the second, and in the lower half the number.
#[derive(Debug, Default)]
struct Kept(AtomicU64);

impl Kept {
    /// Whether one more may be kept in this second.
    fn admits(&self, second: u64) -> bool {
        let count = |kept: u64| if kept >> 32 == second & 0xffff_ffff { kept & 0xffff_ffff } else { 0 };
        let next = |kept: u64| (count(kept) < KEPT).then(|| (second << 32) | (count(kept) + 1));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl Recorder {
    pub fn new(processor: BatchSpanProcessor, sampler: Sampler, slow: Option<Duration>) -> Self {
        let scope = InstrumentationScope::builder("lattice").with_version(env!("CARGO_PKG_VERSION")).build();
        Self { processor, sampler, slow, scope, started: Instant::now(), kept: Kept::default() }
    }

    /// From now on spans are recorded. False when they were before, as by another node in this process.
    pub fn install(self) -> bool {
        RECORDER.set(self).is_ok()
    }

    /// None while spans are not recorded.
    pub fn get() -> Option<&'static Self> {
        RECORDER.get()
    }

    /// Sends what is left.
    pub fn shutdown(&self) {
        // It says so itself if it cannot.
        let _ = self.processor.shutdown();
    }

    /// Hands on what is to be seen. When the queue is full it is dropped and counted there.
    pub fn tell(&self, span: Open) {
        self.processor.on_end(span.into_data(self.scope.clone()));
    }

    /// A new span; where it is not recorded, what is passed on in its place, so that it is not decided again.
    pub fn open(
        &self,
        parent: Option<&Scope>,
        kind: SpanKind,
        name: Name,
        subject: Option<Arc<Subject>>,
    ) -> Result<Open, Scope> {
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
        let fragment = match (sampled, fragment) {
            (true, _) => None,
            (false, Some(fragment)) => match (fragment.admits(), parent) {
                (false, Some(parent)) => return Err(parent.clone()),
                _ => Some(fragment),
            },
            (false, None) if self.slow.is_some() => Some(Arc::new(Fragment::new(id))),
            (false, None) => {
                let state = context.and_then(|context| context.state.clone());
                let span_id = context.map_or(id, |context| context.parent.span_id);
                let context = TraceContext { parent: TraceParent { trace_id, span_id, flags: 0 }, state };
                return Err(Scope { context, fragment: None, decided: true });
            }
        };
        Ok(Open {
            trace_id,
            id,
            parent: context.map_or(0, |context| context.parent.span_id),
            parent_is_remote: is_remote,
            state: context.and_then(|context| context.state.clone()),
            sampled,
            fragment,
            kind,
            name,
            subject,
            began: Instant::now(),
            wall: SystemTime::now(),
            ended: None,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            error: None,
            awaited: false,
        })
    }

    fn chooses(&self, trace_id: u128, parent: Option<&TraceParent>) -> bool {
        // The common ones are decided without asking, which takes a context of OpenTelemetry's.
        match (&self.sampler, parent) {
            (Sampler::AlwaysOn, _) => return true,
            (Sampler::ParentBased(_), Some(parent)) => return parent.sampled(),
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

    /// Whether one more may be kept in this second.
    pub fn may_keep(&self) -> bool {
        self.kept.admits(self.started.elapsed().as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_kept_in_a_second_and_no_more() {
        let kept = Kept::default();
        let admitted = |second| (0..1_000).filter(|_| kept.admits(second)).count();
        assert_eq!((admitted(0), admitted(0), admitted(7)), (100, 0, 100));
    }
}
