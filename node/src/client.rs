//! HTTP requests of actors: which of them may go, by which addresses, and over which connections. It knows nothing of guests, and
//! follows no redirection: the next request is the guest's own, and held to its manifest as the first one was.
//!
//! Rules:
//! 1. Each request is held to its actor's `grants.http`, and so is each connection. A name is resolved once for a connection; what comes
//!    of that is checked, and connected to, as it is.
//! 2. Connections are kept for the actor whose they are. So nothing that one actor may reach comes to another, and what one leaves
//!    unread holds up no other.
//! 3. There is a bound to the requests under way and to the names that are looked up, of each actor and of the node, and to the
//!    connections that are kept.

mod connect;
mod failure;
mod line;
mod resolve;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::client::legacy::{self, Builder};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lattice_proto::ActorName;
use lattice_proto::manifest::{HttpGrant, Reach, Server, ServerHost, reach};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::logs::Once;
use crate::replica::Body;
use crate::telemetry::metrics;

use connect::Connector;
pub use connect::server;
pub use failure::Failure;
use line::Lines;
use resolve::{LOOKUPS, Resolver};
use tls::Tls;

/// Requests of all actors that are under way on one node. Each has a connection, which is one of the process's open files.
const REQUESTS: usize = 2_048;

/// Those of one actor: so none can take the place of all others.
const REQUESTS_OF_ONE: usize = 512;

/// How long a connection waits for the next request. Servers wait longer, most of them for a minute, and close those that wait.
const IDLE: Duration = Duration::from_secs(30);

/// Connections of one actor to one server that wait.
const IDLE_TO_ONE: usize = 32;

/// The head of an answer, in bytes: as much as the gateway takes.
const MAX_HEAD: usize = 64 << 10;

/// What a server may send by HTTP/2 of one answer that nobody reads yet, and of all of them over one connection, in bytes.
const WINDOW: u32 = 256 << 10;
const WINDOW_OF_ALL: u32 = 1 << 20;

/// What all actors of a node share.
#[derive(Clone)]
pub struct Clients {
    room: Arc<Semaphore>,
    lookups: Arc<Semaphore>,
    lines: Lines,
    tls: Tls,
}

/// The requests of one version of an actor.
pub struct Client {
    actor: ActorName,
    grants: Arc<[HttpGrant]>,
    client: legacy::Client<Connector<Resolver>, Body>,
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
    /// Servers whose refusal was told; the others are only counted, as it is the guest that chooses them.
    told: Once,
}

/// How long is waited, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// And then for the head of the answer.
    pub head: Duration,
}

/// A place among the requests under way, given back with it.
#[derive(Debug)]
pub struct Room {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(REQUESTS)),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            lines: Lines::default(),
            tls: Tls::default(),
        }
    }
}

impl Clients {
    /// For an actor that has these grants.
    pub fn of(&self, actor: ActorName, grants: &[HttpGrant]) -> Client {
        let grants: Arc<[HttpGrant]> = grants.into();
        let connector = Connector {
            grants: grants.clone(),
            resolver: Resolver::new(self.lookups.clone()),
            lines: self.lines.clone(),
            tls: self.tls.clone(),
        };
        Client {
            actor,
            grants,
            client: builder().build(connector),
            own: Arc::new(Semaphore::new(REQUESTS_OF_ONE)),
            all: self.room.clone(),
            told: Once::default(),
        }
    }
}

fn builder() -> Builder {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_TO_ONE)
        .http1_max_buf_size(MAX_HEAD)
        .http2_max_header_list_size(MAX_HEAD as u32)
        .http2_initial_stream_window_size(WINDOW)
        .http2_initial_connection_window_size(WINDOW_OF_ALL)
        // It is there already, and the same as in the URL.
        .set_host(false);
    builder
}

impl Client {
    /// Whether a server may be asked at all, and has room for a request to it. What addresses its name has is seen when it is connected to.
    ///
    /// # Errors
    /// Why not; to be [told](Self::failed).
    pub fn admit(&self, server: &Server) -> Result<Room, Failure> {
        let reach = reach(&self.grants, server).ok_or(Failure::Denied)?;
        if let ServerHost::Address(address) = server.host
            && !reach.admits(address)
        {
            return Err(Failure::Prohibited(address));
        }
        let place = |room: &Arc<Semaphore>| room.clone().try_acquire_owned().map_err(|_| Failure::TooMany);
        Ok(Room { _own: place(&self.own)?, _all: place(&self.all)? })
    }

