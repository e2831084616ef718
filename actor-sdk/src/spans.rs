//! The `tracing` crate, put through to the node: spans become spans of the turn's trace, events lines of the log.
//!
//! What a span is to the node is kept with the span itself: the registry gives numbers of its own away again.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry, SpanRef};

use crate::wasm::bindings::lattice::actor::{log as node, trace};

/// Sends spans and events to the node from now on, unless the actor installed a subscriber of its own.
pub(crate) fn install(level: log::LevelFilter) {
    let level = match level {
        log::LevelFilter::Off => LevelFilter::OFF,
        log::LevelFilter::Error => LevelFilter::ERROR,
        log::LevelFilter::Warn => LevelFilter::WARN,
        log::LevelFilter::Info => LevelFilter::INFO,
        log::LevelFilter::Debug => LevelFilter::DEBUG,
        log::LevelFilter::Trace => LevelFilter::TRACE,
    };
    let _ = tracing::subscriber::set_global_default(Registry::default().with(ToNode { level }));
}

/// The next call hangs under the span that it is made in.
pub(crate) fn before_call() {
    tracing::dispatcher::get_default(|dispatch| {
        let Some(registry) = dispatch.downcast_ref::<Registry>() else { return };
        let current = registry.current_span();
        let number = current.id().and_then(|id| registry.span(id)).map_or(0, |span| number(&span));
        if number != 0 {
            trace::under(number);
        }
    });
}

struct ToNode {
    level: LevelFilter,
}

/// A span's number at the node; 0 where nobody records it.
struct Number(u64);

/// The number of a span, or of the nearest one around it that has one.
fn number<'a, R: LookupSpan<'a>>(span: &SpanRef<'a, R>) -> u64 {
    let known = |span: &SpanRef<'a, R>| span.extensions().get::<Number>().map_or(0, |number| number.0);
    span.scope().map(|span| known(&span)).find(|number| *number != 0).unwrap_or(0)
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ToNode {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // An actor that is to write little is not to lose its place in the trace.
        let level = if metadata.is_span() { self.level.max(LevelFilter::INFO) } else { self.level };
        *metadata.level() <= level
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, registry: Context<'_, S>) {
        let Some(span) = registry.span(id) else { return };
        let parent = span.parent().map_or(0, |parent| number(&parent));
        let number = trace::start(attributes.metadata().name(), parent);
        if number != 0 {
            attributes.record(&mut Notes(number));
            span.extensions_mut().insert(Number(number));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, registry: Context<'_, S>) {
        let known =
            registry.span(id).and_then(|span| span.extensions().get::<Number>().map(|number| number.0));
        if let Some(number) = known {
            values.record(&mut Notes(number));
        }
    }

    fn on_event(&self, event: &Event<'_>, registry: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let Said { message, fields } = said;
        let level = *event.metadata().level();
        if let Some(span) = registry.event_span(event) {
            let number = number(&span);
            if number != 0 {
                let attributes: Vec<_> =
                    fields.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
                trace::event(number, &message, &attributes);
                if level == Level::ERROR {
                    trace::fail(number, &message);
                }
            }
        }
        let mut text = message;
        for (key, value) in &fields {
            let separator = if text.is_empty() { "" } else { " " };
            // It is a `String`.
            let _ = match value {
                trace::Value::Text(value) => write!(text, "{separator}{key}={value}"),
                trace::Value::Integer(value) => write!(text, "{separator}{key}={value}"),
                trace::Value::Float(value) => write!(text, "{separator}{key}={value}"),
                trace::Value::Flag(value) => write!(text, "{separator}{key}={value}"),
            };
        }
        let level = match level {
            Level::ERROR => node::Level::Error,
            Level::WARN => node::Level::Warn,
            Level::INFO => node::Level::Info,
            Level::DEBUG => node::Level::Debug,
            Level::TRACE => node::Level::Trace,
        };
        node::log(level, event.metadata().target(), &text);
    }

    fn on_close(&self, id: Id, registry: Context<'_, S>) {
        let known =
            registry.span(&id).and_then(|span| span.extensions().get::<Number>().map(|number| number.0));
        if let Some(number) = known {
            trace::end(number);
        }
    }
}

/// Fields of a span, as its attributes.
struct Notes(u64);

impl Visit for Notes {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        trace::note(self.0, field.name(), &trace::Value::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        trace::note(self.0, field.name(), &trace::Value::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        trace::note(self.0, field.name(), &trace::Value::Integer(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        trace::note(self.0, field.name(), &whole(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        trace::note(self.0, field.name(), &trace::Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        trace::note(self.0, field.name(), &trace::Value::Flag(value));
    }
}

/// What the traces of others have no whole number for is told as text.
fn whole(value: u64) -> trace::Value {
    i64::try_from(value).map_or_else(|_| trace::Value::Text(value.to_string()), trace::Value::Integer)
}

/// An event: its message, and the rest.
#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(String, trace::Value)>,
}

impl Said {
    fn field(&mut self, field: &Field, value: trace::Value) {
        match (field.name(), value) {
            ("message", trace::Value::Text(text)) => self.message = text,
            (name, value) => self.fields.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, trace::Value::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, trace::Value::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, trace::Value::Integer(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, whole(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, trace::Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, trace::Value::Flag(value));
    }
}
