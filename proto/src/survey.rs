//! What a node tells whoever looks at the lattice as a whole: how much its actors have done so far, and what they hold now.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use crate::envelope::{Malformed, VERSION, check_version, decode, parse, wire};
use crate::id::{ActorName, NodeName};

/// Latencies are counted by powers of two of a second, from 15 microseconds to a minute.
pub const POWERS: std::ops::RangeInclusive<i32> = -16..=6;

/// The most actors in one survey, and the most edges.
pub const MAX_ACTORS: usize = 5_000;

/// The most kinds of faults of one actor. There are fewer.
const MAX_FAULTS: usize = 64;

/// One node at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Its name.
    pub node: NodeName,
    /// How long it has run.
    pub up_ms: u64,
    /// The node itself.
    pub host: Host,
    /// What it runs, and what was called from here.
    pub actors: BTreeMap<ActorName, Facts>,
    /// Calls that its actors made, and that came in here from outside, by caller; none for the latter.
    pub edges: BTreeMap<(Option<ActorName>, ActorName), Edge>,
    /// Whether something was left out.
    pub cut: bool,
}

/// The node itself. Sums and counts only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Host {
    /// Of the process, in bytes.
    pub memory: u64,
    /// Of its guests, in bytes.
    pub guest_memory: u64,
    /// Replicas that take messages.
    pub replicas: u64,
    /// Keys that are awake.
    pub keys_awake: u64,
    /// How long its lease still runs.
    pub lease_ms: u64,
    /// Time that messages to itself took by way of the server, and how many there were.
    pub round_trip_us: u64,
    /// See `round_trip_us`.
    pub round_trips: u64,
    /// Time by which tasks were late, and how many were looked at.
    pub lag_us: u64,
    /// See `lag_us`.
    pub lags: u64,
}

/// One actor on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Replicas that take messages.
    pub replicas: u64,
    /// Keys that are awake.
    pub awake: u64,
    /// Messages that wait or are handled.
    pub in_flight: u64,
    /// Messages that wait.
    pub waiting: u64,
    /// Linear memory of its guests, in bytes.
    pub memory: u64,
    /// Time that they computed.
    pub cpu_us: u64,
    /// Messages that were handled.
    pub handled: u64,
    /// How many of them took at most each power of two of a second, in the order of [`POWERS`].
    pub within: Vec<u64>,
    /// Calls that failed and were asked for here, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Instances that trapped or were given up.
    pub traps: u64,
}

/// Calls of one to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Edge {
    /// All of them.
    pub calls: u64,
    /// Those that ended in a fault.
    pub failed: u64,
}

/// What a node is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// How it is now: answered by a [`Survey`].
    Now,
    /// How an actor did on it: answered by a [`Past`].
    Past(ActorName),
}

impl Query {
    /// As bytes for the wire.
    pub fn encode(&self) -> Bytes {
        let past_of = match self {
            Query::Now => String::new(),
            Query::Past(actor) => actor.to_string(),
        };
        wire::SurveyQuery { version: VERSION, past_of }.encode_to_vec().into()
    }

    /// From the wire.
    ///
    /// # Errors
    /// When the bytes are no query, or one of a version that this node does not answer.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let query: wire::SurveyQuery = decode(bytes)?;
        check_version(query.version)?;
        match query.past_of.as_str() {
            "" => Ok(Query::Now),
            actor => Ok(Query::Past(parse("past_of", actor)?)),
        }
    }
}

/// The steps in which the past is told.
pub const STEP_MS: u64 = 5_000;

/// The most steps of the past: half an hour.
pub const STEPS: usize = 360;

/// How an actor did on one node in one step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Step {
    /// When: since 1970, in steps of [`STEP_MS`], in the time of the NATS server.
    pub step: u64,
    /// Messages that were handled in a second.
    pub calls: f32,
    /// Calls that failed and were asked for there, in a second.
    pub failures: f32,
    /// In microseconds; 0 where there were no messages.
    pub p99_us: f32,
}

/// How an actor did on one node, the oldest step first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Past(pub Vec<Step>);

