//! TLS with servers: whom the system trusts is trusted, or whom `SSL_CERT_FILE` and `SSL_CERT_DIR` name in its place.

use std::sync::Arc;

use lattice_proto::manifest::ServerHost;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::Failure;

/// What is offered to servers. Made when the first of them is connected to, since it takes some reading.
#[derive(Clone, Default)]
pub(super) struct Tls(Arc<OnceCell<Arc<ClientConfig>>>);

impl Tls {
    /// Shakes hands with a server.
    pub async fn connect(
        &self,
        host: &ServerHost,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let name = match host {
            ServerHost::Address(address) => ServerName::from(*address),
            ServerHost::Name(name) => ServerName::try_from(name.clone())
                .map_err(|_| Failure::Malformed("no certificate could be for this name"))?,
        };
        let config = self.0.get_or_try_init(|| async {
            let config = tokio::task::spawn_blocking(config).await;
            config.map_err(|_| Failure::Tls("whom to trust cannot be read".to_owned()))
        });
        let connector = TlsConnector::from(config.await?.clone());
        connector.connect(name, stream).await.map_err(|error| Failure::handshake(&error))
    }
}

fn config() -> Arc<ClientConfig> {
    let read = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (trusted, _) = roots.add_parsable_certificates(read.certs);
    for error in read.errors {
        tracing::warn!(%error, "some of the authorities that the system trusts cannot be read");
    }
    if trusted == 0 {
        tracing::warn!(
            "the system trusts no authority, so actors can ask no server by HTTPS; install its package of certificates, or name a file \
             of them with SSL_CERT_FILE"
        );
    }
    // The provider is named, because a process may have another one as its default, or none.
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring offers the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}