    /// Sends a request, whose URL is that of a server that was admitted, and waits for the head of the answer.
    ///
    /// # Errors
    /// Why there is none; to be [told](Self::failed).
    pub async fn send(
        &self,
        mut request: Request<Body>,
        patience: Patience,
    ) -> Result<Response<Incoming>, Failure> {
        let mut connection = capture_connection(&mut request);
        let mut response = self.client.request(request);
        let connected = async { connection.wait_for_connection_metadata().await.is_some() };
        let connected = tokio::time::timeout(patience.connect, connected);
        let outcome = tokio::select! {
            biased;
            outcome = &mut response => outcome,
            connected = connected => {
                connected.map_err(|_| Failure::ConnectTimeout)?;
                let head = tokio::time::timeout(patience.head, response).await;
                head.map_err(|_| Failure::ReadTimeout)?
            }
        };
        outcome.map_err(|error| Failure::of(&error))
    }

    /// Counts what was refused, and tells the operator what to do about it: once for each server, and not for ever more of them.
    pub fn failed(&self, server: &Server, failure: &Failure) {
        let actor = &self.actor;
        let (why, grant) = match failure {
            Failure::Denied => (format!("`{actor}` may not ask {server}"), format!("\"{server}\"")),
            Failure::Prohibited(address) => {
                let why =
                    format!("`{actor}` may ask {server}, but not at {address}, which is no public address");
                let grant = match &server.host {
                    // Beyond private networks an address has to be named itself.
                    ServerHost::Name(_) if Reach::Private.admits(*address) => {
                        format!("{{ url = \"{server}\", private = true }}")
                    }
                    _ => {
                        let server = Server { host: ServerHost::Address(*address), ..server.clone() };
                        format!("\"{server}\"")
                    }
                };
                (why, grant)
            }
            Failure::Outside => {
                let why = format!(
                    "`{actor}` asked {server} outside of any turn; it may while it handles a message"
                );
                return self.tell(server, failure, &why);
            }
            _ => return,
        };
        let why = format!("{why}; if it should, add {grant} to `grants.http` of `{actor}` in the manifest");
        self.tell(server, failure, &why);
    }

    fn tell(&self, server: &Server, failure: &Failure, why: &str) {
        metrics::refused(self.actor.as_str());
        if self.told.is_new(format!("{server} {failure}")) {
            tracing::warn!(actor = %self.actor, "{why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Server {
        let (scheme, authority) = url.split_once("://").unwrap();
        Server::new(scheme.parse().unwrap(), authority).unwrap()
    }

    fn client(grants: &[&str]) -> Client {
        let grants: Vec<_> =
            grants.iter().map(|url| HttpGrant::new(url.parse().unwrap(), false).unwrap()).collect();
        Clients::default().of("asker".parse().unwrap(), &grants)
    }

    #[tokio::test]
    async fn only_what_is_granted_is_admitted() {
        let client = client(&["https://a.example", "http://*:*", "http://127.0.0.1:8080"]);
        for url in ["https://a.example", "http://b.example:81", "http://127.0.0.1:8080", "http://1.1.1.1"] {
            assert!(client.admit(&server(url)).is_ok(), "{url}");
        }
        assert_eq!(client.admit(&server("https://b.example")).unwrap_err(), Failure::Denied);
        for (url, address) in [
            ("http://127.0.0.1", "127.0.0.1"),
            ("http://[::ffff:127.0.0.1]", "127.0.0.1"),
            ("http://[::1]", "::1"),
            ("http://169.254.169.254", "169.254.169.254"),
        ] {
            let wanted = Failure::Prohibited(address.parse().unwrap());
            assert_eq!(client.admit(&server(url)).unwrap_err(), wanted, "{url}");
        }
    }

    #[tokio::test]
    async fn one_actor_leaves_room_for_others() {
        let clients = Clients::default();
        let grants = [HttpGrant::new("http://*".parse().unwrap(), false).unwrap()];
        let (one, other) =
            (clients.of("one".parse().unwrap(), &grants), clients.of("other".parse().unwrap(), &grants));
        let to = server("http://a.example");
        let mut rooms: Vec<Room> = (0..REQUESTS_OF_ONE).map(|_| one.admit(&to).unwrap()).collect();
        assert_eq!(one.admit(&to).unwrap_err(), Failure::TooMany);
        assert!(other.admit(&to).is_ok());
        rooms.pop();
        assert!(one.admit(&to).is_ok());
    }
}