impl Past {
    /// As bytes for the wire.
    pub fn encode(&self) -> Bytes {
        let step = |step: &Step| wire::PastStep {
            step: step.step,
            calls: step.calls,
            failures: step.failures,
            p99_us: step.p99_us,
        };
        wire::Past { version: VERSION, steps: self.0.iter().map(step).collect() }.encode_to_vec().into()
    }

    /// From the wire.
    ///
    /// # Errors
    /// When the bytes are no past of a version that this node reads, or of numbers that nothing can have.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::Past = decode(bytes)?;
        check_version(message.version)?;
        if message.steps.len() > STEPS {
            return Err(Malformed::field("steps", format!("more than {STEPS}")));
        }
        let steps = message.steps.into_iter().map(|step| {
            let numbers = [step.calls, step.failures, step.p99_us];
            if !numbers.iter().all(|number| number.is_finite() && *number >= 0.0) {
                return Err(Malformed::field("steps", "not a number of something"));
            }
            Ok(Step { step: step.step, calls: step.calls, failures: step.failures, p99_us: step.p99_us })
        });
        Ok(Self(steps.collect::<Result<_, Malformed>>()?))
    }
}

impl Survey {
    /// As bytes for the wire, of at most so many; what has no room is left out, those with the least to tell first.
    pub fn encode(&self, most: usize) -> Bytes {
        let mut actors: Vec<(&ActorName, &Facts)> = self.actors.iter().collect();
        actors.sort_by_key(|(_, facts)| std::cmp::Reverse((facts.in_flight, facts.handled)));
        let mut edges: Vec<_> = self.edges.iter().collect();
        edges.sort_by_key(|(_, edge)| std::cmp::Reverse(edge.calls));
        let mut message = wire::Survey {
            version: VERSION,
            node: self.node.to_string(),
            up_ms: self.up_ms,
            host: Some(host_to_wire(&self.host)),
            cut: self.cut || actors.len() > MAX_ACTORS || edges.len() > MAX_ACTORS,
            ..wire::Survey::default()
        };
        let mut size = message.encoded_len() + 16;
        let mut fits = |more: usize| {
            size += more + 8;
            size <= most
        };
        for (actor, facts) in actors.into_iter().take(MAX_ACTORS) {
            let actor = actor_to_wire(actor, facts);
            if !fits(actor.encoded_len()) {
                message.cut = true;
                break;
            }
            message.actors.push(actor);
        }
        for ((caller, actor), edge) in edges.into_iter().take(MAX_ACTORS) {
            let edge = wire::SurveyEdge {
                caller: caller.as_ref().map(ActorName::to_string).unwrap_or_default(),
                actor: actor.to_string(),
                calls: edge.calls,
                failed: edge.failed,
            };
            if !fits(edge.encoded_len()) {
                message.cut = true;
                break;
            }
            message.edges.push(edge);
        }
        message.encode_to_vec().into()
    }

    /// From the wire.
    ///
    /// # Errors
    /// When the bytes are no survey of a version that this node reads.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let message: wire::Survey = decode(bytes)?;
        check_version(message.version)?;
        if message.actors.len() > MAX_ACTORS || message.edges.len() > MAX_ACTORS {
            return Err(Malformed::field("actors", format!("more than {MAX_ACTORS}")));
        }
        let actors =
            message.actors.into_iter().map(|actor| Ok((parse("actor", &actor.actor)?, facts(actor)?)));
        let edges = message.edges.into_iter().map(|edge| {
            let caller = match edge.caller.as_str() {
                "" => None,
                caller => Some(parse("caller", caller)?),
            };
            let between = (caller, parse("actor", &edge.actor)?);
            Ok((between, Edge { calls: edge.calls, failed: edge.failed.min(edge.calls) }))
        });
        Ok(Self {
            node: parse("node", &message.node)?,
            up_ms: message.up_ms,
            host: message.host.map(|host| host_from_wire(&host)).unwrap_or_default(),
            actors: actors.collect::<Result<_, Malformed>>()?,
            edges: edges.collect::<Result<_, Malformed>>()?,
            cut: message.cut,
        })
    }
}

