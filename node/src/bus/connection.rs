//! One connection to NATS: its state, requests, publications and subscriptions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::watch;

use super::{Arrived, Error, Headers, Options};
use crate::causes::full;
use crate::telemetry::metrics;

/// The oldest server that has everything the design relies on.
const MINIMUM: (semver_lite::Version, &str) = (semver_lite::Version(2, 14, 0), "2.14");

/// How often what is not there yet is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(250);

/// How long JetStream may take to come up after the server itself before that is worth a word.
const JETSTREAM_START: Duration = Duration::from_secs(3);

/// Whether a connection is up, and the how-many-eth it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Whether it is up now.
    pub up: bool,
    /// Counts the times it came up.
    pub generation: u64,
    /// When it came up last.
    pub since: Option<Instant>,
}

/// Why a request got no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no connection; nothing was sent.
    #[error("not connected to NATS")]
    NotConnected,
    /// Nobody listens on that subject; nobody got it.
    #[error("nobody listens there")]
    NoResponders,
    /// Larger than the server takes; nothing was sent.
    #[error("{size} bytes are over the NATS server's limit of {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: usize,
        /// In bytes.
        size: usize,
    },
    /// No reply in time; somebody may have got it.
    #[error("no reply in time")]
    TimedOut,
    /// The connection broke; somebody may have got it.
    #[error("the connection to NATS broke")]
    Broken,
}

/// A cheap handle on one connection. Before it is open it is like one that is down.
#[derive(Clone)]
pub struct Connection {
    /// Empty until a server was reached and found good enough. From then on the client reconnects by itself.
    open: Arc<OnceLock<Open>>,
    link: watch::Receiver<Link>,
}

struct Open {
    client: async_nats::Client,
    jetstream: jetstream::Context,
}

/// A connection that is still to be made.
pub(super) struct Opening {
    open: Arc<OnceLock<Open>>,
    state: Arc<watch::Sender<Link>>,
    role: &'static str,
}

