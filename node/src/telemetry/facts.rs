//! What is said of a span: what nearly every one says as it is known, and the rest, which few have, apart. Attributes are made of
//! it only where somebody gets to see the span, which is hardly ever so.

use lattice_proto::{Incarnation, MessageId};
use opentelemetry::KeyValue;
use opentelemetry::trace::{Event, Link};

use super::attribute;

/// What nearly every span says.
#[derive(Debug, Clone)]
pub(super) enum Facts {
    /// Nothing.
    None,
    /// What is on its way.
    Message(MessageId),
    /// One try to get it where it should be.
    Attempt {
        /// 1 on the first one.
        number: u32,
        /// The node that it went to; none where that is this one.
        target: Option<Incarnation>,
        /// Why it went there.
        choice: &'static str,
    },
    /// What a message made a replica do.
    Turn {
        /// The message.
        message: MessageId,
        /// With which attempt it came.
        attempt: u32,
        /// The version of the actor, once it is known which replica handles it.
        version: Option<u64>,
        /// What it was, where nobody waits for an answer.
        cause: Option<&'static str>,
    },
}

/// What few spans have.
#[derive(Debug, Clone, Default)]
pub(super) struct Extra {
    pub attributes: Vec<KeyValue>,
    pub events: Vec<Event>,
    pub links: Vec<Link>,
    pub error: Option<String>,
    /// Whether it failed by what the actor itself answered.
    pub rejected: bool,
}

impl Facts {
    /// As attributes; messages are called otherwise where they are letters.
    pub fn describe(self, is_letter: bool, all: &mut Vec<KeyValue>) {
        let carried = if is_letter { attribute::MESSAGING_ID } else { attribute::MESSAGE };
        match self {
            Facts::None => {}
            Facts::Message(message) => all.push(KeyValue::new(carried, message.shared())),
            Facts::Attempt { number, target, choice } => {
                let target = target.map_or_else(|| "local".into(), |target| target.shared());
                all.push(KeyValue::new(attribute::ATTEMPT, i64::from(number)));
                all.push(KeyValue::new(attribute::TARGET, target));
                all.push(KeyValue::new(attribute::CHOICE, choice));
            }
            Facts::Turn { message, attempt, version, cause } => {
                all.push(KeyValue::new(carried, message.shared()));
                all.push(KeyValue::new(attribute::ATTEMPT, i64::from(attempt)));
                all.extend(cause.map(|cause| KeyValue::new(attribute::CAUSE, cause)));
                let version = version.map(|version| i64::try_from(version).unwrap_or(i64::MAX));
                all.extend(version.map(|version| KeyValue::new(attribute::VERSION, version)));
            }
        }
    }
}