fn actor_to_wire(actor: &ActorName, facts: &Facts) -> wire::SurveyActor {
    let faults =
        facts.faults.iter().map(|(kind, count)| wire::SurveyFault { kind: kind.clone(), count: *count });
    wire::SurveyActor {
        actor: actor.to_string(),
        replicas: facts.replicas,
        awake: facts.awake,
        in_flight: facts.in_flight,
        waiting: facts.waiting,
        memory: facts.memory,
        cpu_us: facts.cpu_us,
        handled: facts.handled,
        within: facts.within.clone(),
        faults: faults.collect(),
        traps: facts.traps,
    }
}

fn facts(actor: wire::SurveyActor) -> Result<Facts, Malformed> {
    if actor.within.len() > POWERS.count() || actor.faults.len() > MAX_FAULTS {
        return Err(Malformed::field("actors", "more counts than there are"));
    }
    Ok(Facts {
        replicas: actor.replicas,
        awake: actor.awake,
        in_flight: actor.in_flight,
        waiting: actor.waiting,
        memory: actor.memory,
        cpu_us: actor.cpu_us,
        handled: actor.handled,
        within: actor.within,
        faults: actor.faults.into_iter().map(|fault| (crate::log::plain(&fault.kind), fault.count)).collect(),
        traps: actor.traps,
    })
}

fn host_to_wire(host: &Host) -> wire::SurveyHost {
    wire::SurveyHost {
        memory: host.memory,
        guest_memory: host.guest_memory,
        replicas: host.replicas,
        keys_awake: host.keys_awake,
        lease_ms: host.lease_ms,
        round_trip_us: host.round_trip_us,
        round_trips: host.round_trips,
        lag_us: host.lag_us,
        lags: host.lags,
    }
}

fn host_from_wire(host: &wire::SurveyHost) -> Host {
    Host {
        memory: host.memory,
        guest_memory: host.guest_memory,
        replicas: host.replicas,
        keys_awake: host.keys_awake,
        lease_ms: host.lease_ms,
        round_trip_us: host.round_trip_us,
        round_trips: host.round_trips,
        lag_us: host.lag_us,
        lags: host.lags,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(actors: usize) -> Survey {
        let facts = |number: u64| Facts {
            handled: number,
            within: vec![1, 2, 3],
            faults: [("trapped".to_owned(), 1)].into(),
            ..Facts::default()
        };
        let name = |number: usize| format!("a{number}").parse::<ActorName>().unwrap();
        Survey {
            node: "n1".parse().unwrap(),
            up_ms: 5,
            host: Host { memory: 7, lags: 3, ..Host::default() },
            actors: (0..actors).map(|number| (name(number), facts(number as u64))).collect(),
            edges: [
                ((None, name(0)), Edge { calls: 3, failed: 1 }),
                ((Some(name(0)), name(1)), Edge::default()),
            ]
            .into(),
            cut: false,
        }
    }

    #[test]
    fn a_survey_crosses_the_wire_unchanged() {
        let whole = survey(3);
        assert_eq!(Survey::decode(whole.encode(1 << 20)), Ok(whole));
        for query in [Query::Now, Query::Past("a".parse().unwrap())] {
            assert_eq!(Query::decode(query.encode()), Ok(query));
        }
        assert!(Survey::decode(Bytes::from_static(b"\xff\xff")).is_err());
    }

    #[test]
    fn the_past_crosses_the_wire_and_nonsense_does_not() {
        let past = |calls| Past(vec![Step { step: 7, calls, failures: 0.5, p99_us: 800.0 }]);
        assert_eq!(Past::decode(past(3.0).encode()), Ok(past(3.0)));
        for wrong in [f32::NAN, f32::INFINITY, -1.0] {
            assert!(Past::decode(past(wrong).encode()).is_err(), "{wrong}");
        }
        assert!(Past::decode(Past(vec![Step::default(); STEPS + 1]).encode()).is_err());
    }

    #[test]
    fn what_has_no_room_is_left_out_and_that_is_said() {
        let bytes = survey(1_000).encode(10_000);
        assert!(bytes.len() <= 10_000);
        let cut = Survey::decode(bytes).unwrap();
        assert!(cut.cut && cut.host.memory == 7 && !cut.actors.is_empty());
        assert!(cut.actors.values().all(|facts| facts.handled > 500), "those with more to tell stay");
    }
}
