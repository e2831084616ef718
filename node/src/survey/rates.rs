//! What happened between two surveys of one node. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use lattice_proto::ActorName;
use lattice_proto::survey::{Edge, Facts, Host, POWERS, Survey};

/// The faults that are an actor's own answers.
pub(super) const REJECTED: &str = "rejected";

/// What happened, and in which time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Between {
    pub seconds: f64,
    pub actors: BTreeMap<ActorName, Happened>,
    pub edges: BTreeMap<(Option<ActorName>, ActorName), Edge>,
    pub round_trip_us: Option<f64>,
    pub lag_us: Option<f64>,
}

/// What one actor did.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Happened {
    pub handled: u64,
    /// How many took at most each power of two.
    pub within: Vec<u64>,
    pub cpu_us: u64,
    pub faults: BTreeMap<String, u64>,
}

/// None where the second was not taken later than the first.
pub(super) fn between(before: &Survey, now: &Survey) -> Option<Between> {
    let time = Duration::from_millis(now.up_ms.checked_sub(before.up_ms).filter(|ms| *ms > 0)?);
    let nothing = Facts::default();
    let mut actors = BTreeMap::new();
    for (actor, facts) in &now.actors {
        let earlier = match before.actors.get(actor) {
            Some(earlier) => earlier,
            // What was left out of the first is not known; what was not there began with nothing.
            None if before.cut => continue,
            None => &nothing,
        };
        actors.insert(actor.clone(), happened(earlier, facts));
    }
    let mut edges = BTreeMap::new();
    for (between, edge) in &now.edges {
        let earlier = match before.edges.get(between) {
            Some(earlier) => *earlier,
            None if before.cut => continue,
            None => Edge::default(),
        };
        let calls = edge.calls.saturating_sub(earlier.calls);
        edges.insert(between.clone(), Edge { calls, failed: edge.failed.saturating_sub(earlier.failed) });
    }
    let average = |sum: fn(&Host) -> u64, count: fn(&Host) -> u64| {
        let count = count(&now.host).saturating_sub(count(&before.host));
        let sum = sum(&now.host).saturating_sub(sum(&before.host));
        (count > 0).then(|| float(sum) / float(count))
    };
    Some(Between {
        seconds: time.as_secs_f64(),
        actors,
        edges,
        round_trip_us: average(|host| host.round_trip_us, |host| host.round_trips),
        lag_us: average(|host| host.lag_us, |host| host.lags),
    })
}

fn happened(before: &Facts, now: &Facts) -> Happened {
    let earlier = |at: usize| before.within.get(at).copied().unwrap_or(0);
    let within = now.within.iter().enumerate().map(|(at, count)| count.saturating_sub(earlier(at)));
    let faults = now.faults.iter().filter_map(|(kind, count)| {
        let count = count.saturating_sub(before.faults.get(kind).copied().unwrap_or(0));
        (count > 0).then(|| (kind.clone(), count))
    });
    Happened {
        handled: now.handled.saturating_sub(before.handled),
        within: within.collect(),
        cpu_us: now.cpu_us.saturating_sub(before.cpu_us),
        faults: faults.collect(),
    }
}

impl Happened {
    /// Adds how long messages took on another node.
    pub fn add_latencies(&mut self, other: &Happened) {
        self.handled += other.handled;
        self.within.resize(self.within.len().max(other.within.len()), 0);
        for (all, more) in self.within.iter_mut().zip(&other.within) {
            *all += more;
        }
    }

    /// So many of a hundred took at most this long, in microseconds; none where there were none.
    pub fn percentile_us(&self, percentile: f64) -> Option<f64> {
        if self.handled == 0 {
            return None;
        }
        let wanted = float(self.handled) * percentile / 100.0;
        let mut below = 0;
        for (power, within) in POWERS.zip(&self.within) {
            if float(*within) >= wanted {
                // Between two bounds they are taken to lie evenly, on the scale that the bounds are even on.
                let (inside, before) = (float(within.saturating_sub(below)), float(below));
                let part = if inside > 0.0 { (wanted - before) / inside } else { 1.0 };
                return Some((f64::from(power) - 1.0 + part).exp2() * 1e6);
            }
            below = *within;
        }
        Some(f64::from(*POWERS.end()).exp2() * 1e6)
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts within a second, and amounts for people")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(up_ms: u64, handled: u64, fast: u64) -> Survey {
        let all = vec![handled; POWERS.count()];
        // The first so many took at most a millisecond, all of them at most four.
        let within = POWERS.zip(all).map(|(power, all)| match power {
            ..-10 => 0,
            -10..-8 => fast,
            _ => all,
        });
        let facts = Facts {
            handled,
            within: within.collect(),
            faults: [("trapped".to_owned(), handled / 10)].into(),
            ..Facts::default()
        };
        Survey {
            node: "n".parse().unwrap(),
            up_ms,
            host: Host { round_trip_us: handled * 200, round_trips: handled, ..Host::default() },
            actors: [("a".parse().unwrap(), facts)].into(),
            edges: [((None, "a".parse().unwrap()), Edge { calls: handled, failed: 1 })].into(),
            cut: false,
        }
    }

    #[test]
    fn rates_and_percentiles_are_those_of_the_time_between() {
        let between = between(&survey(1_000, 1_000, 1_000), &survey(3_000, 1_100, 1_090)).unwrap();
        assert!((between.seconds - 2.0).abs() < 1e-9);
        let happened = &between.actors["a"];
        assert_eq!((happened.handled, happened.faults["trapped"]), (100, 10));
        let p50 = happened.percentile_us(50.0).unwrap();
        assert!((488.0..977.0).contains(&p50), "{p50}");
        let p99 = happened.percentile_us(99.0).unwrap();
        assert!((1_953.0..3_907.0).contains(&p99), "{p99}");
        assert_eq!(between.edges[&(None, "a".parse().unwrap())], Edge { calls: 100, failed: 0 });
        assert!((between.round_trip_us.unwrap() - 200.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_not_seen_twice_has_no_rate() {
        let (before, now) = (survey(1_000, 5, 5), survey(2_000, 9, 9));
        assert_eq!(super::between(&now, &before), None, "the node was started anew");
        let none = Survey { actors: BTreeMap::new(), ..before.clone() };
        assert_eq!(super::between(&none, &now).unwrap().actors.len(), 1, "it began with nothing");
        let cut = Survey { cut: true, ..none };
        assert_eq!(super::between(&cut, &now).unwrap().actors.len(), 0, "it was left out");
        assert_eq!(Happened::default().percentile_us(99.0), None);
    }
}
