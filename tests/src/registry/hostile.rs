//! A registry that lies, in a way that the name of each repository says.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lattice_proto::Digest;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

type Body = BoxBody<Bytes, Infallible>;

/// What is sent at once of what has no end.
const CHUNK: usize = 64 << 10;

/// A server that runs until it is dropped.
pub struct Hostile {
    /// Host and port.
    pub address: String,
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

struct Shared {
    component: Bytes,
    /// Where the repository `greedy` wants credentials to be sent, and others what they have to be looked for.
    elsewhere: String,
    /// Where the repository `led` has its layers, for whoever shows the registry a token.
    beside: String,
    address: String,
    blobs: AtomicU64,
    sent: AtomicU64,
}

impl Hostile {
    /// One that has this component, would have credentials sent to one server, and leads to both.
    pub async fn start(component: Vec<u8>, elsewhere: &str, beside: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            component: component.into(),
            elsewhere: elsewhere.to_owned(),
            beside: beside.to_owned(),
            address: address.clone(),
            blobs: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        });
        let accepting = accept(listener, shared.clone());
        Self { address, shared, _task: AbortOnDropHandle::new(tokio::spawn(accepting)) }
    }

    /// How often the bytes of a layer were asked for.
    pub fn blobs(&self) -> u64 {
        self.shared.blobs.load(Ordering::SeqCst)
    }

    /// How many bytes it has sent of what has no end.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let shared = shared.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let shared = shared.clone();
            async move { Ok::<_, Infallible>(shared.answer(&request)) }
        });
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

impl Shared {
    fn answer(self: &Arc<Self>, request: &Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let known = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if path == "/token" {
            // `ada:secret`
            return match known {
                Some("Basic YWRhOnNlY3JldA==") => text(StatusCode::OK, r#"{"access_token":"good"}"#),
                _ => text(StatusCode::UNAUTHORIZED, ""),
            };
        }
        if path == "/odd-token" {
            return text(StatusCode::OK, r#"{"token":"a\r\nb: c"}"#);
        }
        let mut parts = path.trim_start_matches("/v2/").splitn(3, '/');
        let (lie, what) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let realm = match lie {
            "bearer" | "led" if known != Some("Bearer good") => format!("http://{}/token", self.address),
            "odd-token" => format!("http://{}/odd-token", self.address),
            "greedy" => format!("http://{}/token", self.elsewhere),
            "greedy-inside" => format!("https://{}/token", self.elsewhere),
            _ => String::new(),
        };
        if !realm.is_empty() {
            let mut answer = text(StatusCode::UNAUTHORIZED, "");
            let challenge =
                format!("Bearer realm=\"{realm}\",service=\"tests\",scope=\"repository:{lie}:pull\"");
            answer.headers_mut().insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
            return answer;
        }
        match what {
            "manifests" => self.manifest(lie),
            "blobs" => {
                self.blobs.fetch_add(1, Ordering::SeqCst);
                self.blob(lie)
            }
            _ => text(StatusCode::NOT_FOUND, ""),
        }
    }

    fn manifest(self: &Arc<Self>, lie: &str) -> Response<Body> {
        let digest = Digest::of(&self.component);
        let size = match lie {
            "huge" => 500 << 20,
            "endless" => 1 << 20,
            _ => self.component.len(),
        };
        let layer = |size: usize| json!({ "mediaType": "application/wasm", "digest": digest, "size": size });
        // What is the lattice's already would not be asked for.
        let unknown = |size: usize| json!({ "mediaType": "application/wasm", "digest": Digest::of(lie.as_bytes()), "size": size });
        let layers = match lie {
            "honest" | "bearer" | "other-manifest" => vec![layer(size)],
            "two" => vec![layer(size), layer(size)],
            "picture" => vec![json!({ "mediaType": "image/png", "digest": digest, "size": 1 })],
            "endless-manifest" => return self.endless(),
            _ => vec![unknown(size)],
        };
        text(StatusCode::OK, &json!({ "schemaVersion": 2, "layers": layers }).to_string())
    }

    fn blob(self: &Arc<Self>, lie: &str) -> Response<Body> {
        match lie {
            "honest" | "bearer" => whole(self.component.clone()),
            "endless" => self.endless(),
            "astray" => led("http://169.254.169.254/latest"),
            "inside" => led(&format!("https://{}/layer", self.elsewhere)),
            "led" => led(&format!("http://{}/hello", self.beside)),
            "circle" => led(&format!("/v2/circle/blobs/{}", Digest::of(b"circle"))),
            // As many bytes as it said, and others.
            _ => whole(vec![0; self.component.len()].into()),
        }
    }

    fn endless(self: &Arc<Self>) -> Response<Body> {
        let shared = self.clone();
        body(stream::repeat_with(move || {
            shared.sent.fetch_add(CHUNK as u64, Ordering::SeqCst);
            Ok(Frame::data(vec![b' '; CHUNK].into()))
        }))
    }
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut answer = whole(text.to_owned().into());
    *answer.status_mut() = status;
    answer
}

fn led(place: &str) -> Response<Body> {
    let mut answer = text(StatusCode::TEMPORARY_REDIRECT, "");
    answer.headers_mut().insert(LOCATION, place.parse().unwrap());
    answer
}

fn whole(bytes: Bytes) -> Response<Body> {
    Response::new(Full::new(bytes).boxed())
}

fn body(
    frames: impl stream::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Sync + 'static,
) -> Response<Body> {
    Response::new(BodyExt::boxed(StreamBody::new(frames)))
}
