//! HTTP from outside: one port on each node that is told to have one, by which clients reach what runs anywhere in the lattice.
//!
//! | request | goes to |
//! |---|---|
//! | `POST /actors/<actor>/<operation>`, `POST /actors/<actor>/<key>/<operation>` | an actor that opts in by `ingress = ["http"]` ([`typed`]) |
//! | any other | the component that was built for HTTP and has its route by `http = { host, path, methods }` ([`forward`]) |
//!
//! Rules:
//! 1. Nothing that a client sends is trusted before it is parsed: heads are bounded in size and time, bodies in size, time and in what
//!    all of them take together.
//! 2. Each request is answered, if only by why it is not served, and each answer that is none of the actor's own says so in one
//!    shape ([`answer`]).
//! 3. A node that stops takes no new connections, tells those it has that they end, and finishes what runs.

mod answer;
mod forward;
mod readers;
mod routes;
mod typed;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use lattice_proto::Fault;
use lattice_proto::manifest::{Found, HttpRoutes};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::causes;
use crate::config;
use crate::controller::Observer;
use crate::port;
use crate::router::Router;

use answer::Problem;
use readers::Readers;

/// Connections at once; beyond that the one over which nothing went for the longest time makes room.
const CONNECTIONS: usize = 8_192;

/// Requests that this node handles at once; more are told to come back.
const AT_ONCE: usize = 4_096;

/// What bodies that are read as a whole may take together, in KiB.
const BODIES: usize = 256 << 10;

/// How long the head of a request may take, and how long a connection may wait for its next one.
const HEAD: Duration = Duration::from_secs(30);

/// The largest head, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// Requests at once over one connection of HTTP/2.
const STREAMS: u32 = 256;

/// How often a silent connection of HTTP/2 is asked whether it is there.
const PING: Duration = Duration::from_secs(30);

/// How long what runs may take once the node stops. Less than the node itself waits.
const LAST: Duration = Duration::from_secs(9);

/// Why the gateway cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or is none.
    #[error(
        "cannot listen on {address} for HTTP: {source}; choose another with --http (port 0 takes a free one)"
    )]
    Listen {
        /// As given.
        address: String,
        /// From the system.
        source: std::io::Error,
    },
    /// A certificate or key is of no use.
    #[error(transparent)]
    Tls(#[from] port::Error),
}

/// What each answer is made of.
type Body = crate::replica::Body;

/// An answer of which all is there.
fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The same body, which keeps something for as long as somebody reads it.
fn holding<T: Send + 'static>(body: Body, held: T) -> Body {
    let keep = move |broken| {
        let _ = &held;
        broken
    };
    body.map_err(keep).boxed_unsync()
}

/// The port, taken before anything is served.
pub struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    identity: Option<port::Identity>,
}

/// What requests are served with.
struct Gateway {
    router: Router,
    /// None until they were read for the first time.
    routes: watch::Receiver<Option<Arc<HttpRoutes>>>,
    scheme: &'static str,
    room: Arc<Semaphore>,
    bodies: Semaphore,
}

impl Listener {
    /// Takes the port.
    ///
    /// # Errors
    /// When somebody else has it, or a file is of no use.
    pub async fn bind(config: &config::Http) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address: config.listen.clone(), source };
        let identity = match &config.tls {
            Some(files) => Some(port::Identity::read(files, CONNECTIONS).await?),
            None => None,
        };
        let tcp = TcpListener::bind(&config.listen).await.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        Ok(Self { tcp, address, identity })
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        let scheme = if self.identity.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Serves until told to stop, and then finishes what runs.
    pub async fn serve(self, router: Router, observer: Observer, stop: CancellationToken) {
        let (known, routes) = watch::channel(None);
        let _routes = AbortOnDropHandle::new(tokio::spawn(routes::follow(observer, known)));
        let gateway = Arc::new(Gateway {
            router,
            routes,
            scheme: if self.identity.is_some() { "https" } else { "http" },
            room: Arc::new(Semaphore::new(AT_ONCE)),
            bodies: Semaphore::new(BODIES),
        });
        match self.identity {
            Some(identity) => {
                let listener = identity.listen(self.tcp);
                tokio::select! {
                    () = accept(listener, gateway, stop) => {}
                    // It reads the files for as long as it is let.
                    () = identity.follow() => {}
                }
            }
            None => {
                let connections = port::Connections::new(None, CONNECTIONS);
                accept(port::Listener { port: self.tcp, connections }, gateway, stop).await;
            }
        }
    }
}

/// Takes connections until told to stop, and serves each in a task of its own.
async fn accept<L>(mut listener: L, gateway: Arc<Gateway>, stop: CancellationToken)
where
    L: axum::serve::Listener<Addr = SocketAddr>,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING);
    let (builder, open) = (Arc::new(builder), GracefulShutdown::new());
    loop {
        let (io, client) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (builder, gateway, watcher) = (builder.clone(), gateway.clone(), open.watcher());
        tokio::spawn(async move {
            let readers = Readers::default();
            let service = service_fn(|request| serve(gateway.clone(), readers.clone(), client, request));
            let connection = builder.serve_connection(TokioIo::new(io), service);
            // Anybody can cause these, so they are no more than a detail.
            tokio::select! {
                ended = watcher.watch(connection) => if let Err(error) = ended {
                    tracing::debug!(%client, error = %causes::full(&*error), "an HTTP connection broke");
                },
                () = readers.stall() => {
                    tracing::debug!(%client, "an HTTP connection ends: its client does not read what it asked for");
                }
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(LAST, open.shutdown()).await.is_err() {
        tracing::warn!("not every HTTP request was answered in time; stopping all the same");
    }
}

async fn serve(
    gateway: Arc<Gateway>,
    readers: Readers,
    client: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let began = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = match gateway.room.clone().try_acquire_owned() {
        Ok(room) => {
            let outcome = gateway.route(client, request).await;
            let response = outcome.unwrap_or_else(|problem| problem.into_response(&method));
            // It has its place until the client has read the answer.
            response.map(|body| readers.reads(body, room))
        }
        Err(_) => Problem::from(Fault::Overloaded("the node".to_owned())).unread().into_response(&method),
    };
    tracing::info!(
        target: "access",
        %client, %method, %path, status = response.status().as_u16(), took_us = began.elapsed().as_micros(),
    );
    Ok(response)
}

impl Gateway {
    async fn route(&self, client: SocketAddr, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
        let (host, name) = forward::host(&request)?;
        let path = request.uri().path();
        if path.starts_with("/actors/") {
            return typed::call(self, request).await;
        }
        let Some(routes) = self.routes.borrow().clone() else {
            let message =
                "the routes of this lattice are not known here yet, as NATS cannot be reached; try again";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).unread());
        };
        match routes.find(&name, path, request.method().as_str()) {
            Found::Actor(actor) => forward::request(self, actor, client, &host, request).await,
            Found::Method(methods) => {
                Err(Problem::method(&methods.into_iter().collect::<Vec<_>>().join(", ")).unread())
            }
            Found::Nobody => Err(Problem::new(
                StatusCode::NOT_FOUND,
                "no-route",
                format!("no app answers at {name}{path}; typed actors answer at /actors/<actor>/<operation>"),
            )
            .unread()),
        }
    }
}
