//! The node's metrics as Prometheus reads them: the same measures that are pushed by OTLP, at the moment of asking.
//!
//! Names and units are written as Prometheus has them: `rpc.server.call.duration` in seconds becomes
//! `rpc_server_call_duration_seconds`, and counters end in `_total`. Histograms get a bound at each power of two, from 15
//! microseconds to a minute, so that those of all nodes can be added up.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::{KeyValue, Value};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, ExponentialHistogramDataPoint, Metric, MetricData, ResourceMetrics,
};
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, PeriodicReader, Pipeline, Temporality};
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

/// The bounds of a histogram's buckets, as powers of two of a second: those of surveys.
const BOUNDS: std::ops::RangeInclusive<i32> = lattice_proto::survey::POWERS;

/// Reads all measures. A cheap handle.
#[derive(Debug, Clone, Default)]
pub struct Page(Arc<ManualReader>);

/// The page, and whoever pushes the same measures elsewhere: as two readers of their own each would have whatever is measured
/// measured once more.
#[derive(Debug)]
pub(super) struct Readers {
    pub page: Page,
    pub pushed: Option<PeriodicReader<MetricExporter>>,
}

impl MetricReader for Readers {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        if let Some(pushed) = &self.pushed {
            pushed.register_pipeline(pipeline.clone());
        }
        self.page.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.page.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.pushed.as_ref().map_or(Ok(()), PeriodicReader::force_flush)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let pushed = self.pushed.as_ref().map_or(Ok(()), |pushed| pushed.shutdown_with_timeout(timeout));
        self.page.0.shutdown_with_timeout(timeout).and(pushed)
    }

    fn temporality(&self, _: InstrumentKind) -> Temporality {
        // As Prometheus has it.
        Temporality::Cumulative
    }
}

impl Page {
    /// All measures as they are now.
    ///
    /// # Errors
    /// After the end.
    pub(super) fn read(&self) -> Result<ResourceMetrics, String> {
        let mut metrics = ResourceMetrics::default();
        self.0.collect(&mut metrics).map_err(|error| error.to_string())?;
        Ok(metrics)
    }

