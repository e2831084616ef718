//! Tries to get a call where it should be. They are kept in the span of the call, and made into spans of their own only where somebody
//! gets to see them, which is hardly ever so.

use std::time::Instant;

use lattice_proto::fault::Rejection;
use lattice_proto::{Fault, Incarnation};

use super::facts::Facts;
use super::span::{Open, random};

/// Tries of one call that has no room in a fragment, since it was chosen and is exported in any case.
pub(super) const MOST: usize = 16;

/// One try.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// The id of its span, under which hangs what comes of it.
    pub id: u64,
    facts: Facts,
    began: Instant,
    /// None where the call was given up meanwhile.
    ended: Option<Instant>,
    fault: Option<Box<Fault>>,
}

impl Attempt {
    /// One that begins now.
    pub fn new(number: u32, target: Option<Incarnation>, choice: &'static str) -> Self {
        let facts = Facts::Attempt { number, target, choice };
        Self { id: random(), facts, began: Instant::now(), ended: None, fault: None }
    }

    /// It is over.
    pub fn end(&mut self, fault: Option<&Fault>) {
        self.ended = Some(Instant::now());
        // Nobody is shown the details of a rejection here, and they may be large.
        self.fault = fault.map(|fault| match fault {
            Fault::Rejected(Rejection { code, message, .. }) => {
                let (code, message) = (code.clone(), message.clone());
                Box::new(Fault::Rejected(Rejection { code, message, details: None }))
            }
            other => Box::new(other.clone()),
        });
    }

    /// Whether it is under way.
    pub fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether it failed other than by what the actor itself answered.
    pub fn is_failed(&self) -> bool {
        self.fault.as_deref().is_some_and(|fault| !matches!(fault, Fault::Rejected(_)))
    }

    /// As a span within that of the call, which has ended.
    pub fn into_span(self, call: &Open) -> Open {
        let mut span = call.child("attempt", self.began);
        span.id = self.id;
        span.facts = self.facts;
        span.ended = self.ended.or(call.ended);
        if let Some(fault) = &self.fault {
            span.fail(fault);
        }
        span
    }
}
