//! What the leader is told of how busy actors are, so that it can decide how many replicas they have.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::{Malformed, VERSION, check_version, decode, parse, wire};
use crate::id::{ActorName, Incarnation};

/// The most actors in one report; more go into the next.
pub const MAX_LOADS: usize = 1_000;

/// How busy some actors are on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadReport {
    /// The node that tells.
    pub origin: Incarnation,
    /// The time over which it looked.
    pub window: Duration,
    /// Each of them once.
    pub actors: Vec<(ActorName, ActorLoad)>,
}

/// How busy the replicas of one actor are on one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActorLoad {
    /// Replicas that took messages.
    pub replicas: u32,
    /// Messages waiting and running, in thousandths, on average over the time.
    pub in_flight_milli: u64,
    /// Messages waiting only.
    pub waiting_milli: u64,
    /// Turns that ended in the time.
    pub handled: u64,
}

/// Calls wait for an actor of which no replica runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wake {
    /// The node that holds them.
    pub origin: Incarnation,
    /// Whom they are for.
    pub actor: ActorName,
    /// How many there are.
    pub held: u32,
}

impl LoadReport {
    /// As bytes for the wire.
    pub fn encode(&self) -> Bytes {
        let actors = self.actors.iter().map(|(actor, load)| wire::ActorLoad {
            actor: actor.to_string(),
            replicas: load.replicas,
            in_flight_milli: load.in_flight_milli,
            waiting_milli: load.waiting_milli,
            handled: load.handled,
        });
        let message = wire::LoadReport {
            version: VERSION,
            origin: self.origin.as_str().to_owned(),
            window_ms: u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX),
            actors: actors.collect(),
        };
        message.encode_to_vec().into()
    }

    /// From the wire.
    ///
    /// # Errors
    /// When the bytes are no report of a version that this node reads.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::LoadReport = decode(bytes)?;
        check_version(message.version)?;
        if message.actors.len() > MAX_LOADS {
            return Err(Malformed::field("actors", format!("more than {MAX_LOADS}")));
        }
        let actor = |load: wire::ActorLoad| {
            let actor = parse("actor", &load.actor)?;
            let wire::ActorLoad { actor: _, replicas, in_flight_milli, waiting_milli, handled } = load;
            Ok((actor, ActorLoad { replicas, in_flight_milli, waiting_milli, handled }))
        };
        Ok(Self {
            origin: parse("origin", &message.origin)?,
            window: Duration::from_millis(message.window_ms),
            actors: message.actors.into_iter().map(actor).collect::<Result<_, Malformed>>()?,
        })
    }
}

impl Wake {
    /// As bytes for the wire.
    pub fn encode(&self) -> Bytes {
        let (origin, actor) = (self.origin.as_str().to_owned(), self.actor.to_string());
        wire::Wake { version: VERSION, origin, actor, held: self.held }.encode_to_vec().into()
    }

    /// From the wire.
    ///
    /// # Errors
    /// When the bytes are no such message of a version that this node reads.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::Wake = decode(bytes)?;
        check_version(message.version)?;
        let (origin, actor) = (parse("origin", &message.origin)?, parse("actor", &message.actor)?);
        Ok(Self { origin, actor, held: message.held })
    }
}
