//! One step of a message: opened where it begins, told when it is dropped. It costs nothing while spans are not recorded.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use lattice_proto::envelope::{TraceContext, TraceParent};
use lattice_proto::{ActorId, Fault, Incarnation, MessageId, Operation, Ran, Topic};
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::attempt::{self, Attempt};
use super::attribute;
use super::facts::{Extra, Facts};
use super::fragment::Fragment;
use super::handling::Parts;
use super::recorder::Recorder;

/// Where spans hang: the context that travels with a message, and what this node has recorded of its trace so far.
#[derive(Debug, Clone)]
pub struct Scope {
    /// What others see of it.
    pub context: TraceContext,
    /// Where the spans wait until it is known whether the trace is kept.
    pub(super) fragment: Option<Arc<Fragment>>,
    /// Whether it was decided in this process whether the trace is recorded.
    pub(super) decided: bool,
}

impl From<TraceContext> for Scope {
    fn from(context: TraceContext) -> Self {
        Self { context, fragment: None, decided: false }
    }
}

impl Scope {
    /// Another node keeps its part of this trace, so this one does as well.
    pub fn keep(&self) {
        if let Some(fragment) = &self.fragment {
            fragment.keep();
        }
    }
}

/// What a span is about.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The actor.
    pub actor: ActorId,
    /// The operation.
    pub operation: Operation,
}

/// What a span is called. Made into text only if somebody gets to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// `actor/operation`, as of an RPC.
    Call,
    /// `send actor`, as of a message.
    Send,
    /// `process actor`, the same.
    Process,
    /// A step within this node.
    Step(&'static str),
    /// Whatever the guest calls it.
    Own(Box<str>),
}

/// A span that is being recorded.
#[derive(Debug, Clone)]
pub(super) struct Open {
    /// As bytes: with a wide number in it each span would have to be aligned to that, for which allocators take a longer way.
    pub trace_id: [u8; 16],
    pub id: u64,
    /// 0 at the root.
    pub parent: u64,
    pub parent_is_remote: bool,
    pub state: Option<Box<str>>,
    pub sampled: bool,
    pub fragment: Option<Arc<Fragment>>,
    pub kind: SpanKind,
    pub name: Name,
    pub subject: Option<Subject>,
    pub began: Instant,
    pub wall: SystemTime,
    pub ended: Option<Instant>,
    pub facts: Facts,
    pub extra: Option<Box<Extra>>,
    /// What it is made of, where it is that of a turn.
    pub parts: Option<Box<Parts>>,
    /// The same, of that of a call.
    pub attempts: Vec<Attempt>,
    /// Whether somebody waits for what comes of it, who may give that up.
    pub awaited: bool,
}

/// One step of a message, ended when it is dropped.
#[derive(Debug)]
pub struct Span {
    /// Boxed, since a message carries its span through every queue.
    pub(super) live: Option<Box<Open>>,
    /// What is passed on when there is no span.
    pub(super) parent: Option<Scope>,
}

/// What a new span hangs under.
pub(super) enum Origin {
    /// Nothing, or whatever the scope says.
    Scope(Option<Scope>),
    /// The same, and it is linked to it. A trace that is not recorded is left, since its other end is gone by now.
    Letter(Option<TraceContext>),
}

impl Span {
    /// A request from outside of the lattice.
    pub fn request(parent: Option<TraceContext>, actor: &ActorId, operation: &Operation) -> Self {
        let subject = || Subject { actor: actor.clone(), operation: operation.clone() };
        Self::open(Origin::Scope(parent.map(Scope::from)), SpanKind::Server, Name::Call, subject)
    }

    /// The sending side: one for a call, over all its attempts.
    pub fn call(parent: Option<Scope>, actor: &ActorId, operation: &Operation) -> Self {
        let subject = || Subject { actor: actor.clone(), operation: operation.clone() };
        let mut span = Self::open(Origin::Scope(parent), SpanKind::Client, Name::Call, subject);
        if let Some(live) = &mut span.live {
            live.awaited = true;
        }
        span
    }

    /// What was waited for has come.
    pub fn has_come(&mut self) {
        if let Some(live) = &mut self.live {
            live.awaited = false;
        }
    }

