//! A request on its way to a component that was built for HTTP, and the answer on its way back, neither of them in memory as a whole.
//!
//! The component is told of its client by `X-Forwarded-For` and `X-Forwarded-Proto`, and of its trace by `traceparent`. Headers that
//! are for one connection only (RFC 9110, 7.6.1) stay on it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use lattice_proto::envelope::TraceContext;
use lattice_proto::{ActorId, ActorName, Operation};
use tokio::time::Sleep;

use super::{Body, Gateway, Problem, holding};
use crate::replica::Broken;
use crate::telemetry::{Span, attribute, metrics};

/// How long a component has for the head of its answer.
const HEAD: Duration = Duration::from_secs(30);

/// How long a client may send nothing of a body that somebody waits for.
const SILENCE: Duration = Duration::from_secs(30);

/// Headers that are for one connection only, beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 6] =
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("proxy-connection")];

pub(super) async fn request(
    gateway: &Gateway,
    actor: &ActorName,
    client: SocketAddr,
    host: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    let (mut head, body) = request.into_parts();
    let operation = operation(&head.method);
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let trace = TraceContext::parse(text("traceparent"), text("tracestate"));
    let mut span = Span::request(trace, &ActorId::from(actor.clone()), &operation);
    span.note(attribute::HTTP_METHOD, head.method.to_string());
    span.note(attribute::URL_PATH, head.uri.path().to_owned());
    tell(&mut head.headers, client, gateway.scheme, host, &span);
    head.uri = absolute(&head.uri, gateway.scheme, host)?;
    let body = Paced::new(body, SILENCE).boxed_unsync();
    let request = Request::from_parts(head, body);
    let deadline = Instant::now() + HEAD;
    let outcome = gateway.router.request(actor, operation, request, deadline, &mut span).await;
    metrics::edges(None).count(actor, outcome.as_ref().err());
    let response = outcome.inspect_err(|fault| span.fail(fault))?;
    span.note(attribute::HTTP_STATUS, i64::from(response.status().as_u16()));
    let (mut head, body) = response.into_parts();
    strip(&mut head.headers);
    // It ends when the client has read all of it.
    Ok(Response::from_parts(head, holding(body, span)))
}

/// With its scheme and host, which a component asks for beside its path.
fn absolute(uri: &Uri, scheme: &str, host: &str) -> Result<Uri, Problem> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let whole = Uri::builder().scheme(scheme).authority(host).path_and_query(path).build();
    whole
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "malformed", "Host is no name of a host").unread())
}

/// What a request is counted as.
fn operation(method: &Method) -> Operation {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
    ];
    let name = known
        .iter()
        .find(|known| *known == method)
        .map_or("other".to_owned(), |known| known.as_str().to_lowercase());
    name.parse().expect("a word in small letters names an operation")
}

/// Takes away what is for this connection only, and tells what the component cannot see by itself.
fn tell(headers: &mut HeaderMap, client: SocketAddr, scheme: &'static str, host: &str, span: &Span) {
    strip(headers);
    // HTTP/2 says it in another place.
    if let Ok(host) = HeaderValue::from_str(host) {
        headers.insert(HOST, host);
    }
    let forwarded = HeaderName::from_static("x-forwarded-for");
    let before: Vec<&str> =
        headers.get_all(&forwarded).iter().filter_map(|value| value.to_str().ok()).collect();
    let client = client.ip().to_canonical().to_string();
    let all = before.into_iter().chain([client.as_str()]).collect::<Vec<_>>().join(", ");
    if let Ok(all) = HeaderValue::from_str(&all) {
        headers.insert(forwarded, all);
    }
    headers.insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static(scheme));
    if let Some(context) = span.scope().map(|scope| scope.context)
        && let Ok(parent) = HeaderValue::from_str(&context.parent.to_string())
    {
        headers.insert(HeaderName::from_static("traceparent"), parent);
    }
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

/// A body whose sender must go on.
struct Paced<B> {
    body: B,
    /// When there is nothing to be waited for any more; of account only while somebody waits.
    late: Pin<Box<Sleep>>,
    waits: bool,
    silence: Duration,
}

impl<B> Paced<B> {
    fn new(body: B, silence: Duration) -> Self {
        Self { body, late: Box::pin(tokio::time::sleep(silence)), waits: false, silence }
    }
}

