//! What a node tells whoever looks at the lattice as a whole, taken from the same measures as its page.

use std::collections::BTreeMap;
use std::time::Duration;

use lattice_proto::survey::{Edge, Facts, Host, Survey};
use lattice_proto::{ActorName, NodeName};
use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, ExponentialHistogramDataPoint, MetricData};

use super::Page;
use super::page::within;
use crate::telemetry::attribute;

/// The node as it is now.
///
/// # Errors
/// When the measures cannot be read, as after the end.
pub fn survey(page: &Page, node: NodeName, up: Duration) -> Result<Survey, String> {
    let measured = page.read()?;
    let mut taken = Taken::default();
    for metric in measured.scope_metrics().flat_map(|scope| scope.metrics()) {
        let name = metric.name();
        match metric.data() {
            AggregatedMetrics::U64(MetricData::Gauge(gauge)) => {
                let points = gauge.data_points();
                points.for_each(|point| taken.number(name, &Names::of(point.attributes()), point.value()));
            }
            AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                let points = sum.data_points();
                points.for_each(|point| taken.number(name, &Names::of(point.attributes()), point.value()));
            }
            AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
                gauge
                    .data_points()
                    .for_each(|point| taken.seconds(name, &Names::of(point.attributes()), point.value()));
            }
            AggregatedMetrics::F64(MetricData::Sum(sum)) => {
                sum.data_points()
                    .for_each(|point| taken.seconds(name, &Names::of(point.attributes()), point.value()));
            }
            AggregatedMetrics::F64(MetricData::ExponentialHistogram(histogram)) => {
                histogram.data_points().for_each(|point| taken.spread(name, point));
            }
            _ => {}
        }
    }
    let up_ms = u64::try_from(up.as_millis()).unwrap_or(u64::MAX);
    let Taken { host, actors, edges } = taken;
    Ok(Survey { node, up_ms, host, actors, edges, cut: false })
}

#[derive(Default)]
struct Taken {
    host: Host,
    actors: BTreeMap<ActorName, Facts>,
    edges: BTreeMap<(Option<ActorName>, ActorName), Edge>,
}

/// What a row is about.
#[derive(Default)]
struct Names {
    actor: Option<ActorName>,
    caller: Option<String>,
    error: Option<String>,
    what: Option<String>,
}

impl Names {
    fn of<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> Self {
        let mut names = Self::default();
        for KeyValue { key, value, .. } in attributes {
            let value = value.as_str();
            match key.as_str() {
                attribute::ACTOR => names.actor = value.parse().ok(),
                attribute::CALLER => names.caller = Some(value.into_owned()),
                attribute::ERROR_TYPE => names.error = Some(value.into_owned()),
                attribute::KIND | attribute::POOL => names.what = Some(value.into_owned()),
                _ => {}
            }
        }
        names
    }
}

fn micros(seconds: f64) -> u64 {
    u64::try_from(Duration::try_from_secs_f64(seconds).unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

impl Taken {
    /// A number that is a count or an amount.
    fn number(&mut self, name: &str, names: &Names, value: u64) {
        let host = &mut self.host;
        match (name, names.what.as_deref()) {
            ("lattice.node.instances", Some("replica")) => host.replicas = value,
            ("lattice.node.instances", Some("key")) => host.keys_awake = value,
            ("lattice.node.memory", Some("process")) => host.memory = value,
            ("lattice.node.memory", Some("guests")) => host.guest_memory = value,
            _ => {}
        }
        let Some(actor) = &names.actor else { return };
        if let ("lattice.actor.calls" | "lattice.actor.calls.failed", Some(caller)) = (name, &names.caller) {
            // None for callers that are no actors.
            let edge = self.edges.entry((caller.parse().ok(), actor.clone())).or_default();
            match name {
                "lattice.actor.calls" => edge.calls = value,
                _ => edge.failed = value,
            }
            return;
        }
        // What the leader says of the lattice is no fact of this node.
        if matches!(name, "lattice.spec.replicas" | "lattice.status.replicas") {
            return;
        }
        let facts = self.actors.entry(actor.clone()).or_default();
        match name {
            "lattice.actor.replicas" => facts.replicas = value,
            "lattice.actor.awake" => facts.awake = value,
            "lattice.actor.in_flight" => facts.in_flight = value,
            "lattice.actor.mailbox" => facts.waiting = value,
            "lattice.actor.memory" => facts.memory = value,
            "lattice.actor.traps" => facts.traps = value,
            "lattice.call.failures" => {
                let kind = names.error.clone().unwrap_or_default();
                // One row for each operation.
                *facts.faults.entry(kind).or_default() += value;
            }
            _ => {}
        }
    }

    /// A number of seconds.
    fn seconds(&mut self, name: &str, names: &Names, value: f64) {
        match (name, &names.actor) {
            ("lattice.lease.margin", _) => self.host.lease_ms = micros(value) / 1_000,
            ("lattice.actor.cpu.time", Some(actor)) => {
                self.actors.entry(actor.clone()).or_default().cpu_us = micros(value);
            }
            _ => {}
        }
    }

    /// Numbers of seconds.
    fn spread(&mut self, name: &str, point: &ExponentialHistogramDataPoint<f64>) {
        let (count, sum) = (point.count() as u64, micros(point.sum()));
        match name {
            "lattice.nats.round_trip" => (self.host.round_trip_us, self.host.round_trips) = (sum, count),
            "lattice.node.event_loop.lag" => (self.host.lag_us, self.host.lags) = (sum, count),
            "rpc.server.call.duration" => {
                let Some(actor) = Names::of(point.attributes()).actor else { return };
                let facts = self.actors.entry(actor).or_default();
                let within = within(point);
                facts.handled += count;
                facts.within.resize(within.len(), 0);
                for (all, more) in facts.within.iter_mut().zip(within) {
                    *all += more;
                }
            }
            _ => {}
        }
    }
}
