//! Failures as guests are told them. What became of a request in detail is for the span, and for the node's log.

use wasmtime_wasi_http::Error;

use crate::client::Failure;

pub(super) fn told(failure: Failure) -> Error {
    match failure {
        Failure::Outside | Failure::Denied => Error::HttpRequestDenied,
        Failure::Prohibited(_) => Error::DestinationIpProhibited,
        Failure::Malformed(_) => Error::HttpRequestUriInvalid,
        Failure::Method => Error::HttpRequestMethodInvalid,
        Failure::TooMany => Error::ConnectionLimitReached,
        Failure::Unresolved(_) => Error::DnsError { rcode: None, info_code: None },
        Failure::Refused => Error::ConnectionRefused,
        Failure::Unreachable(_) => Error::DestinationUnavailable,
        Failure::ConnectTimeout => Error::ConnectionTimeout,
        Failure::ReadTimeout => Error::ConnectionReadTimeout,
        Failure::Certificate(_) => Error::TlsCertificateError,
        Failure::Tls(_) => Error::TlsProtocolError,
        Failure::Body(_) => Error::HttpRequestBodySize(None),
        Failure::Terminated => Error::ConnectionTerminated,
        Failure::Protocol(_) => Error::HttpProtocolError,
    }
}