    /// A letter, as a turn sends it; whether it was stored shows the commit of the turn.
    pub fn send(parent: Option<Scope>, actor: &ActorId, operation: &Operation) -> Self {
        let subject = || Subject { actor: actor.clone(), operation: operation.clone() };
        Self::open(Origin::Scope(parent), SpanKind::Producer, Name::Send, subject)
    }

    /// A message is published to a topic. What hangs under it is what its subscribers make of it.
    pub fn publish(parent: Option<Scope>, topic: &Topic) -> Self {
        let Some(recorder) = Recorder::get() else { return Self { live: None, parent } };
        let mut span = match recorder.open(parent.as_ref(), SpanKind::Producer, Name::Step("publish"), None) {
            Ok(live) => Self { live: Some(live), parent: None },
            Err(passed_on) => return Self { live: None, parent: Some(passed_on) },
        };
        span.note(attribute::MESSAGING_SYSTEM, attribute::SYSTEM);
        span.note(attribute::MESSAGING_DESTINATION, topic.as_str().to_owned());
        span.note(attribute::MESSAGING_OPERATION, "send");
        span
    }

    /// A letter on its way to somebody who handles it.
    pub fn process(sent: Option<TraceContext>, actor: &ActorId, operation: &Operation) -> Self {
        let subject = || Subject { actor: actor.clone(), operation: operation.clone() };
        Self::open(Origin::Letter(sent), SpanKind::Consumer, Name::Process, subject)
    }

    /// A step of a turn by which its guest asks for something that is kept elsewhere. Outside of a trace there is none.
    pub fn ask(parent: Option<Scope>, name: &'static str) -> Self {
        let (Some(recorder), Some(parent)) = (Recorder::get(), &parent) else {
            return Self { live: None, parent };
        };
        match recorder.open(Some(parent), SpanKind::Client, Name::Step(name), None) {
            Ok(live) => Self { live: Some(live), parent: None },
            Err(passed_on) => Self { live: None, parent: Some(passed_on) },
        }
    }

    pub(super) fn open(
        origin: Origin,
        kind: SpanKind,
        name: Name,
        subject: impl FnOnce() -> Subject,
    ) -> Self {
        let Some(recorder) = Recorder::get() else {
            let parent = match origin {
                Origin::Scope(parent) => parent,
                Origin::Letter(sent) => sent.map(Scope::from),
            };
            return Self { live: None, parent };
        };
        let (parent, link) = match origin {
            Origin::Scope(parent) => (parent, None),
            Origin::Letter(sent) => {
                let link = sent.as_ref().map(|sent| Link::with_context(remote(&sent.parent)));
                (sent.filter(|sent| sent.parent.sampled()).map(Scope::from), link)
            }
        };
        match recorder.open(parent.as_ref(), kind, name, Some(subject())) {
            Ok(mut live) => {
                if let Some(link) = link {
                    live.extra().links.push(link);
                }
                Self { live: Some(live), parent: None }
            }
            Err(passed_on) => Self { live: None, parent: Some(passed_on) },
        }
    }

    /// A step within this one.
    pub fn step(&self, name: &'static str) -> Self {
        let live = self.live.as_deref().and_then(|live| live.step(name));
        let parent = if live.is_none() { self.scope() } else { None };
        Self { live, parent }
    }

    /// What the next step hangs under.
    pub fn scope(&self) -> Option<Scope> {
        match &self.live {
            Some(live) => Some(live.scope(live.id)),
            None => self.parent.clone(),
        }
    }

    /// Whether anybody may get to see it.
    pub fn is_recorded(&self) -> bool {
        self.live.is_some()
    }

    /// Says what is on its way.
    pub fn carries(&mut self, message: &MessageId) {
        if let Some(live) = &mut self.live {
            live.facts = Facts::Message(message.clone());
        }
    }

    /// Says something that few spans say.
    pub fn note(&mut self, key: &'static str, value: impl Into<opentelemetry::Value>) {
        if let Some(live) = &mut self.live {
            live.extra().attributes.push(KeyValue::new(key, value));
        }
    }

    /// A try begins: where it goes, to this node if nowhere else, and why. Gives what hangs under it.
    pub fn tries(
        &mut self,
        number: u32,
        target: Option<&Incarnation>,
        choice: &'static str,
    ) -> Option<Scope> {
        let Some(live) = &mut self.live else { return self.parent.clone() };
        Some(live.tries(number, target, choice))
    }

