//! Lines as log records of OpenTelemetry, for whoever takes them by OTLP.

use std::time::SystemTime;

use lattice_proto::log::{Level, Line};
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};

use crate::telemetry::{attribute, remote};

/// The way there. When the queue is full lines are dropped and counted there.
pub struct Otlp(SdkLogger);

impl Otlp {
    /// Through this provider.
    pub fn new(provider: &SdkLoggerProvider) -> Self {
        Self(provider.logger("lattice"))
    }

    pub(super) fn tell(&self, line: &Line) {
        let mut record = self.0.create_log_record();
        record.set_timestamp(SystemTime::now());
        record.set_observed_timestamp(SystemTime::now());
        let (severity, text) = match line.level {
            Level::Trace => (Severity::Trace, "TRACE"),
            Level::Debug => (Severity::Debug, "DEBUG"),
            Level::Info => (Severity::Info, "INFO"),
            Level::Warn => (Severity::Warn, "WARN"),
            Level::Error => (Severity::Error, "ERROR"),
        };
        record.set_severity_number(severity);
        record.set_severity_text(text);
        record.set_body(AnyValue::from(line.text.clone()));
        record.add_attribute("code.namespace", line.target.clone());
        record.add_attribute("lattice.log.source", if line.by_node { "node" } else { "guest" });
        if let Some(actor) = &line.actor {
            record.add_attribute(attribute::ACTOR, actor.to_string());
        }
        if let Some(key) = &line.key {
            record.add_attribute(attribute::KEY, key.to_string());
        }
        if line.version > 0 {
            record.add_attribute(attribute::VERSION, i64::try_from(line.version).unwrap_or(i64::MAX));
        }
        if let Some(trace) = line.trace {
            let span = remote(&trace);
            record.set_trace_context(span.trace_id(), span.span_id(), Some(span.trace_flags()));
        }
        self.0.emit(record);
    }
}
