//! One request and its answer, over a connection of its own. There are few to a registry, and far between.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lattice_proto::manifest::Reach;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, InvalidMessage, RootCertStore};
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, shown};
use crate::url::Url;

/// How long a connection may take, with TLS.
const CONNECT: Duration = Duration::from_secs(10);

/// How long nothing at all may come, or go, as is usual. Registries that have to look for something answer within seconds.
pub const SILENCE: Duration = Duration::from_secs(20);

/// The head of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// What a registry says of what went wrong, in bytes.
const MAX_SAID: u64 = 8 << 10;

/// What is handed to the connection at once.
const CHUNK: usize = 64 << 10;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("lattice/", env!("CARGO_PKG_VERSION")));

/// Whom to trust besides those whom the system trusts, who may be spoken with in the clear, and where a registry may lead.
#[derive(Debug, Clone)]
pub struct Access {
    /// Hosts, with their ports, that speak plain HTTP.
    pub insecure: BTreeSet<String>,
    /// Authorities in PEM, for the registry and for hosts of `elsewhere`.
    pub ca: Option<Vec<u8>>,
    /// Hosts, with their ports, to which a registry may lead whatever their addresses are.
    pub elsewhere: BTreeSet<String>,
    /// By which addresses it may lead to others.
    pub reach: Reach,
    /// How long nothing at all may come, or go.
    pub silence: Duration,
}

/// Makes connections.
pub struct Wire {
    insecure: BTreeSet<String>,
    elsewhere: BTreeSet<String>,
    reach: Reach,
    silence: Duration,
    /// For whom the authorities are.
    own: TlsConnector,
    /// For everybody else.
    others: TlsConnector,
}

/// What is asked.
#[derive(Clone)]
pub struct Ask {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub upload: Upload,
}

/// What is sent along.
#[derive(Clone, Default)]
pub struct Upload {
    pub bytes: Bytes,
    /// How much of it was handed to the connection.
    pub gone: Arc<AtomicU64>,
}

/// The head of an answer, and what follows it.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Who gave it.
    pub url: Url,
    /// Whether that is the registry, and nobody to whom it leads.
    is_registry: bool,
    silence: Duration,
    body: Incoming,
    _line: AbortOnDropHandle<()>,
}

impl Wire {
    pub fn new(access: Access) -> Result<Self, Error> {
        // What the system trusts and cannot be read is missed where it is needed: by a certificate that does not count.
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let others = connector(roots.clone());
        if let Some(pem) = &access.ca {
            let wrong = |error: &dyn std::fmt::Display| Error::Authority(error.to_string());
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            let all = all.map_err(|error| wrong(&error))?;
            if all.is_empty() {
                return Err(Error::Authority("there is no certificate in PEM".to_owned()));
            }
            for certificate in all {
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
        }
        let Access { insecure, elsewhere, reach, silence, .. } = access;
        Ok(Self { insecure, elsewhere, reach, silence, own: connector(roots), others })
    }

    /// A place in a registry.
    pub fn at(&self, host: &str, path: String) -> Url {
        Url::new(!self.insecure.contains(host), host, path)
    }

    /// Whether a place may be gone to that a registry names: nobody on the way should see or change what is said there.
    pub fn admits(&self, url: &Url) -> bool {
        url.secure || self.insecure.contains(&url.host)
    }

    /// Sends it, and waits for the head of the answer: to a registry, or to where that registry leads.
    pub async fn send(&self, ask: Ask, registry: &Url) -> Result<Answer, Error> {
        let host = ask.url.host.clone();
        match tokio::time::timeout(CONNECT, self.connect(&ask.url, registry)).await {
            Ok(line) => talk(line?, ask, registry, self.silence).await,
            Err(_) => Err(Error::TooSlow { host, what: "takes longer than 10 s to connect".to_owned() }),
        }
    }

    async fn connect(&self, url: &Url, registry: &Url) -> Result<Box<dyn Line>, Error> {
        let host = || url.host.clone();
        let unreachable =
            |error: std::io::Error| Error::Unreachable { host: host(), reason: error.to_string() };
        let (name, port) = url.name_and_port();
        let is_named = self.elsewhere.contains(&url.host);
        // Whoever names a registry means it. Where that leads could be what only this machine reaches, so a name is resolved once, and what
        // was judged is what is connected to.
        let reach = match is_named || self.insecure.contains(&url.host) || url.is_beside(registry) {
            true => Reach::Named,
            false => self.reach,
        };
        let found = tokio::net::lookup_host((name, port)).await.map_err(unreachable)?;
        let admitted: Vec<SocketAddr> = found.filter(|address| reach.admits(address.ip())).collect();
        if admitted.is_empty() && reach != Reach::Named {
            return Err(Error::Inward { host: registry.host.clone(), place: shown(&url.host) });
        }
        let stream = TcpStream::connect(&admitted[..]).await.map_err(unreachable)?;
        // It only saves time; without, everything works all the same.
        let _ = stream.set_nodelay(true);
        if !url.secure {
            return Ok(Box::new(stream));
        }
        // A certificate is for a name, whatever the port.
        let tls = match is_named || name == registry.name_and_port().0 {
            true => &self.own,
            false => &self.others,
        };
        let name = ServerName::try_from(name.to_owned()).map_err(|_| Error::Tls {
            host: host(),
            reason: "no certificate could be for this name".to_owned(),
        })?;
        match tls.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
                Err(match cause {
                    Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                        Error::InTheClear { host: host() }
                    }
                    _ => Error::Tls { host: host(), reason: shown(&error.to_string()) },
                })
            }
        }
    }
}

