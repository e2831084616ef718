//! The admin API: gRPC, reflection, health and `/healthz` on one port. A thin translation; it decides nothing.

mod drain;
mod error;
mod events;
mod history;
mod nodes;
mod operation;
mod page;
mod service;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::routing::get;
use lattice_proto::admin::{self, admin_server::AdminServer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::artifact::Artifacts;
use crate::controller::{Declarations, NodeOrders, Observer};
use crate::events::Archive;
use crate::router::Router;
use crate::telemetry::Counters;

/// The largest gRPC message: the largest payload that a manifest may ask for, and some room.
const MAX_MESSAGE: usize = 65 << 20;

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
    /// For what happened.
    pub archive: Archive,
    /// For their counts.
    pub counters: Counters,
}

/// The port, taken before anything else is started.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Takes the port.
    ///
    /// # Errors
    /// When somebody else has it.
    pub async fn bind(address: &str) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
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
        let service = AdminServer::new(service::Service::new(Arc::new(parts)))
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let grpc = Routes::new(service)
            .add_service(reflection)
            .add_service(reflection_alpha)
            .add_service(health_service);
        let app = grpc.into_axum_router().route("/healthz", get(async || "ok\n"));
        let served = axum::serve(self.listener, app).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the admin API stopped");
        }
        Ok(())
    }
}