    /// It is over.
    pub fn tried(&mut self, fault: Option<&Fault>) {
        let last = self.live.as_mut().and_then(|live| live.attempts.last_mut());
        // One that had no room leaves the one before as it ended.
        if let Some(attempt) = last.filter(|attempt| attempt.is_open()) {
            attempt.end(fault);
        }
    }

    /// Marks it as failed, where that is no fault of a message.
    pub fn broke(&mut self, reason: &str) {
        if let Some(live) = &mut self.live {
            live.extra().error = Some(reason.to_owned());
        }
    }

    /// Marks it as failed.
    pub fn fail(&mut self, fault: &Fault) {
        if let Some(live) = &mut self.live {
            live.fail(fault);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut live) = self.live.take() {
            if live.awaited {
                // Whoever is called is told so, and keeps its part.
                live.fail(&Fault::Cancelled(Ran::Maybe));
            }
            live.end(Instant::now());
        }
    }
}

impl Open {
    /// A step within it, which begins now; none where there is no room for it, and nobody chose the trace.
    fn step(&self, name: &'static str) -> Option<Box<Open>> {
        let has_room = self.fragment.as_ref().is_none_or(|fragment| fragment.admits());
        if !has_room && !self.sampled {
            return None;
        }
        let mut child = Box::new(self.child(name, Instant::now()));
        if !has_room {
            child.fragment = None;
        }
        Some(child)
    }

    /// A step within it, which began then.
    pub fn child(&self, name: &'static str, began: Instant) -> Open {
        Open {
            trace_id: self.trace_id,
            id: random(),
            parent: self.id,
            parent_is_remote: false,
            state: self.state.clone(),
            sampled: self.sampled,
            fragment: self.fragment.clone(),
            kind: SpanKind::Internal,
            name: Name::Step(name),
            subject: None,
            began,
            wall: self.at(began),
            ended: None,
            facts: Facts::None,
            extra: None,
            parts: None,
            attempts: Vec::new(),
            awaited: false,
        }
    }

    /// A try begins; gives what hangs under it. The first has room with its call. A call that finds nobody tries again until its
    /// deadline, so those after it take room like spans of their own.
    fn tries(&mut self, number: u32, target: Option<&Incarnation>, choice: &'static str) -> Scope {
        let has_room = match &self.fragment {
            _ if self.attempts.is_empty() => true,
            Some(fragment) => fragment.admits(),
            None => self.attempts.len() < attempt::MOST,
        };
        if !has_room {
            return self.scope(self.id);
        }
        let attempt = Attempt::new(number, target.cloned(), choice);
        let scope = self.scope(attempt.id);
        if self.attempts.is_empty() {
            // Hardly ever there is a second one.
            self.attempts.reserve_exact(1);
        }
        self.attempts.push(attempt);
        scope
    }

    /// It, and then what it is made of.
    pub fn with_parts(mut self) -> Vec<Open> {
        let parts = self.parts.take().map(|parts| parts.spans(&self)).unwrap_or_default();
        let attempts = std::mem::take(&mut self.attempts);
        let attempts: Vec<_> = attempts.into_iter().map(|attempt| attempt.into_span(&self)).collect();
        std::iter::once(self).chain(parts).chain(attempts).collect()
    }

    /// The scope of something that hangs under the span with this id.
    pub fn scope(&self, id: u64) -> Scope {
        let flags = u8::from(self.sampled);
        let parent = TraceParent { trace_id: u128::from_be_bytes(self.trace_id), span_id: id, flags };
        let context = TraceContext { parent, state: self.state.clone() };
        Scope { context, fragment: self.fragment.clone(), decided: true }
    }

    pub fn fail(&mut self, fault: &Fault) {
        let extra = self.extra();
        extra.attributes.push(KeyValue::new(attribute::ERROR_TYPE, fault.kind()));
        extra.attributes.push(KeyValue::new(attribute::RAN, fault.ran().as_str()));
        extra.error = Some(fault.to_string());
        extra.rejected = matches!(fault, Fault::Rejected(_));
    }

    /// Whether it failed other than by what the actor itself answered.
    pub fn is_failed(&self) -> bool {
        let is_failed = self.extra.as_deref().is_some_and(|extra| extra.error.is_some() && !extra.rejected);
        is_failed || self.attempts.iter().any(Attempt::is_failed)
    }

