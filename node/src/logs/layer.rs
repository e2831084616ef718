//! Takes in what is told by `tracing`: into the rings, and to OTLP. It never writes a line of its own, which would come back.

use std::fmt::{self, Write};

use lattice_proto::log::{Level, Line, MAX_TARGET, MAX_TEXT, cut, plain};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Context;

use super::guest::LEFT_OUT;
use super::{Otlp, Store};

/// The target of what guests say.
const GUEST: &str = "guest";

/// Where lines go.
pub struct Layer {
    store: Store,
    otlp: Option<Otlp>,
}

impl Layer {
    /// Into this store, and to whoever takes them by OTLP.
    pub fn new(store: Store, otlp: Option<Otlp>) -> Self {
        Self { store, otlp }
    }
}

/// Which lines are kept, whatever the terminal shows: all of guests, whose own level decides, and what nodes tell operators.
pub fn filter() -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("lattice_node", LevelFilter::INFO)
        .with_target(GUEST, LevelFilter::TRACE)
        // What exports lines must not make some.
        .with_target("opentelemetry", LevelFilter::OFF)
        .with_target("opentelemetry_sdk", LevelFilter::OFF)
        .with_target("opentelemetry_otlp", LevelFilter::OFF)
        .with_target("opentelemetry-otlp", LevelFilter::OFF)
        .with_target("h2", LevelFilter::OFF)
        .with_target("hyper", LevelFilter::OFF)
        .with_target("hyper_util", LevelFilter::OFF)
        .with_target("tonic", LevelFilter::OFF)
        .with_target("tower", LevelFilter::OFF)
        .with_target("rustls", LevelFilter::OFF)
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = event.metadata().target();
        let mut said =
            Said { line: Line { by_node: target != GUEST, ..Line::default() }, more: String::new() };
        event.record(&mut said);
        let Said { mut line, more } = said;
        line.level = level(*event.metadata().level());
        if line.by_node {
            line.target = target.to_owned();
        }
        line.text.push_str(&more);
        // A guest's words are bounded and plain already; a node's may hold a guest's, as a backtrace does.
        if line.by_node {
            line.text = cut(&plain(cut(&line.text, MAX_TEXT)), MAX_TEXT).to_owned();
        }
        line.target.truncate(MAX_TARGET);
        // What guests make a node say is bounded like what they say themselves; that something was left out is said in any case.
        let is_bounded = line.by_node && target != LEFT_OUT;
        if is_bounded && !self.store.admits_about(line.actor.as_ref(), line.text.len()) {
            return;
        }
        if let Some(otlp) = &self.otlp {
            otlp.tell(&line);
        }
        self.store.keep(line);
    }
}

fn level(level: tracing::Level) -> Level {
    match level {
        tracing::Level::TRACE => Level::Trace,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::INFO => Level::Info,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::ERROR => Level::Error,
    }
}

/// An event on its way to be a line.
struct Said {
    line: Line,
    /// Fields that a line has no place of its own for.
    more: String,
}

impl Said {
    fn field(&mut self, field: &Field, value: &str) {
        let line = &mut self.line;
        match field.name() {
            "message" => value.clone_into(&mut line.text),
            // `name`, or `name/key` where whoever tells of it knows the key.
            "actor" => match value.split_once('/') {
                Some((name, key)) => {
                    line.actor = name.parse().ok();
                    line.key = Some(key.into());
                }
                None => line.actor = value.parse().ok(),
            },
            "key" => line.key = Some(value.into()),
            "trace" => line.trace = value.parse().ok(),
            "module" if !line.by_node => value.clone_into(&mut line.target),
            // A backtrace has lines of its own.
            "detail" => {
                self.more.push('\n');
                self.more.push_str(value);
            }
            // Others write these for their own use.
            name if name.starts_with("log.") => {}
            name => {
                // It is a `String`.
                let _ = write!(self.more, " {name}={value}");
            }
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "version" => self.line.version = value,
            _ => self.field(field, &value.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use lattice_proto::log::Query;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn lines(store: &Store, actor: Option<&str>) -> Vec<Line> {
        let query = Query { actor: actor.map(|actor| actor.parse().unwrap()), ..Query::default() };
        store.find(&query, 10, 1 << 20).lines.iter().map(|line| (**line).clone()).collect()
    }

    #[test]
    fn an_event_becomes_a_line_of_the_actor_that_it_is_about() {
        let store = Store::default();
        let layer = tracing_subscriber::registry().with(Layer::new(store.clone(), None));
        tracing::subscriber::with_default(layer, || {
            let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            tracing::warn!(actor = %"cart/alice", version = 3_u64, trace, detail = ?["a\u{1b}"], reason = "why", "it trapped");
            tracing::info!(target: "guest", actor = "cart", key = "bob", module = "cart::add", "hello");
            tracing::info!(count = 2, "of the node");
        });
        let [trapped, hello] = &lines(&store, Some("cart"))[..] else { panic!("two lines") };
        assert_eq!((trapped.key.as_deref(), trapped.version, trapped.by_node), (Some("alice"), 3, true));
        assert_eq!(trapped.text, "it trapped\n[\"a\\u{1b}\"] reason=why");
        assert!(trapped.trace.is_some() && trapped.level == Level::Warn);
        assert_eq!(
            (hello.text.as_str(), hello.target.as_str(), hello.by_node),
            ("hello", "cart::add", false)
        );
        assert_eq!(hello.key.as_deref(), Some("bob"));
        assert_eq!(lines(&store, None)[0].text, "of the node count=2");
    }
}