fn connector(roots: RootCertStore) -> TlsConnector {
    // The provider is named, because a process may have another one as its default, or none.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring offers the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

trait Line: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Line for T {}

async fn talk(line: Box<dyn Line>, ask: Ask, registry: &Url, silence: Duration) -> Result<Answer, Error> {
    let Ask { method, url, mut headers, upload } = ask;
    let host = url.host.clone();
    let broken = |error: &hyper::Error| Error::Broken { host: host.clone(), reason: shown(&causes(error)) };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(line)).await.map_err(|error| broken(&error))?;
    // An error of the connection is told to whoever reads from it.
    let line = AbortOnDropHandle::new(tokio::spawn(async { drop(connection.await) }));

    let malformed = |what: &str| Error::Malformed { host: host.clone(), reason: format!("{what} of a URL") };
    headers.insert(HOST, HeaderValue::from_str(&host).map_err(|_| malformed("the host"))?);
    headers.insert(USER_AGENT, AGENT);
    // Digests are of the bytes as they are, and what is packed can be larger than it looks.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if method != Method::GET && method != Method::HEAD {
        headers.insert(CONTENT_LENGTH, upload.bytes.len().into());
    }
    let gone = upload.gone.clone();
    let mut request = Request::builder().method(method).uri(url.path.as_str()).body(upload.into_body());
    if let Ok(request) = &mut request {
        *request.headers_mut() = headers;
    }
    let request = request.map_err(|_| malformed("the path"))?;

    let mut answer = Box::pin(sender.send_request(request));
    let answer = loop {
        let before = gone.load(Ordering::Relaxed);
        match tokio::time::timeout(silence, &mut answer).await {
            Ok(answer) => break answer.map_err(|error| broken(&error))?,
            Err(_) if gone.load(Ordering::Relaxed) > before => {}
            Err(_) => return Err(silent(&host, silence)),
        }
    };
    let (head, body) = answer.into_parts();
    let is_registry = url.is_beside(registry);
    Ok(Answer { status: head.status, headers: head.headers, url, is_registry, silence, body, _line: line })
}

impl Upload {
    fn into_body(self) -> UnsyncBoxBody<Bytes, Infallible> {
        let Self { bytes, gone } = self;
        let count = bytes.len().div_ceil(CHUNK);
        let chunks = (0..count).map(move |n| {
            let chunk = bytes.slice(n * CHUNK..bytes.len().min((n + 1) * CHUNK));
            gone.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            Ok(Frame::data(chunk))
        });
        StreamBody::new(stream::iter(chunks)).boxed_unsync()
    }
}

impl Answer {
    /// The next of its bytes; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = tokio::time::timeout(self.silence, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| silent(&self.url.host, self.silence))? else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| Error::Broken {
                host: self.url.host.clone(),
                reason: shown(&causes(&error)),
            })?;
            // Trailers say nothing that is asked for.
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
    }

    /// All of its bytes, if they are no more than that.
    pub async fn all(&mut self, what: &'static str, limit: u64) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            if (all.len() + bytes.len()) as u64 > limit {
                return Err(Error::Overrun { host: self.url.host.clone(), what, limit });
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    /// As an error, where it is not what was wanted: of `what` in the registry.
    pub async fn refused(mut self, what: &str) -> Error {
        let host = self.url.host.clone();
        match self.status {
            StatusCode::NOT_FOUND => Error::Missing { host, what: what.to_owned(), said: self.said().await },
            StatusCode::FORBIDDEN => Error::Forbidden { host, said: self.said().await },
            status => Error::Status { host, status: status.as_u16(), said: self.said().await },
        }
    }

    /// What the registry says of what went wrong, to be put behind a sentence; empty where it says nothing. What is said by somebody to whom
    /// it leads may be meant for others than those who read the error.
    async fn said(&mut self) -> String {
        if !self.is_registry {
            return String::new();
        }
        // The status says enough where the rest cannot be read.
        let said = self.all("an error", MAX_SAID).await.unwrap_or_default();
        let first = |json: &serde_json::Value| {
            let error = json.get("errors")?.get(0)?;
            let text = |field: &str| error.get(field).and_then(|text| text.as_str());
            text("message").filter(|text| !text.is_empty()).or_else(|| text("code")).map(str::to_owned)
        };
        let told = serde_json::from_slice(&said).ok().as_ref().and_then(first);
        let told = told.unwrap_or_else(|| String::from_utf8_lossy(&said).trim().to_owned());
        if told.is_empty() { String::new() } else { format!(": {}", shown(&told)) }
    }
}

fn silent(host: &str, bound: Duration) -> Error {
    Error::TooSlow { host: host.to_owned(), what: format!("said nothing for {} s", bound.as_secs_f64()) }
}

/// An error with what is behind it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
