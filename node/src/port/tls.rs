//! TLS for a port: the certificate, the authority of clients, and the handshakes.
//!
//! A handshake is a task of its own, so that a client that is slow, silent or wrong holds up nobody. There are at most
//! [`AT_ONCE`] of them; then the oldest one, which had the most time, makes room. Who a client is, beyond having a
//! certificate that its authority signed, is never asked here.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::connections::{self, Authority, Connections};
use super::files::{self, Contents};
use crate::config;

/// A client that has not said who it is by then is not coming. Three round trips of the slowest link take less.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Handshakes under way; each takes some tens of KiB.
const AT_ONCE: usize = 512;

/// How long a refused client may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a file cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
#[error("{setting} {file}: {reason}")]
pub struct Error {
    /// The flag that names the file.
    setting: &'static str,
    /// As given.
    file: PathBuf,
    /// What is wrong with it, and what it should hold.
    reason: String,
}

/// The files, and what was last made of them.
pub(crate) struct Identity {
    files: config::Tls,
    contents: Vec<Contents>,
    current: watch::Sender<Arc<ServerConfig>>,
    connections: Connections,
}

impl Identity {
    /// Reads the files for the first time, for a port with so many connections at most.
    ///
    /// # Errors
    /// The first file that is of no use.
    pub(crate) async fn read(files: &config::Tls, most: usize) -> Result<Self, Error> {
        let contents = files::read(&paths(files)).await;
        let (config, authority) = server_config(files, &contents)?;
        let current = watch::Sender::new(Arc::new(config));
        Ok(Self { files: files.clone(), contents, current, connections: Connections::new(authority, most) })
    }

    /// Shakes hands on a port.
    pub(crate) fn listen(&self, tcp: TcpListener) -> connections::Listener<Listener> {
        let port = Listener {
            tcp,
            config: self.current.subscribe(),
            handshakes: JoinSet::new(),
            under_way: VecDeque::new(),
        };
        connections::Listener { port, connections: self.connections.clone() }
    }

    /// Reads the files again whenever they change. New connections get the new certificate, and clients that are no longer
    /// trusted lose theirs; files that are of no use leave the last good ones in place.
    pub(crate) async fn follow(self) {
        let Self { files, contents, current, connections } = self;
        files::follow(paths(&files), contents, |contents| match server_config(&files, contents) {
            Ok((config, authority)) => {
                current.send_replace(Arc::new(config));
                connections.trust(authority);
                tracing::info!("{} has a new certificate", files.of);
            }
            Err(error) => tracing::error!(%error, "{} keeps the certificate that it has", files.of),
        })
        .await;
    }
}

fn paths(files: &config::Tls) -> Vec<PathBuf> {
    [&files.cert, &files.key].into_iter().chain(&files.client_ca).cloned().collect()
}

/// What clients are offered, of what the files hold, in the order of [`paths`].
fn server_config(files: &config::Tls, contents: &[Contents]) -> Result<(ServerConfig, Authority), Error> {
    let of_cert = |reason| Error { setting: files.settings[0], file: files.cert.clone(), reason };
    let of_key = |reason| Error { setting: files.settings[1], file: files.key.clone(), reason };
    let chain = contents[0].as_deref().map_err(|reason| of_cert(reason.clone()))?;
    let chain = certificates(chain).map_err(of_cert)?;
    let key = contents[1].as_deref().map_err(|reason| of_key(reason.clone()))?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| of_key(format!("holds no private key in PEM: {error}")))?;
    // The provider is named, because a process may have another one as its default, or none.
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring offers the default protocol versions");
    let authority = match (&files.client_ca, contents.get(2)) {
        (Some(file), Some(contents)) => Some(client_verifier(files.settings[2], file, contents, provider)?),
        _ => None,
    };
    let builder = match &authority {
        Some(authority) => builder.with_client_cert_verifier(authority.clone()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            of_key(format!("is not the key of the certificate in {}", files.cert.display()))
        }
        rustls::Error::InvalidCertificate(error) => of_cert(format!("cannot be used: {error}")),
        error => of_key(format!("cannot be used: {error}")),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((config, authority))
}

fn client_verifier(
    setting: &'static str,
    file: &Path,
    contents: &Contents,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, Error> {
    let wrong = |reason| Error { setting, file: file.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in
        certificates(contents.as_deref().map_err(|reason| wrong(reason.clone()))?).map_err(wrong)?
    {
        roots
            .add(certificate)
            .map_err(|error| wrong(format!("holds a certificate that is none: {error}")))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| wrong(format!("cannot be used: {error}")))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err("holds no certificate in PEM".to_owned()),
        Err(error) => Err(format!("holds no certificate in PEM: {error}")),
    }
}

/// A port whose connections have shaken hands.
pub(crate) struct Listener {
    tcp: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
    /// The tasks of `handshakes` that may still run, the oldest first.
    under_way: VecDeque<AbortHandle>,
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                // Errors of the port itself are dealt with there, as without TLS.
                (stream, peer) = axum::serve::Listener::accept(&mut self.tcp) => self.begin(stream, peer),
                Some(ended) = self.handshakes.join_next() => if let Ok(Some(accepted)) = ended {
                    return accepted;
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

impl Listener {
    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        if self.under_way.len() >= AT_ONCE {
            self.under_way.retain(|handshake| !handshake.is_finished());
        }
        if self.under_way.len() >= AT_ONCE
            && let Some(oldest) = self.under_way.pop_front()
        {
            oldest.abort();
        }
        let acceptor = TlsAcceptor::from(self.config.borrow().clone());
        self.under_way.push_back(self.handshakes.spawn(handshake(acceptor, stream, peer)));
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(TlsStream<TcpStream>, SocketAddr)> {
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream).into_fallible()).await {
        Ok(Ok(stream)) => Some((stream, peer)),
        Ok(Err((error, stream))) => {
            // Anybody can cause these, so they are no more than a detail.
            tracing::debug!(%peer, %error, "a TLS handshake failed");
            let _ = tokio::time::timeout(FAREWELL, part(stream)).await;
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "a TLS handshake took too long");
            None
        }
    }
}

/// Lets the refused side read why. A TLS 1.3 client speaks on before it knows, and a connection that is closed with
/// something unread in it is reset, which would cost the client the reason.
async fn part(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}
