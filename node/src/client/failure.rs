//! Why a request has no answer, in the words that the standard has for it.

use std::error::Error;
use std::io;
use std::net::IpAddr;

use hyper_util::client::legacy;
use tokio_rustls::rustls;

use crate::replica::Broken;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody waits for what the guest does.
    #[error("it is made outside of any turn")]
    Outside,
    /// The actor may not ask this server.
    #[error("the manifest does not grant it")]
    Denied,
    /// Nor by this address.
    #[error("it would go to {0}, and the manifest does not grant that")]
    Prohibited(IpAddr),
    /// The URL names no server with certainty.
    #[error("its URL names no server: {0}")]
    Malformed(&'static str),
    /// A method that goes through the server rather than to it.
    #[error("nobody is asked to hand on connections")]
    Method,
    /// There are as many under way as may be.
    #[error("too many requests are under way")]
    TooMany,
    /// The name has no address.
    #[error("its name cannot be resolved: {0}")]
    Unresolved(String),
    /// Nobody listens there.
    #[error("nobody listens there")]
    Refused,
    /// There is no way to it.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// There was no connection in time.
    #[error("there was no connection in time")]
    ConnectTimeout,
    /// Nothing came in time.
    #[error("nothing came in time")]
    ReadTimeout,
    /// The server's certificate is not trusted.
    #[error("its certificate is not trusted: {0}")]
    Certificate(String),
    /// TLS failed otherwise.
    #[error("no TLS with it: {0}")]
    Tls(String),
    /// What the guest sent broke off.
    #[error("the request broke off: {0}")]
    Body(String),
    /// The connection ended, or the turn did.
    #[error("it ended before the answer was there")]
    Terminated,
    /// It does not speak HTTP as it should.
    #[error("it broke the rules of HTTP: {0}")]
    Protocol(String),
}

impl Failure {
    /// The kind, for programs: as the standard calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Failure::Outside | Failure::Denied => "HTTP-request-denied",
            Failure::Prohibited(_) => "destination-IP-prohibited",
            Failure::Malformed(_) => "HTTP-request-URI-invalid",
            Failure::Method => "HTTP-request-method-invalid",
            Failure::TooMany => "connection-limit-reached",
            Failure::Unresolved(_) => "DNS-error",
            Failure::Refused => "connection-refused",
            Failure::Unreachable(_) => "destination-unavailable",
            Failure::ConnectTimeout => "connection-timeout",
            Failure::ReadTimeout => "connection-read-timeout",
            Failure::Certificate(_) => "TLS-certificate-error",
            Failure::Tls(_) => "TLS-protocol-error",
            Failure::Body(_) => "HTTP-request-body-size",
            Failure::Terminated => "connection-terminated",
            Failure::Protocol(_) => "HTTP-protocol-error",
        }
    }

    /// What an error of the client's means.
    pub(super) fn of(error: &legacy::Error) -> Self {
        found(error).unwrap_or_else(|| match error.is_connect() {
            true => Failure::Unreachable(root(error)),
            false => Failure::Protocol(root(error)),
        })
    }

    /// What an error while connecting means.
    pub(super) fn connecting(error: &(dyn Error + 'static)) -> Self {
        found(error).unwrap_or_else(|| Failure::Unreachable(root(error)))
    }

    /// What an error of a body means that is being read.
    pub fn reading(error: &hyper::Error) -> Self {
        found(error).unwrap_or_else(|| Failure::Protocol(root(error)))
    }

    /// What an error of a handshake means.
    pub(super) fn handshake(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(error @ rustls::Error::InvalidCertificate(_)) => Failure::Certificate(error.to_string()),
            _ => Failure::Tls(error.to_string()),
        }
    }
}

/// The first of its causes that is known.
fn found(error: &(dyn Error + 'static)) -> Option<Failure> {
    causes(error).find_map(|cause| {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return Some(failure.clone());
        }
        if let Some(Broken(reason)) = cause.downcast_ref::<Broken>() {
            return Some(Failure::Body(reason.clone()));
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return known(error.kind());
        }
        let error = cause.downcast_ref::<hyper::Error>()?;
        let ended = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
        ended.then_some(Failure::Terminated)
    })
}

fn known(kind: io::ErrorKind) -> Option<Failure> {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut, UnexpectedEof,
    };
    match kind {
        ConnectionRefused => Some(Failure::Refused),
        TimedOut => Some(Failure::ConnectTimeout),
        ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof => Some(Failure::Terminated),
        _ => None,
    }
}

fn root(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

/// It, and what it comes from.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| Error::source(*error))
}
