//! Typed actors by HTTP: `POST /actors/<actor>/<operation>`, or `POST /actors/<actor>/<key>/<operation>` for a keyed one, with the
//! arguments as body and the reply as answer.
//!
//! | header | direction | means |
//! |---|---|---|
//! | `Content-Type` | in, out | `application/json` or `application/protobuf`; it must be there, so that no web page can call unasked |
//! | `Lattice-Timeout-Ms` | in | how long the client waits; 5000 when it does not say |
//! | `traceparent`, `tracestate` | in | the trace that the call belongs to |

use std::time::{Duration, Instant};

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use lattice_proto::envelope::{Aim, ContentType, TraceContext};
use lattice_proto::manifest::Ingress;
use lattice_proto::{ActorId, Fault, Operation, Ran};
use percent_encoding::percent_decode_str;
use tokio::sync::SemaphorePermit;

use super::{Body, Gateway, Problem, whole};
use crate::router::Ask;
use crate::telemetry::{Span, metrics};

/// What a client gets that does not say how long it waits.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long a body may take, however long the client waits for the answer.
const BODY: Duration = Duration::from_secs(30);

/// The longest that it may ask for.
const MAX_TIMEOUT: u64 = 86_400_000;

pub(super) async fn call(gateway: &Gateway, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return Err(Problem::method("POST").unread());
    }
    let (target, operation) = target(head.uri.path()).map_err(Problem::unread)?;
    let content_type = content_type(&head.headers).map_err(Problem::unread)?;
    let deadline = Instant::now() + timeout(&head.headers).map_err(Problem::unread)?;
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let trace = TraceContext::parse(text("traceparent"), text("tracestate"));
    let router = &gateway.router;
    router
        .opted_in(&target.name, Ingress::Http, deadline)
        .await
        .map_err(|fault| Problem::from(fault).unread())?;
    let (payload, _bodies) = gateway.read(body, router.payload_limit(&target.name), deadline).await?;

    let (name, mut span) = (target.name.clone(), Span::request(trace, &target, &operation));
    let ask = Ask {
        id: None,
        target,
        operation,
        payload,
        content_type: content_type.clone(),
        deadline,
        caller: Some(lattice_proto::id::EXTERNAL.into()),
        chain: vec![],
        trace: span.scope(),
        not_after: None,
        aim: Aim::Handle,
    };
    let outcome = router.call(ask).await;
    metrics::edges(None).count(&name, outcome.as_ref().err());
    let reply = outcome.inspect_err(|fault| span.fail(fault))?;
    let mut response = Response::new(whole(reply));
    let content_type = HeaderValue::from_str(content_type.as_str());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")));
    Ok(response)
}

/// Whom a path is for, and what it asks for.
fn target(path: &str) -> Result<(ActorId, Operation), Problem> {
    let malformed = |message: String| Problem::new(StatusCode::BAD_REQUEST, "malformed", message);
    let rest = path.strip_prefix("/actors/").unwrap_or_default();
    let parts: Result<Vec<_>, _> =
        rest.split('/').map(|part| percent_decode_str(part).decode_utf8()).collect();
    let parts = parts.map_err(|_| malformed("the path is no UTF-8".to_owned()))?;
    let (id, operation) = match &parts[..] {
        [name, operation] => (name.to_string(), operation),
        [name, key, operation] => (format!("{name}/{key}"), operation),
        _ => {
            return Err(malformed(
                "expected /actors/<actor>/<operation> or /actors/<actor>/<key>/<operation>; write `/` in a key as %2F"
                    .to_owned(),
            ));
        }
    };
    // What is in a name is checked there; a slash that was written as %2F in it would make a key.
    if parts[0].contains('/') {
        return Err(malformed("the name of an actor holds no `/`".to_owned()));
    }
    let id = id.parse().map_err(|error: lattice_proto::id::Invalid| malformed(error.to_string()))?;
    let operation =
        operation.parse().map_err(|error: lattice_proto::id::Invalid| malformed(error.to_string()))?;
    Ok((id, operation))
}

fn content_type(headers: &HeaderMap) -> Result<ContentType, Problem> {
    let given = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    // Parameters, such as a charset, say nothing that JSON does not say.
    let kind = given.map(|given| given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match kind.as_deref() {
        Some("application/json") => Ok(ContentType::Json),
        Some("application/protobuf") => Ok(ContentType::Protobuf),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "send `Content-Type: application/json`, or `application/protobuf`",
        )),
    }
}