impl Opening {
    /// Connects, however long it takes, and checks what it connected to.
    ///
    /// # Errors
    /// When waiting cannot help.
    pub async fn open(&self, options: &Options, waiting: &mut impl FnMut(&str)) -> Result<(), Error> {
        let mut last = String::new();
        let client = loop {
            let connect = connect_options(options, self.role, self.state.clone()).await?;
            match connect.connect(&options.servers).await {
                Ok(client) => break client,
                Err(error) => {
                    use async_nats::ConnectErrorKind as Kind;
                    match error.kind() {
                        Kind::Authentication | Kind::AuthorizationViolation => {
                            return Err(Error::Refused(format!("{}; check --nats-creds", full(&error))));
                        }
                        Kind::ServerParse | Kind::Tls => return Err(Error::Options(full(&error))),
                        _ => {}
                    }
                    let reason = full(&error);
                    if reason != last {
                        waiting(&reason);
                        last = reason;
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        };
        let info = client.server_info();
        if semver_lite::parse(&info.version).is_none_or(|version| version < MINIMUM.0) {
            return Err(Error::TooOld { found: info.version.clone(), minimum: MINIMUM.1 });
        }
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(Duration::from_secs(5));
        wait_for_jetstream(&jetstream, waiting).await?;
        // It may be down again by now; then the client's next word is that it is up.
        let up = is_connected(&client);
        // Nobody else opens it.
        let _ = self.open.set(Open { client, jetstream });
        self.state.send_modify(|link| {
            link.up = up;
            link.generation = link.generation.max(1);
            link.since.get_or_insert_with(Instant::now);
        });
        Ok(())
    }
}

/// A server that has just started answers before its JetStream does, and a cluster may have to elect first.
async fn wait_for_jetstream(
    jetstream: &jetstream::Context,
    waiting: &mut impl FnMut(&str),
) -> Result<(), Error> {
    let started = tokio::time::Instant::now();
    let mut told = false;
    loop {
        match jetstream.query_account().await {
            Ok(_) => return Ok(()),
            // The server's own word that JetStream is off needs no waiting.
            Err(error) if is_off(&error) => return Err(Error::NoJetStream(full(&error))),
            Err(error) if !told && started.elapsed() > JETSTREAM_START => {
                waiting(&format!("it answers, and its JetStream does not yet: {}", full(&error)));
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn is_off(error: &jetstream::context::AccountError) -> bool {
    use jetstream::ErrorCode;
    let off = [ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT];
    matches!(error.kind(), jetstream::context::AccountErrorKind::JetStream(error) if off.contains(&error.error_code()))
}

fn is_connected(client: &async_nats::Client) -> bool {
    // The client's own word: events may come late, or not at all when there are too many.
    client.connection_state() == async_nats::connection::State::Connected
}

impl Connection {
    /// One that is not open yet, and what opens it.
    pub(super) fn new(role: &'static str) -> (Self, Opening) {
        let (state, link) = watch::channel(Link::default());
        let open = Arc::<OnceLock<Open>>::default();
        let opening = Opening { open: open.clone(), state: Arc::new(state), role };
        (Self { open, link }, opening)
    }

    /// # Errors
    /// Before it is open.
    pub(super) fn jetstream(&self) -> Result<&jetstream::Context, Error> {
        self.open.get().map(|open| &open.jetstream).ok_or(Error::Unreachable)
    }

    /// # Errors
    /// Before it is open.
    pub(super) fn client(&self) -> Result<&async_nats::Client, Error> {
        self.open.get().map(|open| &open.client).ok_or(Error::Unreachable)
    }

    /// The client, while the connection is up.
    fn up(&self) -> Option<&async_nats::Client> {
        self.open.get().map(|open| &open.client).filter(|client| is_connected(client))
    }

    /// Waits until it was opened; whether it is up then is another matter.
    pub async fn opened(&self) {
        // The client says that it is connected before what it is connected to was looked at. The sender lives as long as
        // somebody opens it, and a node that gives that up ends.
        let mut link = self.link.clone();
        if link.wait_for(|_| self.open.get().is_some()).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Follows the state of this connection.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Whether the connection is up now.
    pub fn is_up(&self) -> bool {
        self.up().is_some()
    }

    /// The largest message that the server takes, in bytes. No server sets a limit before the connection is open.
    pub fn max_payload(&self) -> usize {
        self.open.get().map_or(usize::MAX, |open| open.client.max_payload())
    }

    /// The server's own version and address, for people; none before the connection is open.
    pub fn server(&self) -> Option<(String, String)> {
        let info = self.open.get()?.client.server_info();
        Some((info.version.clone(), format!("nats://{}:{}", info.host, info.port)))
    }

    /// Sends and waits for the one reply.
    ///
    /// # Errors
    /// See [`RequestError`]: all but a timeout mean that nobody got it.
    pub async fn request(
        &self,
        subject: String,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RequestError> {
        let client = self.up().ok_or(RequestError::NotConnected)?;
        let (limit, size) = (self.max_payload(), payload.len());
        if size > limit {
            return Err(RequestError::TooLarge { limit, size });
        }
        let request = async_nats::Request::new().payload(payload).timeout(None);
        match tokio::time::timeout(timeout, client.send_request(subject, request)).await {
            Ok(Ok(message)) => Ok(message.payload),
            Ok(Err(error)) => Err(match error.kind() {
                async_nats::RequestErrorKind::NoResponders => RequestError::NoResponders,
                async_nats::RequestErrorKind::MaxPayloadExceeded => RequestError::TooLarge { limit, size },
                _ => RequestError::Broken,
            }),
            Err(_) => Err(RequestError::TimedOut),
        }
    }

    /// Tells whoever listens. Lost without a word when the connection is down.
    pub async fn publish(&self, subject: impl async_nats::subject::ToSubject, payload: Bytes) {
        if let Some(client) = self.up() {
            // The only errors are a closed client, at shutdown, and an invalid subject, which ours are not.
            let _ = client.publish(subject, payload).await;
        }
    }

    /// As [`Self::publish`], and tells whether it was sent; when nobody listens there, the server says so to `refused`.
    pub async fn publish_or_refuse(&self, subject: String, refused: String, payload: Bytes) -> bool {
        match self.up() {
            Some(client) => client.publish_with_reply(subject, refused, payload).await.is_ok(),
            None => false,
        }
    }

    /// As [`Self::publish`], with headers.
    pub async fn publish_with_headers(
        &self,
        subject: async_nats::Subject,
        headers: &[(&str, &str)],
        payload: Bytes,
    ) {
        let mut map = async_nats::HeaderMap::new();
        for (name, value) in headers {
            // A header value cannot hold line breaks.
            let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            map.insert(*name, value.as_str());
        }
        if let Some(client) = self.up() {
            let _ = client.publish_with_headers(subject, map, payload).await;
        }
    }

    /// Listens on a subject, alone or sharing the messages with a queue group.
    ///
    /// # Errors
    /// Before the connection is open, and when the client is closed.
    pub async fn subscribe(&self, subject: String, group: Option<&str>) -> Result<Subscription, Error> {
        let client = self.client()?;
        let subscriber = match group {
            Some(group) => client.queue_subscribe(subject, group.to_owned()).await,
            None => client.subscribe(subject).await,
        };
        let subscriber = subscriber.map_err(|error| Error::failed("subscribing", full(&error)))?;
        Ok(Subscription(subscriber))
    }

    /// Sends what is queued. Used before a shutdown, so that last replies are not lost.
    pub async fn flush(&self) {
        if let Some(client) = self.up() {
            let _ = tokio::time::timeout(Duration::from_secs(1), client.flush()).await;
        }
    }
}

/// Messages of one subject, in the order of their arrival.
pub struct Subscription(async_nats::Subscriber);

impl Subscription {
    /// The next message; none when the subscription has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Arrived> {
        let message = self.0.next().await?;
        Some(Arrived {
            subject: message.subject.into_string(),
            reply: message.reply.filter(is_inbox),
            no_responders: message.status == Some(async_nats::StatusCode::NO_RESPONDERS),
            payload: message.payload,
            headers: Headers(message.headers),
        })
    }

    /// Takes no more messages. Those that have arrived already are still given.
    pub async fn close(&mut self) {
        // The only error is a connection that has ended, and the subscription with it.
        let _ = self.0.drain().await;
    }
}

/// Whether an answer may go there. A client could name a bucket's key or a node's inbox as the place for its answer, and
/// the node would write there with its own rights.
fn is_inbox(reply: &async_nats::Subject) -> bool {
    !reply.starts_with('$') && !reply.starts_with("lat.")
}

async fn connect_options(
    options: &Options,
    role: &'static str,
    state: Arc<watch::Sender<Link>>,
) -> Result<async_nats::ConnectOptions, Error> {
    let is_control = role == "control";
    let lost = Arc::<AtomicBool>::default();
    let mut connect = async_nats::ConnectOptions::new()
        .name(format!("{} ({role})", options.name))
        // Our subjects are built from validated names only, so checking each again would be work done twice.
        .skip_subject_validation(true)
        .connection_timeout(Duration::from_secs(2))
        // A hung server is noticed within two of these.
        .ping_interval(Duration::from_secs(2))
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            // Quick at first, since most outages are restarts; with jitter, so that a fleet does not come back at once.
            let base = 25u64.saturating_mul(1 << attempts.min(5));
            Duration::from_millis(base / 2 + fastrand::u64(0..=base / 2))
        })
        .event_callback(move |event| {
            let (state, lost) = (state.clone(), lost.clone());
            async move {
                match event {
                    async_nats::Event::Connected => {
                        // The two connections come and go together, and one word is enough.
                        if lost.swap(false, Ordering::Relaxed) && is_control {
                            tracing::warn!("connected to NATS again");
                        }
                        state.send_modify(|link| {
                            link.up = true;
                            link.generation += 1;
                            link.since = Some(Instant::now());
                            metrics::connected(role, link.generation > 1);
                        });
                    }
                    async_nats::Event::Disconnected | async_nats::Event::Closed => {
                        if !lost.swap(true, Ordering::Relaxed) && is_control {
                            tracing::warn!(
                                "the connection to NATS is lost; what runs goes on, and it is tried again"
                            );
                        }
                        state.send_modify(|link| link.up = false);
                    }
                    async_nats::Event::SlowConsumer(id) => {
                        tracing::warn!(
                            subscription = id,
                            "this node is too slow for its messages; some were dropped"
                        );
                    }
                    async_nats::Event::ServerError(error) => tracing::warn!(%error, "NATS reports an error"),
                    async_nats::Event::ClientError(error) => tracing::debug!(%error, "NATS client"),
                    async_nats::Event::LameDuckMode | async_nats::Event::Draining => {}
                }
            }
        });
    // The library leaves out what a URL says of user and password.
    let named = options
        .servers
        .iter()
        .find_map(|server| server.parse::<async_nats::ServerAddr>().ok())
        .filter(|server| server.has_user_pass());
    if let Some(server) = named
        && let (Some(user), Some(password)) = (server.username(), server.password())
    {
        connect = connect.user_and_password(user.to_owned(), password.to_owned());
    }
    if let Some(path) = &options.credentials {
        connect = connect.credentials_file(path).await.map_err(|error| {
            Error::Options(format!("cannot read the NATS credentials {}: {error}", path.display()))
        })?;
    }
    if let Some(path) = &options.tls_ca {
        connect = connect.add_root_certificates(path.clone()).require_tls(true);
    }
    Ok(connect)
}

/// Just enough of version numbers to compare servers.
mod semver_lite {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Version(pub u64, pub u64, pub u64);

    pub fn parse(text: &str) -> Option<Version> {
        let core = text.split(['-', '+']).next()?;
        let mut parts = core.split('.').map(|part| part.parse().ok());
        Some(Version(parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn versions_compare_by_number() {
            assert!(parse("2.9.10") < parse("2.14.0"));
            assert!(parse("2.15.1-RC.1") > parse("2.14.0"));
            assert_eq!(parse("nonsense"), None);
        }
    }
}
