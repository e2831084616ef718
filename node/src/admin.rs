//! The admin API: gRPC, reflection, health and `/healthz` on one port. A thin translation; it decides nothing but who
//! may ask.

mod access;
mod drain;
mod error;
mod events;
mod history;
mod keys;
mod letters;
mod logs;
mod nodes;
mod operation;
mod page;
mod pictures;
mod service;
mod taps;
mod tokens;
mod topics;
mod web;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lattice_proto::admin::{self, admin_server::AdminServer};
use lattice_proto::{LatticeId, NodeName};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::artifact::Artifacts;
use crate::bus::Mail;
use crate::config;
use crate::controller::{Declarations, NodeOrders, Observer};
use crate::events::{Archive, Events};
use crate::keyed::{Letters, Owners, Store};
use crate::port;
use crate::router::Router;
use crate::survey::Surveyor;
use crate::telemetry::{Counters, metrics};
use crate::topics::Publisher;

/// The largest gRPC message: the largest payload that a manifest may ask for, and some room.
const MAX_MESSAGE: usize = 65 << 20;

/// More than the operators of one node open.
const CONNECTIONS: usize = 1_024;

/// Why the admin API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or is none.
    #[error(
        "cannot listen on {address} for the admin API: {source}; choose another with --listen (port 0 takes a free one)"
    )]
    Listen {
        /// As given.
        address: String,
        /// From the system.
        source: std::io::Error,
    },
    /// Others could reach it, and nothing keeps them out.
    #[error(transparent)]
    Exposed(#[from] config::Error),
    /// A certificate or key is of no use.
    #[error(transparent)]
    Tls(#[from] port::Error),
    /// The tokens file is of no use.
    #[error(transparent)]
    Tokens(#[from] tokens::Error),
    /// The descriptors are damaged.
    #[error("cannot serve reflection: {0}")]
    Reflection(String),
}

/// What the service translates onto.
#[derive(Clone)]
pub struct Parts {
    /// For calls.
    pub router: Router,
    /// For writes.
    pub declarations: Declarations,
    /// For what is wanted of nodes.
    pub nodes: NodeOrders,
    /// For reads.
    pub observer: Observer,
    /// For uploads.
    pub artifacts: Artifacts,
    /// For messages that nobody waits for.
    pub letters: Letters,
    /// For messages to whoever subscribes, and for what waits for those.
    pub topics: (Publisher, Mail),
    /// For what keys keep.
    pub store: Store,
    /// For whom they belong to.
    pub owners: Owners,
    /// For what operators do to them.
    pub events: Events,
    /// For what happened.
    pub archive: Archive,
    /// For their counts.
    pub counters: Counters,
    /// For what is written.
    pub lines: crate::logs::Reader,
    /// For messages as they are handled.
    pub taps: crate::tap::Reader,
    /// For calls that failed or were slow.
    pub traces: crate::traces::Reader,
    /// For the lattice as a whole.
    pub surveyor: Surveyor,
    /// For what is measured, and whose it is.
    pub page: metrics::Page,
    /// Whose it is: the node's name, and the lattice.
    pub names: (NodeName, LatticeId),
    /// Ends what would go on.
    pub stop: CancellationToken,
}

/// The port, taken before anything else is started, and who gets in by it.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    identity: Option<port::Identity>,
    tokens: Option<tokens::File>,
}

impl Listener {
    /// Takes the port.
    ///
    /// # Errors
    /// When somebody else has it, when it would let anyone in, and when a file that should prevent that is of no use.
    pub async fn bind(address: &str, admin: &config::Admin) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address: address.to_owned(), source };
        // A name may stand for several addresses; what is looked at here is what is taken below.
        let addresses: Vec<_> = tokio::net::lookup_host(address).await.map_err(failed)?.collect();
        for address in &addresses {
            admin.permits(*address)?;
        }
        let identity = match &admin.tls {
            Some(files) => Some(port::Identity::read(files, CONNECTIONS).await?),
            None => None,
        };
        let tokens = match &admin.tokens {
            Some(file) => Some(tokens::File::read(file).await?),
            None => None,
        };
        let listener = TcpListener::bind(&addresses[..]).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, identity, tokens })
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        let scheme = if self.identity.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Serves until told to stop, then finishes the requests that run.
    ///
    /// # Errors
    /// When the descriptors for reflection are damaged.
    pub async fn serve(self, parts: Parts, stop: CancellationToken) -> Result<(), Error> {
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(admin::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|error| Error::Reflection(error.to_string()))?;
        // Clients of the older reflection protocol are still the most common ones.
        let reflection_alpha = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(admin::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1alpha()
            .map_err(|error| Error::Reflection(error.to_string()))?;
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<AdminServer<service::Service>>().await;
        let (page, names) = (parts.page.clone(), parts.names.clone());
        let web = web::Web {
            surveyor: parts.surveyor.clone(),
            archive: parts.archive.clone(),
            lines: parts.lines.clone(),
            traces: parts.traces.clone(),
            node: names.0.clone(),
            tokens: self.tokens.as_ref().map(tokens::File::tokens),
            secure: self.identity.is_some(),
            open: Arc::new(Semaphore::new(web::OPEN)),
            room: Arc::new(Semaphore::new(web::MADE)),
            rendered: web::Rendered::default(),
            stop: parts.stop.clone(),
        };
        let measures = Measured { page, names, room: Arc::new(Semaphore::new(READ_METRICS)) };
        let service = AdminServer::new(service::Service::new(Arc::new(parts)))
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let grpc = Routes::new(service)
            .add_service(reflection)
            .add_service(reflection_alpha)
            .add_service(health_service);
        // Nothing else tells a page that its owner's name led here from one of this node's own.
        let is_open = self.tokens.is_none() && self.identity.is_none();
        let is_own = is_open && self.address.ip().to_canonical().is_loopback();
        let mut app = grpc.into_axum_router().route("/healthz", get(async || "ok\n"));
        app = app.route("/metrics", get(measured).with_state(measures));
        app = app.fallback(access::unserved);
        // These end with this function, and the files are no longer read.
        let mut followed = JoinSet::new();
        if let Some(tokens) = self.tokens {
            app = app.layer(from_fn_with_state(tokens.tokens(), access::guard));
            followed.spawn(tokens.follow());
        }
        // The page sees to itself who may see it.
        app = app.merge(web::routes(web)).layer(from_fn(access::from_elsewhere));
        if is_own {
            app = app.layer(from_fn(access::by_another_name));
        }
        match self.identity {
            Some(identity) => {
                let listener = identity.listen(self.listener);
                followed.spawn(identity.follow());
                run(listener, app, stop).await;
            }
            None => {
                let connections = port::Connections::new(None, CONNECTIONS);
                run(port::Listener { port: self.listener, connections }, app, stop).await;
            }
        }
        Ok(())
    }
}

/// Those who may read the page of metrics at once. Each takes a thread for milliseconds.
const READ_METRICS: usize = 4;

/// What the page of metrics is made of.
#[derive(Clone)]
struct Measured {
    page: metrics::Page,
    names: (NodeName, LatticeId),
    room: Arc<Semaphore>,
}

/// What this node measures, as Prometheus reads it.
async fn measured(State(Measured { page, names, room }): State<Measured>) -> Response {
    let Ok(_room) = room.try_acquire() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many read this page at once; try again")
            .into_response();
    };
    let (node, lattice) = (names.0.to_string(), names.1.to_string());
    // It looks at everything that runs here, which is not to hold up others on this thread.
    let labels = move || page.render(&[("lattice_node", &node), ("lattice_id", &lattice)]);
    match tokio::task::spawn_blocking(labels).await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Ok(Err(problem)) => (StatusCode::INTERNAL_SERVER_ERROR, problem).into_response(),
        Err(problem) => (StatusCode::INTERNAL_SERVER_ERROR, problem.to_string()).into_response(),
    }
}

async fn run<L>(listener: L, app: axum::Router, stop: CancellationToken)
where
    L: axum::serve::Listener<Addr = SocketAddr>,
{
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin API stopped");
    }
}
