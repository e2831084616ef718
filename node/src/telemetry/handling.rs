//! The span of one turn, from admission to the answer, with what it is made of: the wait in the mailbox, the guest's part,
//! and the commit. All of them are made from a few moments when the turn ends, so that they cost little until then.

use std::sync::Arc;
use std::time::Instant;

use lattice_proto::envelope::TraceContext;
use lattice_proto::{ActorId, Fault, MessageId, Operation, Topic};
use opentelemetry::KeyValue;
use opentelemetry::trace::{Event, SpanKind};

use super::attribute;
use super::facts::Facts;
use super::metrics::{Meter, Moments};
use super::span::{Name, Open, Origin, Scope, Span, Subject, random};

/// What a turn hangs under, and what it is.
pub enum Turned {
    /// Somebody waits for the answer.
    Call(Option<Scope>),
    /// A letter that was sent with this context.
    Letter(Option<TraceContext>),
    /// It was published with this context, to this topic.
    Topic(Option<TraceContext>, Option<Topic>),
    /// A reminder or a timer of the actor's own; which of them.
    Own(&'static str),
}

/// The span of a turn.
#[derive(Debug)]
pub struct Handling {
    span: Span,
    parts: Parts,
    /// Where it is measured; none of a turn that never comes to a replica.
    measured: Option<(Arc<Meter>, Operation)>,
    ended: bool,
    /// It was of no use any more when it left the mailbox.
    late: bool,
}

/// Something that had to be made before a turn could begin.
#[derive(Debug, Clone, Copy)]
pub struct Cold {
    /// What: `key` or `replica`.
    pub what: &'static str,
    /// From when.
    pub from: Instant,
    /// Until when.
    pub until: Instant,
}

impl Handling {
    /// A turn that was just taken.
    pub fn new(turned: Turned, actor: &ActorId, operation: &Operation, id: &MessageId, attempt: u32) -> Self {
        let subject = || Subject { actor: actor.clone(), operation: operation.clone() };
        let (mut span, cause) = match turned {
            Turned::Call(scope) => {
                (Span::open(Origin::Scope(scope), SpanKind::Server, Name::Call, subject), None)
            }
            Turned::Letter(sent) => {
                let span = Span::open(Origin::Letter(sent), SpanKind::Consumer, Name::Process, subject);
                (span, Some("letter"))
            }
            Turned::Topic(sent, topic) => {
                let mut span = Span::open(Origin::Letter(sent), SpanKind::Consumer, Name::Process, subject);
                if let Some(topic) = topic {
                    span.note(attribute::TOPIC, topic.as_str().to_owned());
                }
                (span, Some("topic"))
            }
            Turned::Own(cause) => {
                (Span::open(Origin::Scope(None), SpanKind::Consumer, Name::Process, subject), Some(cause))
            }
        };
        let (turn, created) = match &mut span.live {
            Some(live) => {
                live.facts = Facts::Turn { message: id.clone(), attempt, version: None, cause };
                (random(), live.began)
            }
            None => (0, Instant::now()),
        };
        Self {
            span,
            parts: Parts {
                turn,
                created,
                begun: None,
                answered: None,
                commits: false,
                cold: None,
                trap: None,
            },
            measured: None,
            ended: false,
            late: false,
        }
    }

    /// Whose turn it is, and where it is measured.
    pub fn is_of(&mut self, version: u64, meter: Arc<Meter>, operation: Operation) {
        if let Some(live) = &mut self.span.live
            && let Facts::Turn { version: of, .. } = &mut live.facts
        {
            *of = Some(version);
        }
        self.measured = Some((meter, operation));
    }

    /// What the guest's calls hang under.
    pub fn scope(&self) -> Option<Scope> {
        match &self.span.live {
            Some(live) => Some(live.scope(self.parts.turn)),
            None => self.span.scope(),
        }
    }

    /// The guest is entered.
    pub fn begins(&mut self, now: Instant) {
        self.parts.begun = Some(now);
    }