    /// The page as it is now; `labels` are put to each row.
    ///
    /// # Errors
    /// When the measures cannot be read, as after the end.
    pub fn render(&self, labels: &[(&str, &str)]) -> Result<String, String> {
        let metrics = self.read()?;
        let all = metrics.scope_metrics().flat_map(|scope| scope.metrics());
        let families: Vec<MetricFamily> = all.filter_map(|metric| family(metric, labels)).collect();
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text).map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// The type that a client is told.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

fn family(metric: &Metric, labels: &[(&str, &str)]) -> Option<MetricFamily> {
    let (kind, rows) = match metric.data() {
        AggregatedMetrics::F64(data) => rows(data, |value| value)?,
        #[allow(clippy::cast_precision_loss, reason = "Prometheus has floating point numbers only")]
        AggregatedMetrics::U64(data) => rows(data, |value| value as f64)?,
        #[allow(clippy::cast_precision_loss, reason = "the same")]
        AggregatedMetrics::I64(data) => rows(data, |value| value as f64)?,
    };
    if rows.is_empty() {
        return None;
    }
    let rows = rows.into_iter().map(|(attributes, mut row)| {
        let own = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let told = attributes.into_iter().map(|pair| (label(pair.key.as_str()), text(&pair.value)));
        // A map, as no label may come twice.
        let all: BTreeMap<String, String> = own.chain(told).collect();
        row.set_label(all.into_iter().map(pair).collect());
        row
    });
    let mut family = MetricFamily::default();
    family.set_name(name(metric.name(), metric.unit(), kind));
    family.set_help(metric.description().to_owned());
    family.set_field_type(kind);
    family.set_metric(rows.collect());
    Some(family)
}

type Rows = Vec<(Vec<KeyValue>, proto::Metric)>;

fn rows<T: Copy>(data: &MetricData<T>, number: impl Fn(T) -> f64) -> Option<(MetricType, Rows)> {
    let attributes = |all: &mut dyn Iterator<Item = &KeyValue>| all.cloned().collect::<Vec<_>>();
    Some(match data {
        MetricData::Gauge(gauge) => {
            let row = |value: f64| {
                let (mut row, mut inner) = (proto::Metric::default(), proto::Gauge::default());
                inner.set_value(value);
                row.set_gauge(inner);
                row
            };
            let points = gauge.data_points();
            let rows = points.map(|point| (attributes(&mut point.attributes()), row(number(point.value()))));
            (MetricType::GAUGE, rows.collect())
        }
        MetricData::Sum(sum) => {
            let grows = sum.is_monotonic();
            let row = |value: f64| {
                let mut row = proto::Metric::default();
                if grows {
                    let mut inner = proto::Counter::default();
                    inner.set_value(value);
                    row.set_counter(inner);
                } else {
                    let mut inner = proto::Gauge::default();
                    inner.set_value(value);
                    row.set_gauge(inner);
                }
                row
            };
            let points = sum.data_points();
            let rows = points.map(|point| (attributes(&mut point.attributes()), row(number(point.value()))));
            (if grows { MetricType::COUNTER } else { MetricType::GAUGE }, rows.collect())
        }
        MetricData::ExponentialHistogram(histogram) => {
            let rows = histogram.data_points().map(|point| {
                let mut row = proto::Metric::default();
                row.set_histogram(bounded(point, number(point.sum())));
                (attributes(&mut point.attributes()), row)
            });
            (MetricType::HISTOGRAM, rows.collect())
        }
        // The view makes all of them exponential.
        MetricData::Histogram(_) => return None,
    })
}

/// How many values are at most each of [`BOUNDS`].
pub(super) fn within<T>(point: &ExponentialHistogramDataPoint<T>) -> Vec<u64> {
    let scale = i32::from(point.scale());
    let offset = point.positive_bucket().offset();
    let buckets: Vec<(i32, u64)> = (offset..).zip(point.positive_bucket().counts()).collect();
    let count = |power: i32| {
        // Bucket `i` ends at 2^((i + 1) / 2^scale). With a negative scale some powers lie inside of a bucket, which then
        // counts as below the next one.
        let within = |index: i32| match scale {
            0.. => index < power << scale,
            _ => (index + 1) << -scale <= power,
        };
        let below: u64 = buckets.iter().filter(|(index, _)| within(*index)).map(|(_, count)| count).sum();
        point.zero_count() + below
    };
    BOUNDS.map(count).collect()
}

/// An exponential histogram with a bound at each power of two.
fn bounded<T>(point: &ExponentialHistogramDataPoint<T>, sum: f64) -> proto::Histogram {
    let buckets = BOUNDS.zip(within(point)).map(|(power, count)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(f64::from(power).exp2());
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_sample_count(point.count() as u64);
    histogram.set_sample_sum(sum);
    histogram.set_bucket(buckets.collect());
    histogram
}

/// A metric's name as Prometheus has it.
fn name(name: &str, unit: &str, kind: MetricType) -> String {
    let mut name = label(name);
    let unit = match unit {
        "s" => "seconds",
        "By" => "bytes",
        // A unit in braces says what is counted, and no more.
        _ => "",
    };
    if !unit.is_empty() && !name.ends_with(unit) {
        name = format!("{name}_{unit}");
    }
    if kind == MetricType::COUNTER && !name.ends_with("_total") {
        name.push_str("_total");
    }
    name
}

fn label(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn text(value: &Value) -> String {
    value.as_str().into_owned()
}

fn pair((name, value): (String, String)) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name);
    pair.set_value(value);
    pair
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::Resource;

    use super::*;
    use crate::telemetry::metrics::provider;

    fn page(write: impl FnOnce(&opentelemetry::metrics::Meter)) -> String {
        let (provider, page) = provider(Resource::builder_empty().build(), None);
        write(&provider.meter("test"));
        page.render(&[("node", "a")]).unwrap()
    }

    #[test]
    fn names_and_units_are_prometheus_own() {
        let text = page(|meter| {
            meter.u64_counter("lattice.calls").build().add(3, &[KeyValue::new("lattice.actor", "x\"y")]);
            meter.u64_gauge("lattice.memory").with_unit("By").build().record(5, &[]);
        });
        assert!(text.contains("lattice_calls_total{lattice_actor=\"x\\\"y\",node=\"a\"} 3"), "{text}");
        assert!(text.contains("# TYPE lattice_calls_total counter"), "{text}");
        assert!(text.contains("lattice_memory_bytes{node=\"a\"} 5"), "{text}");
    }

    #[test]
    fn a_histogram_counts_what_is_at_most_each_bound() {
        let text = page(|meter| {
            let histogram = meter.f64_histogram("took").with_unit("s").build();
            for value in [0.0, 0.000_1, 0.3, 0.3, 3.0, 1000.0] {
                histogram.record(value, &[]);
            }
        });
        for (bound, count) in
            [("0.000244140625", 2), ("0.25", 2), ("0.5", 4), ("4", 5), ("64", 5), ("+Inf", 6)]
        {
            let row = format!("took_seconds_bucket{{node=\"a\",le=\"{bound}\"}} {count}");
            assert!(text.contains(&row), "{row} in {text}");
        }
        assert!(text.contains("took_seconds_count{node=\"a\"} 6"), "{text}");
    }
}
