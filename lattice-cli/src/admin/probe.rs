//! One connection ahead of the real one, to learn why TLS would fail.
//!
//! A TLS 1.3 client takes the handshake for done before the node has looked at its certificate, and the HTTP/2 library, which
//! has gone on by then, may keep no word of the refusal. Here the node is asked for `/healthz` and its answer awaited. It
//! sends no token, and says nothing of a node that is not reached at all.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tonic::transport::Uri;

use super::tls::Files;

/// What an `https://` address without a port means.
const PORT: u16 = 443;

/// Speaks with the node as a client that has these files.
///
/// # Errors
/// What a request would fail with, too; of TLS when it is made of an error of rustls.
pub async fn ask(uri: &Uri, files: &Files) -> io::Result<()> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(config(files).map_err(io::Error::other)?));
    let tcp = TcpStream::connect((host, uri.port_u16().unwrap_or(PORT))).await?;
    let mut stream = connector.connect(name, tcp).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.read(&mut [0]).await.map(|_| ())
}

fn config(files: &Files) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    match &files.ca {
        Some(pem) => roots.add_parsable_certificates(certificates(pem)),
        None => roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    match &files.pair {
        Some((cert, key)) => {
            let key =
                PrivateKeyDer::from_pem_slice(key).map_err(|_| rustls::Error::NoCertificatesPresented)?;
            builder.with_client_auth_cert(certificates(cert).collect(), key)
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

/// Those that are in there; that there are some was looked at when the file was read.
fn certificates(pem: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).flatten()
}