    /// It was of no use any more when it left the mailbox.
    pub fn comes_late(&mut self) {
        self.late = true;
    }

    /// The guest has answered.
    pub fn answers(&mut self, now: Instant) {
        self.parts.answered = Some(now);
    }

    /// What it said waits for a commit.
    pub fn commits(&mut self) {
        self.parts.commits = true;
    }

    /// It had to wait for something to be made; of no account if that was before it came.
    pub fn waited_for(&mut self, cold: Cold) {
        if cold.until > self.parts.created {
            self.parts.cold = Some(Cold { from: cold.from.max(self.parts.created), ..cold });
        }
    }

    /// The guest trapped in it: why, and with which frames.
    pub fn trapped(&mut self, reason: &str, detail: &str) {
        if self.span.is_recorded() {
            self.parts.trap = Some(Box::new((reason.to_owned(), detail.to_owned())));
        }
    }

    /// Ends it, and tells whether this node keeps its part of the trace.
    pub fn end(&mut self, fault: Option<&Fault>) -> bool {
        if std::mem::replace(&mut self.ended, true) {
            return false;
        }
        // Where nothing had to be committed it ends as the guest answers.
        let now = self.parts.answered.filter(|_| !self.parts.commits).unwrap_or_else(Instant::now);
        if let Some((meter, operation)) = &self.measured {
            let moments = Moments {
                came: self.parts.created,
                begun: self.parts.begun,
                answered: self.parts.answered.filter(|_| self.parts.commits),
                ended: now,
                late: self.late,
            };
            meter.ended(operation, moments, fault);
        }
        let Some(mut live) = self.span.live.take() else { return false };
        if let Some(fault) = fault {
            live.fail(fault);
        }
        let trap = self.parts.trap.take();
        live.parts = Some(Box::new(Parts { trap, ..self.parts }));
        live.end(now)
    }
}

/// What the span of a turn is made of: spans of their own only where somebody gets to see them, which is hardly ever so.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    /// The id of the guest's part, under which its calls hang.
    turn: u64,
    created: Instant,
    begun: Option<Instant>,
    answered: Option<Instant>,
    commits: bool,
    cold: Option<Cold>,
    trap: Option<Box<(String, String)>>,
}

impl Parts {
    /// As spans within that of the turn, which has ended.
    pub fn spans(self, whole: &Open) -> Vec<Open> {
        let now = whole.ended.unwrap_or(whole.began);
        let step = |parent: &Open, name, from: Instant, until: Instant| Open {
            ended: Some(until),
            ..parent.child(name, from)
        };
        let queue = step(whole, "queue", self.created, self.begun.unwrap_or(now));
        let mut spans = Vec::with_capacity(4);
        if let Some(Cold { what, from, until }) = self.cold {
            let mut wake = step(&queue, "start", from, until);
            wake.extra().attributes.push(KeyValue::new(attribute::START, what));
            spans.push(wake);
        }
        spans.push(queue);
        if let Some(begun) = self.begun {
            let answered = self.answered.unwrap_or(now);
            let mut turn = step(whole, "turn", begun, answered);
            turn.id = self.turn;
            if let Some((reason, detail)) = self.trap.map(|trap| *trap) {
                let event = trap(&turn, answered, &reason, detail);
                let extra = turn.extra();
                extra.events.push(event);
                extra.attributes.push(KeyValue::new(attribute::ERROR_TYPE, "trap"));
                extra.error = Some(reason);
            }
            spans.push(turn);
            if self.commits {
                spans.push(step(whole, "commit", answered, now));
            }
        }
        spans
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// As the conventions for exceptions say.
fn trap(turn: &Open, when: Instant, reason: &str, detail: String) -> Event {
    let at = turn.at(when);
    let attributes = vec![
        KeyValue::new(attribute::EXCEPTION_TYPE, "trap"),
        KeyValue::new(attribute::EXCEPTION_MESSAGE, reason.to_owned()),
        KeyValue::new(attribute::EXCEPTION_STACKTRACE, detail),
    ];
    Event::new("exception", at, attributes, 0)
}
