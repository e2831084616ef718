//! Numbers as people read them at a glance, and pictures for programs.

use std::time::Duration;

use lattice_proto::admin::Picture;
use serde_json::{Value, json};

/// A rate: three digits, and no more after the point than say something.
pub(super) fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(rate) if rate < 0.1 => "<0.1".to_owned(),
        Some(rate) if rate < 100.0 => format!("{rate:.1}"),
        Some(rate) if rate < 10_000.0 => format!("{rate:.0}"),
        Some(rate) if rate < 1e6 => format!("{:.1}k", rate / 1e3),
        Some(rate) => format!("{:.1}M", rate / 1e6),
    }
}

/// A time in microseconds.
pub(super) fn micros(micros: Option<f64>) -> String {
    match micros {
        None => "-".to_owned(),
        Some(micros) if micros < 1_000.0 => format!("{micros:.0}us"),
        Some(micros) if micros < 10_000.0 => format!("{:.1}ms", micros / 1e3),
        Some(micros) if micros < 1e6 => format!("{:.0}ms", micros / 1e3),
        Some(micros) => format!("{:.1}s", micros / 1e6),
    }
}

/// An amount of memory.
pub(super) fn bytes(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "an amount for people")]
    let amount = bytes as f64;
    match bytes {
        0 => "0".to_owned(),
        1..0x10_0000 => format!("{:.0}K", amount / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.0}M", amount / f64::from(1 << 20)),
        _ => format!("{:.1}G", amount / f64::from(1 << 30)),
    }
}

/// The time of day of a moment, in UTC.
pub(super) fn clock(ms: u64) -> String {
    let seconds = Duration::from_millis(ms).as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Values over time as blocks, the latest last, of this many characters at most.
pub(super) fn trend(values: impl DoubleEndedIterator<Item = f64> + Clone, width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.clone().fold(0.0, f64::max);
    let mut latest: Vec<char> = values
        .rev()
        .take(width)
        .map(|value| {
            let part = if most > 0.0 { value / most } else { 0.0 };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 7")]
            let block = (part * 7.0).round() as usize;
            BLOCKS[block.min(7)]
        })
        .collect();
    latest.reverse();
    latest.into_iter().collect()
}

/// A picture for programs: the fields of the API, with null for what is not known.
pub(super) fn json(picture: &Picture) -> Value {
    json!({
        "at_ms": picture.at_ms,
        "lattice": picture.lattice,
        "problem": Some(&picture.problem).filter(|problem| !problem.is_empty()),
        "nodes": picture.nodes.iter().map(|node| json!({
            "name": node.name, "state": node.state, "leader": node.leader, "answers": node.answers,
            "version": node.version, "admin": node.admin, "cpus": node.cpus, "machine_bytes": node.machine_bytes,
            "memory_bytes": node.memory_bytes, "guest_bytes": node.guest_bytes, "replicas": node.replicas,
            "keys_awake": node.keys_awake, "lease_ms": node.lease_ms, "calls_per_second": node.calls_per_second,
            "round_trip_us": node.round_trip_us, "lag_us": node.lag_us,
        })).collect::<Vec<_>>(),
        "actors": picture.actors.iter().map(|actor| json!({
            "actor": actor.actor, "app": actor.app, "kind": actor.kind, "revision": actor.revision,
            "desired": actor.desired, "ready": actor.ready, "problems": actor.problems,
            "calls_per_second": actor.calls_per_second, "failures_per_second": actor.failures_per_second,
            "p50_us": actor.p50_us, "p99_us": actor.p99_us, "in_flight": actor.in_flight, "waiting": actor.waiting,
            "memory_bytes": actor.memory_bytes, "cpus": actor.cpus, "keys_awake": actor.keys_awake, "traps": actor.traps,
            "faults_per_second": actor.faults_per_second,
            "nodes": actor.nodes.iter().map(|on| json!({
                "node": on.node, "replicas": on.replicas, "in_flight": on.in_flight,
                "memory_bytes": on.memory_bytes, "calls_per_second": on.calls_per_second,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "calls": picture.calls.iter().map(|call| json!({
            "caller": Some(&call.caller).filter(|caller| !caller.is_empty()), "actor": call.actor,
            "calls_per_second": call.calls_per_second, "failures_per_second": call.failures_per_second,
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let rates = [None, Some(0.0), Some(0.01), Some(2.34), Some(123.4), Some(12_345.0), Some(2e6)];
        assert_eq!(rates.map(rate), ["-", "0", "<0.1", "2.3", "123", "12.3k", "2.0M"]);
        let times = [None, Some(15.0), Some(1_500.0), Some(42_000.0), Some(2e6)];
        assert_eq!(times.map(micros), ["-", "15us", "1.5ms", "42ms", "2.0s"]);
        assert_eq!([0, 2048, 5 << 20, 3 << 30].map(bytes), ["0", "2K", "5M", "3.0G"]);
        assert_eq!(clock(86_400_000 + 3_723_000), "01:02:03");
    }

    #[test]
    fn a_trend_is_drawn_to_its_highest_value() {
        assert_eq!(trend([0.0, 5.0, 10.0].into_iter(), 8), "▁▅█");
        assert_eq!(trend([1.0, 0.0, 0.0].into_iter(), 2), "▁▁");
        assert_eq!(trend(std::iter::empty(), 8), "");
    }
}
