//! A real HTTP server on loopback, for guests to ask. It does what the path says, and remembers who came.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

type Body = BoxBody<Bytes, Infallible>;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// With the query.
    pub path: String,
    /// All of them.
    pub headers: HeaderMap,
    /// How it came.
    pub version: Version,
    /// By which connection, counted from 1.
    pub connection: usize,
}

/// A server that runs until it is dropped.
pub struct Upstream {
    /// Where it is.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
}

impl Upstream {
    /// In the clear.
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// By TLS.
    pub async fn start_secure(tls: TlsAcceptor) -> Self {
        Self::listen(Some(tls)).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let accepting = accept(listener, tls, shared.clone());
        Self { address, shared, _task: AbortOnDropHandle::new(tokio::spawn(accepting)) }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What came so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let (shared, tls) = (shared.clone(), tls.clone());
        connections.spawn(async move {
            match tls {
                None => serve(stream, number, shared).await,
                Some(tls) => {
                    // Whoever does not trust it goes away.
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, number, shared).await;
                    }
                }
            }
        });
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: usize,
    shared: Arc<Shared>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Seen {
            path: request.uri().path_and_query().unwrap().to_string(),
            headers: request.headers().clone(),
            version: request.version(),
            connection,
        };
        shared.seen.lock().unwrap().push(seen);
        async { Ok::<_, Infallible>(answer(request).await) }
    });
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    match request.uri().path() {
        "/hello" => text("hello"),
        "/status" => status(query.split('&').next().unwrap().parse().unwrap()),
        "/redirect" => {
            let mut response = status(302);
            response.headers_mut().insert("location", "/hello".parse().unwrap());
            response
        }
        // How much was sent.
        "/count" => {
            let mut body = request.into_body();
            let mut count = 0;
            while let Some(Ok(frame)) = body.frame().await {
                count += frame.data_ref().map_or(0, Bytes::len);
            }
            text(&count.to_string())
        }
        // So many bytes.
        "/flood" => {
            let part = Bytes::from_static(&[b'f'; 64 << 10]);
            let parts = stream::iter(0..query.parse::<usize>().unwrap() / part.len());
            Response::new(BodyExt::boxed(StreamBody::new(parts.map(move |_| Ok(Frame::data(part.clone()))))))
        }
        "/never" => std::future::pending().await,
        // A part, and never the rest.
        "/half" => {
            let half = stream::iter([Ok(Frame::data(Bytes::from_static(b"half")))]);
            Response::new(BodyExt::boxed(StreamBody::new(half.chain(stream::pending()))))
        }
        _ => status(404),
    }
}

fn text(text: &str) -> Response<Body> {
    Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed())
}

fn status(status: u16) -> Response<Body> {
    let mut response = text("");
    *response.status_mut() = status.try_into().unwrap();
    response
}