impl<B> hyper::body::Body for Paced<B>
where
    B: hyper::body::Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(task) {
            self.waits = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| Broken(error.to_string()))));
        }
        let silence = self.silence;
        if !std::mem::replace(&mut self.waits, true) {
            self.late.as_mut().reset(tokio::time::Instant::now() + silence);
        }
        let late = self.late.as_mut().poll(task);
        late.map(|()| Some(Err(Broken(format!("nothing of the body came for {} s", silence.as_secs())))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Of which host a request is, as it is written and for finding its route; a problem where that cannot be said with certainty (RFC
/// 9112, 3.2).
pub(super) fn host<B>(request: &Request<B>) -> Result<(String, String), Problem> {
    let malformed = |message: &str| Problem::new(StatusCode::BAD_REQUEST, "malformed", message).unread();
    let mut headers = request.headers().get_all(HOST).iter();
    let header = headers.next();
    if headers.next().is_some() {
        return Err(malformed("there is more than one Host"));
    }
    let written = match (request.uri().authority(), header) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().map_err(|_| malformed("Host is no name of a host"))?,
        (None, None) => return Err(malformed("there is no Host")),
    };
    let authority: hyper::http::uri::Authority =
        written.parse().map_err(|_| malformed("Host is no name of a host"))?;
    if authority.as_str().contains('@') {
        return Err(malformed("Host is no name of a host"));
    }
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    Ok((written.to_owned(), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_is_for_one_connection_stays_on_it() {
        let mut all = headers(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("accept", "*/*"),
        ]);
        strip(&mut all);
        assert_eq!(all.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn a_client_is_told_of_behind_those_before_it() {
        let mut all =
            headers(&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "gopher"), ("host", "old")]);
        let client = "[::ffff:192.0.2.9]:1".parse().unwrap();
        let span = Span::request(None, &"a".parse().unwrap(), &"get".parse().unwrap());
        tell(&mut all, client, "https", "shop.example:80", &span);
        assert_eq!(all["x-forwarded-for"], "192.0.2.1, 192.0.2.9");
        assert_eq!(all["x-forwarded-proto"], "https");
        assert_eq!(all["host"], "shop.example:80");
    }

    #[test]
    fn a_request_has_one_host() {
        let of = |uri: &str, hosts: &[&'static str]| {
            let mut request = Request::builder().uri(uri);
            for one in hosts {
                request = request.header(HOST, *one);
            }
            host(&request.body(()).unwrap()).ok().map(|(_, name)| name)
        };
        assert_eq!(of("/", &["Shop.Example:8080"]).as_deref(), Some("shop.example"));
        assert_eq!(of("/", &["shop.example."]).as_deref(), Some("shop.example"));
        assert_eq!(of("http://a.example/", &["b.example"]).as_deref(), Some("a.example"));
        assert_eq!(of("/", &["[::1]:80"]).as_deref(), Some("[::1]"));
        for hosts in [&[][..], &["a", "b"], &["a", "a"], &["a b"], &["u@a"], &[""]] {
            assert_eq!(of("/", hosts), None, "{hosts:?}");
        }
    }

    #[tokio::test]
    async fn a_sender_that_goes_silent_is_given_up_and_a_reader_that_does_is_not() {
        const SHORT: Duration = Duration::from_millis(20);
        let (sender, frames) = futures::channel::mpsc::unbounded::<Result<Frame<Bytes>, std::io::Error>>();
        let mut body = Paced::new(http_body_util::StreamBody::new(frames), SHORT);
        sender.unbounded_send(Ok(Frame::data(Bytes::from_static(b"a")))).unwrap();
        // Nobody read meanwhile, which is not the sender's fault.
        tokio::time::sleep(3 * SHORT).await;
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
        let began = Instant::now();
        assert!(body.frame().await.unwrap().is_err());
        assert!(began.elapsed() >= SHORT);
    }

    #[test]
    fn methods_are_counted_by_a_few_names() {
        assert_eq!(operation(&Method::GET).as_str(), "get");
        assert_eq!(operation(&Method::from_bytes(b"PROPFIND").unwrap()).as_str(), "other");
    }
}
