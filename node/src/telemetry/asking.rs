//! The span of an HTTP request that a guest makes, as the conventions for HTTP clients have it.

use lattice_proto::manifest::Server;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use super::attribute;
use super::recorder::Recorder;
use super::span::{Name, Scope, Span};

/// Methods that the standard names; others are no names of spans, as guests make them up.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// The method as it is counted.
pub fn method(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or("_OTHER")
}

impl Span {
    /// A request to a server. What is asked for beyond the path may be a secret, and is not told.
    pub fn asks(parent: Option<Scope>, method: &'static str, server: &Server, path: &str) -> Self {
        let name = Name::Step(if method == "_OTHER" { "HTTP" } else { method });
        let opened = match Recorder::get() {
            Some(recorder) => recorder.open(parent.as_ref(), SpanKind::Client, name, None),
            None => return Self { live: None, parent },
        };
        match opened {
            Ok(mut live) => {
                live.extra().attributes.extend([
                    KeyValue::new(attribute::HTTP_METHOD, method),
                    KeyValue::new(attribute::SERVER_ADDRESS, server.host.to_string()),
                    KeyValue::new(attribute::SERVER_PORT, i64::from(server.port)),
                    KeyValue::new(attribute::URL_FULL, format!("{server}{path}")),
                ]);
                Self { live: Some(live), parent: None }
            }
            Err(passed_on) => Self { live: None, parent: Some(passed_on) },
        }
    }

    /// The server answered. That it said no is its answer, and no reason to keep the trace.
    pub fn is_answered(&mut self, status: u16) {
        self.note(attribute::HTTP_STATUS, i64::from(status));
        if let Some(live) = self.live.as_mut().filter(|_| status >= 400) {
            let extra = live.extra();
            extra.attributes.push(KeyValue::new(attribute::ERROR_TYPE, status.to_string()));
            extra.error = Some(format!("the server answered {status}"));
            extra.rejected = true;
        }
    }

    /// There is no answer, or not all of it.
    pub fn breaks(&mut self, kind: &'static str, reason: String) {
        if let Some(live) = &mut self.live {
            let extra = live.extra();
            extra.attributes.retain(|known| known.key.as_str() != attribute::ERROR_TYPE);
            extra.attributes.push(KeyValue::new(attribute::ERROR_TYPE, kind));
            extra.error = Some(reason);
            extra.rejected = false;
        }
    }
}
