//! The client's side of TLS: which certificates count, and what went wrong, told in one sentence.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use lattice_proto::Ran;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, InvalidMessage};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::access::{Access, read};
use crate::failure::Failure;

/// What the files of [`Access`] hold, looked through.
pub struct Files {
    /// The authority to trust; without, those of the system.
    pub ca: Option<Vec<u8>>,
    /// A certificate and its key.
    pub pair: Option<(Vec<u8>, Vec<u8>)>,
}

impl Files {
    /// Reads them.
    pub fn read(access: &Access) -> Result<Self, Failure> {
        let ca = access.ca.as_ref().map(|path| certificates("--admin-ca", path)).transpose()?;
        let pair = match pair(access)? {
            Some((cert, key)) => {
                let pem = read("--admin-key", key)?;
                PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
                    wrong("--admin-key", key, &format!("holds no private key in PEM: {error}"))
                })?;
                Some((certificates("--admin-cert", cert)?, pem))
            }
            None => None,
        };
        Ok(Self { ca, pair })
    }
}

/// The way to a node over TLS.
pub fn over(endpoint: Endpoint, files: &Files) -> Result<Endpoint, Failure> {
    // An IPv6 address stands in brackets in a URL, and without them in a certificate.
    let host = endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let mut config = ClientTlsConfig::new().domain_name(host);
    config = match &files.ca {
        Some(pem) => config.ca_certificate(Certificate::from_pem(pem)),
        None => config.with_native_roots(),
    };
    if let Some((cert, key)) = &files.pair {
        config = config.identity(Identity::from_pem(cert, key));
    }
    endpoint.tls_config(config).map_err(|error| {
        let reason = crate::failure::sentence(&anyhow::Error::from(error));
        let hint = match (&files.ca, &files.pair) {
            (_, Some(_)) => "do --admin-cert and --admin-key belong together?",
            (Some(_), None) => "is --admin-ca a certificate authority?",
            (None, None) => "this system knows no authorities; name one with --admin-ca FILE",
        };
        Failure::new("tls", Ran::No, format!("TLS cannot be set up: {reason}; {hint}"))
    })
}

fn pair(access: &Access) -> Result<Option<(&PathBuf, &PathBuf)>, Failure> {
    match (&access.cert, &access.key) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Failure::usage("--admin-cert needs its --admin-key as well")),
        (None, Some(_)) => Err(Failure::usage("--admin-key needs its --admin-cert as well")),
    }
}

fn certificates(flag: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let pem = read(flag, path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match all {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        Ok(_) => Err(wrong(flag, path, "holds no certificate in PEM")),
        Err(error) => Err(wrong(flag, path, &format!("holds no certificate in PEM: {error}"))),
    }
}

fn wrong(flag: &str, path: &Path, reason: &str) -> Failure {
    Failure::new("tls", Ran::No, format!("{flag} {} {reason}", path.display()))
}

/// What TLS has to do with it that a node was not reached, if it has.
pub fn told(error: &(dyn Error + 'static), node: &str) -> Option<Failure> {
    let found = causes(error).find_map(rustls_error)?;
    let (kind, message) = match found {
        rustls::Error::AlertReceived(alert) => return Some(refused(*alert, node)),
        rustls::Error::InvalidCertificate(error) => ("untrusted", distrust(error, node)),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            ("tls", format!("{node} does not speak TLS; write its address with http://"))
        }
        error => ("tls", format!("TLS with {node} failed: {error}")),
    };
    Some(Failure::new(kind, Ran::No, message))
}

/// Why the node's certificate does not count.
fn distrust(error: &CertificateError, node: &str) -> String {
    match error {
        CertificateError::UnknownIssuer => format!(
            "the certificate of {node} is signed by an authority that is not known here; name it with --admin-ca FILE"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "the certificate of {node} has expired; its node takes a new one as soon as its --admin-tls-cert file has it"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "the certificate of {node} is for another name; ask by a name that is in it, or have it made for this one \
             ({error})"
        ),
        error => format!(
            "the certificate of {node} cannot be trusted ({error}); name the authority that signed it with --admin-ca FILE"
        ),
    }
}

/// Why the node does not let this client in.
fn refused(alert: AlertDescription, node: &str) -> Failure {
    use AlertDescription as Alert;
    let message = match alert {
        Alert::CertificateRequired => format!(
            "{node} lets in only who shows a certificate; give one with --admin-cert FILE and --admin-key FILE"
        ),
        Alert::CertificateExpired => {
            format!("{node} refuses the certificate of --admin-cert, because it has expired; get a new one")
        }
        Alert::UnknownCA
        | Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::UnsupportedCertificate
        | Alert::DecryptError => format!(
            "{node} refuses the certificate of --admin-cert; show one that the authority of its --admin-client-ca signed"
        ),
        other => {
            return Failure::new("tls", Ran::No, format!("{node} refuses the TLS connection ({other:?})"));
        }
    };
    Failure::new("unauthenticated", Ran::No, message)
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause: &&'a (dyn Error + 'static)| (*cause).source())
}

/// An I/O error hides the error that it was made of from the chain of causes.
fn rustls_error<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    cause.downcast_ref().or_else(|| inner.and_then(|inner| inner.downcast_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_of(error: rustls::Error) -> (String, String) {
        let error =
            anyhow::Error::from(io::Error::new(io::ErrorKind::InvalidData, error)).context("transport error");
        let failure = told(error.as_ref(), "https://a:1").unwrap();
        assert_eq!(failure.ran, Ran::No);
        (failure.kind, failure.message)
    }

    #[test]
    fn each_reason_says_what_to_do() {
        let cases = [
            (CertificateError::UnknownIssuer.into(), "untrusted", "--admin-ca"),
            (CertificateError::Expired.into(), "untrusted", "expired"),
            (CertificateError::NotValidForName.into(), "untrusted", "another name"),
            (
                rustls::Error::AlertReceived(AlertDescription::CertificateRequired),
                "unauthenticated",
                "--admin-cert",
            ),
            (
                rustls::Error::AlertReceived(AlertDescription::UnknownCA),
                "unauthenticated",
                "--admin-client-ca",
            ),
            (
                rustls::Error::AlertReceived(AlertDescription::CertificateExpired),
                "unauthenticated",
                "expired",
            ),
            (rustls::Error::AlertReceived(AlertDescription::ProtocolVersion), "tls", "ProtocolVersion"),
            (InvalidMessage::InvalidContentType.into(), "tls", "http://"),
        ];
        for (error, kind, word) in cases {
            let (told_kind, message) = told_of(error);
            assert_eq!(told_kind, kind, "{message}");
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn what_is_not_of_tls_is_left_to_others() {
        let refused = anyhow::Error::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert!(told(refused.as_ref(), "https://a:1").is_none());
    }
}