    /// Room for what few spans have.
    pub fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Tells of it, and whether what this node has recorded of the trace is kept.
    pub fn end(mut self: Box<Self>, now: Instant) -> bool {
        self.ended = Some(now);
        match self.fragment.take() {
            Some(fragment) => fragment.take_in(self),
            // It was chosen, and there is no room for it among what is kept.
            None => {
                if let Some(recorder) = Recorder::get() {
                    recorder.export(*self);
                }
                false
            }
        }
    }

    /// A moment as the wall clock told it when the span began: steps of the clock make no span negative.
    pub fn at(&self, moment: Instant) -> SystemTime {
        match moment.checked_duration_since(self.began) {
            Some(since) => self.wall + since,
            None => self.wall - self.began.duration_since(moment),
        }
    }

    /// As the exporter takes it.
    pub fn into_data(mut self, instrumentation_scope: InstrumentationScope) -> SpanData {
        let state = self.state.as_deref().and_then(|state| state.parse::<TraceState>().ok());
        let (mut events, mut links) = (SpanEvents::default(), SpanLinks::default());
        let name = self.called();
        let end_time = self.ended.map_or(self.wall, |ended| self.at(ended));
        let extra = self.extra.take().map(|extra| *extra).unwrap_or_default();
        let attributes = self.described(extra.attributes);
        events.events = extra.events;
        links.links = extra.links;
        SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(self.trace_id),
                SpanId::from_bytes(self.id.to_be_bytes()),
                // What gets here is to be exported, whatever was thought at first.
                TraceFlags::SAMPLED,
                false,
                state.unwrap_or_default(),
            ),
            parent_span_id: SpanId::from_bytes(self.parent.to_be_bytes()),
            parent_span_is_remote: self.parent_is_remote,
            span_kind: self.kind,
            name,
            start_time: self.wall,
            end_time,
            attributes,
            dropped_attributes_count: 0,
            events,
            links,
            status: extra.error.map_or(Status::Unset, Status::error),
            instrumentation_scope,
        }
    }

    fn called(&self) -> Cow<'static, str> {
        let subject = self.subject.as_ref();
        let actor = || subject.map_or("?", |subject| subject.actor.name.as_str());
        match &self.name {
            Name::Step(name) => (*name).into(),
            Name::Own(name) => name.to_string().into(),
            Name::Call => {
                let operation = subject.map_or("?", |subject| subject.operation.as_str());
                format!("{}/{operation}", actor()).into()
            }
            Name::Send => format!("send {}", actor()).into(),
            Name::Process => format!("process {}", actor()).into(),
        }
    }

    /// What is said of it, with what follows from its subject.
    fn described(&mut self, more: Vec<KeyValue>) -> Vec<KeyValue> {
        let mut all = Vec::with_capacity(more.len() + 10);
        let is_letter = matches!(self.name, Name::Send | Name::Process);
        if let Some(Subject { actor, operation }) = &self.subject {
            let (name, operation) = (actor.name.shared(), operation.shared());
            all.push(KeyValue::new(attribute::ACTOR, name.clone()));
            all.push(KeyValue::new(attribute::RPC_METHOD, operation));
            match &self.name {
                Name::Send | Name::Process => {
                    let verb = if self.name == Name::Send { "send" } else { "process" };
                    all.push(KeyValue::new(attribute::MESSAGING_SYSTEM, attribute::SYSTEM));
                    all.push(KeyValue::new(attribute::MESSAGING_DESTINATION, name));
                    all.push(KeyValue::new(attribute::MESSAGING_OPERATION, verb));
                }
                Name::Call | Name::Step(_) | Name::Own(_) => {
                    all.push(KeyValue::new(attribute::RPC_SYSTEM, attribute::SYSTEM));
                    all.push(KeyValue::new(attribute::RPC_SERVICE, name));
                }
            }
            if let Some(key) = &actor.key {
                all.push(KeyValue::new(attribute::KEY, key.clone()));
            }
        }
        std::mem::replace(&mut self.facts, Facts::None).describe(is_letter, &mut all);
        all.extend(more);
        all
    }
}

/// A context as OpenTelemetry knows it.
pub fn remote(parent: &TraceParent) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(parent.trace_id.to_be_bytes()),
        SpanId::from_bytes(parent.span_id.to_be_bytes()),
        TraceFlags::new(parent.flags),
        true,
        TraceState::default(),
    )
}

/// The id of a span; 0 is none.
pub(super) fn random() -> u64 {
    fastrand::u64(1..)
}