fn timeout(headers: &HeaderMap) -> Result<Duration, Problem> {
    let Some(given) = headers.get("lattice-timeout-ms") else { return Ok(TIMEOUT) };
    let ms = given.to_str().ok().and_then(|text| text.parse().ok());
    let ms = ms.filter(|ms| (1..=MAX_TIMEOUT).contains(ms));
    ms.map(Duration::from_millis).ok_or_else(|| {
        let message = format!("Lattice-Timeout-Ms is a number from 1 to {MAX_TIMEOUT}");
        Problem::new(StatusCode::BAD_REQUEST, "malformed", message)
    })
}

impl Gateway {
    /// Reads a body of at most so many bytes, before this moment.
    async fn read(
        &self,
        body: Incoming,
        limit: usize,
        deadline: Instant,
    ) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Problem> {
        let too_large =
            |size: u64| Problem::from(Fault::TooLarge { limit: limit as u64, size, ran: Ran::No }).unread();
        let hint = body.size_hint();
        if hint.lower() > limit as u64 {
            return Err(too_large(hint.lower()));
        }
        let (mut body, mut read, mut room) = (body, BytesMut::new(), None::<SemaphorePermit<'_>>);
        let deadline = deadline.min(Instant::now() + BODY);
        loop {
            let frame = match tokio::time::timeout_at(deadline.into(), body.frame()).await {
                Ok(None) => return Ok((read.freeze(), room)),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    let message = format!("the body broke off: {error}");
                    return Err(Problem::new(StatusCode::BAD_REQUEST, "malformed", message).unread());
                }
                Err(_) => {
                    let message = "the body did not come in time";
                    return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "deadline", message).unread());
                }
            };
            let Ok(data) = frame.into_data() else { continue };
            let size = read.len() + data.len();
            if size > limit {
                return Err(too_large(size as u64));
            }
            // Room is taken as it comes: what is only announced takes none.
            let kib = size.div_ceil(1024).saturating_sub(read.len().div_ceil(1024));
            let more =
                self.bodies.try_acquire_many(u32::try_from(kib).unwrap_or(u32::MAX)).map_err(|_| {
                    Problem::from(Fault::Overloaded("the node (it reads too many large bodies)".to_owned()))
                        .unread()
                })?;
            match &mut room {
                Some(room) => room.merge(more),
                none => *none = Some(more),
            }
            read.extend_from_slice(&data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_actor_key_and_operation() {
        let parsed = |path: &str| target(path).map(|(id, operation)| (id.to_string(), operation.to_string()));
        let table = [
            ("/actors/greeter/greet", Some(("greeter", "greet"))),
            ("/actors/cart/alice/add", Some(("cart/alice", "add"))),
            ("/actors/cart/a%2Fb%20c/add", Some(("cart/a/b c", "add"))),
            ("/actors/cart/%C3%A4/add", Some(("cart/ä", "add"))),
            ("/actors/cart%2Falice/add", None),
            ("/actors/cart//add", None),
            ("/actors/greeter", None),
            ("/actors/greeter/", None),
            ("/actors//greet", None),
            ("/actors/a/b/c/d", None),
            ("/actors/cart/%FF/add", None),
            ("/actors/gre.eter/greet", None),
        ];
        for (path, wanted) in table {
            let wanted = wanted.map(|(id, operation)| (id.to_owned(), operation.to_owned()));
            assert_eq!(parsed(path).ok(), wanted, "{path}");
        }
    }

    #[test]
    fn the_type_of_a_body_must_be_said() {
        let of = |given: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.extend(given.map(|given| (CONTENT_TYPE, HeaderValue::from_static(given))));
            content_type(&headers).ok()
        };
        assert_eq!(of(Some("application/json")), Some(ContentType::Json));
        assert_eq!(of(Some("Application/JSON; charset=utf-8")), Some(ContentType::Json));
        assert_eq!(of(Some("application/protobuf")), Some(ContentType::Protobuf));
        assert_eq!((of(None), of(Some("text/plain")), of(Some(""))), (None, None, None));
    }

    #[test]
    fn a_timeout_is_a_number_within_a_day() {
        let of = |given: &'static str| {
            let headers = HeaderMap::from_iter([(
                hyper::header::HeaderName::from_static("lattice-timeout-ms"),
                HeaderValue::from_static(given),
            )]);
            timeout(&headers).ok()
        };
        assert_eq!(of("250"), Some(Duration::from_millis(250)));
        assert_eq!((of("0"), of("-1"), of("soon"), of("86400001")), (None, None, None, None));
        assert_eq!(timeout(&HeaderMap::new()).ok(), Some(TIMEOUT));
    }
}
