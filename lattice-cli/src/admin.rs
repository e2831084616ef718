//! The way to a node: connects to the admin API and turns its errors into [`Failure`]s.

mod access;
mod probe;
mod tls;

use std::net::IpAddr;
use std::sync::Once;
use std::time::Duration;

use lattice_proto::Ran;
use lattice_proto::admin::admin_client::AdminClient;
use lattice_proto::admin::{ERROR_METADATA, ErrorInfo};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::cli::Global;
use crate::failure::Failure;

pub use access::{Access, read};

/// A client of one node.
pub type Client = AdminClient<InterceptedService<Channel, access::Bearer>>;

/// Between two tries to reach a node again that is away; long enough to burden nobody.
pub const RETRY: Duration = Duration::from_millis(250);

/// A node that accepts no connection for so long is as good as not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A node that answers no keep-alive for so long hangs. Also twice this is a time that somebody waits for a prompt.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// A reply may be as large as NATS carries at most (64 MiB); the node enforces the real limits.
const MAX_MESSAGE: usize = 72 << 20;

/// Connects to the node that `--admin` names.
pub async fn connect(global: &Global) -> Result<Client, Failure> {
    let (address, endpoint) = endpoint(&global.admin, &global.access)?;
    let bearer = global.access.bearer()?;
    let endpoint = match endpoint.uri().scheme_str() {
        Some("https") => {
            let files = tls::Files::read(&global.access)?;
            let endpoint = tls::over(endpoint, &files)?;
            let probed = tokio::time::timeout(CONNECT_TIMEOUT, probe::ask(endpoint.uri(), &files)).await;
            // What is not of TLS is told by the real connection.
            if let Ok(Err(error)) = probed
                && let Some(failure) = tls::told(&error, &address)
            {
                return Err(failure);
            }
            endpoint
        }
        _ => {
            if bearer.is_some() && !is_loopback(&endpoint) {
                warn_of_listeners(global, &address);
            }
            endpoint
        }
    };
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    let channel = endpoint.connect().await.map_err(|error| {
        tls::told(&error, &address).unwrap_or_else(|| {
            Failure::new(
                "unreachable",
                Ran::No,
                format!(
                    "no node answers at {address}; start one with `lattice start` or name another with --admin"
                ),
            )
        })
    })?;
    Ok(AdminClient::with_interceptor(channel, bearer)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE))
}

/// Says once that everybody on the way can read the token. The node's operator may have wanted it so.
fn warn_of_listeners(global: &Global, address: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| global.output.note(&format!("the token travels to {address} in the clear")));
}

/// Whether the node that `--admin` names is on this machine, as far as the address says.
pub fn is_local(global: &Global) -> Result<bool, Failure> {
    Ok(is_loopback(&endpoint(&global.admin, &global.access)?.1))
}

fn is_loopback(endpoint: &Endpoint) -> bool {
    let host = endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// The address in full, and the way there.
fn endpoint(admin: &str, access: &Access) -> Result<(String, Endpoint), Failure> {
    let address = match admin.contains("://") {
        true => admin.to_owned(),
        // A secret goes out in the clear only to this machine, or where somebody writes `http://`.
        false => {
            let plain = Endpoint::from_shared(format!("http://{admin}"));
            let far = access.has_token() && !plain.is_ok_and(|plain| is_loopback(&plain));
            let scheme = if access.wants_tls() || far { "https" } else { "http" };
            format!("{scheme}://{admin}")
        }
    };
    let wrong = || {
        Failure::usage(format!(
            "`{admin}` is no address; write it like http://127.0.0.1:7700 or https://node.example:7700"
        ))
    };
    let endpoint = Endpoint::from_shared(address.clone()).map_err(|_| wrong())?;
    // What is not looked at must not be promised.
    match endpoint.uri().scheme_str() {
        Some("http" | "https") if matches!(endpoint.uri().path(), "" | "/") => Ok((address, endpoint)),
        _ => Err(wrong()),
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        match error_info(&status) {
            Some(info) => from_info(info),
            None => from_bare(&status),
        }
    }
}

fn error_info(status: &Status) -> Option<ErrorInfo> {
    let value = status.metadata().get_bin(ERROR_METADATA)?.to_bytes().ok()?;
    prost::Message::decode(value).ok()
}

fn from_info(info: ErrorInfo) -> Failure {
    let ran = match info.ran.as_str() {
        "no" => Ran::No,
        "yes" => Ran::Yes,
        _ => Ran::Maybe,
    };
    let mut failure = Failure::new(&info.kind, ran, info.message);
    if !info.code.is_empty() || !info.details.is_empty() {
        failure.rejection = Some((info.code, info.details));
    }
    failure
}

/// What no node of ours said, but the transport or something in between.
fn from_bare(status: &Status) -> Failure {
    let message = status.message();
    match status.code() {
        Code::Unimplemented => Failure::new(
            "unimplemented",
            Ran::No,
            "the node does not know this request; is it older than this `lattice`? see `lattice nodes`",
        ),
        Code::DeadlineExceeded => no_answer(),
        // The client library's own word for a deadline that it found itself, and for a keep-alive that was not answered.
        Code::Cancelled if message.contains("Timeout expired") => no_answer(),
        Code::Unavailable | Code::Unknown | Code::Internal if is_silent(status) => no_answer(),
        // What a server that expects TLS makes of plain HTTP/2.
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal
            if message.contains("h2 protocol error") =>
        {
            Failure::new(
                "connection-lost",
                Ran::Maybe,
                format!(
                    "the node does not speak as expected ({message}); if it speaks TLS, write https:// in --admin"
                ),
            )
        }
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal => Failure::new(
            "connection-lost",
            Ran::Maybe,
            format!(
                "the connection to the node was lost before its answer came ({message}); ask again with another --admin"
            ),
        ),
        code => Failure::new(&format!("{code:?}").to_lowercase(), Ran::Maybe, message.to_owned()),
    }
}

/// Whether the connection was given up because keep-alives were not answered, which only the last of the causes says.
fn is_silent(status: &Status) -> bool {
    let first = std::error::Error::source(status);
    let mut causes = std::iter::successors(first, |cause| cause.source());
    causes.any(|cause| cause.to_string().contains("keep-alive"))
}

fn no_answer() -> Failure {
    let message = "the node gave no answer in time; ask again or name another with --admin";
    Failure::new("deadline", Ran::Maybe, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use tonic::metadata::MetadataValue;

    #[test]
    fn the_nodes_own_words_reach_the_user() {
        let info = ErrorInfo {
            kind: "rejected".into(),
            message: "none left".into(),
            ran: "yes".into(),
            code: "out-of-stock".into(),
            details: "{}".into(),
        };
        let mut status = Status::aborted("whatever");
        status.metadata_mut().insert_bin(ERROR_METADATA, MetadataValue::from_bytes(&info.encode_to_vec()));
        let failure = Failure::from(status);
        assert_eq!((failure.kind.as_str(), failure.ran), ("rejected", Ran::Yes));
        assert_eq!(failure.rejection, Some(("out-of-stock".into(), "{}".into())));
    }

    #[test]
    fn only_what_is_looked_at_is_taken() {
        let plain = Access::default();
        for good in ["127.0.0.1:7700", "http://127.0.0.1:7700", "https://node.example:1/"] {
            assert!(endpoint(good, &plain).is_ok(), "{good}");
        }
        for bad in ["ftp://127.0.0.1:7700", "http://127.0.0.1:7700/foo", "garbage::"] {
            assert!(endpoint(bad, &plain).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_without_a_scheme_is_asked_as_what_was_given_for_it_says() {
        let trusting = Access { ca: Some("ca.pem".into()), ..Access::default() };
        assert_eq!(endpoint("a:1", &Access::default()).unwrap().0, "http://a:1");
        assert_eq!(endpoint("a:1", &trusting).unwrap().0, "https://a:1");
        assert_eq!(endpoint("http://a:1", &trusting).unwrap().0, "http://a:1");
    }

    #[test]
    fn loopback_is_known_in_all_its_forms() {
        for (address, loopback) in [
            ("localhost:1", true),
            ("127.1.2.3:1", true),
            ("[::1]:1", true),
            ("192.0.2.1:1", false),
            ("a:1", false),
        ] {
            assert_eq!(is_loopback(&endpoint(address, &Access::default()).unwrap().1), loopback, "{address}");
        }
    }

    #[test]
    fn a_lost_connection_says_that_it_may_have_run() {
        assert_eq!(Failure::from(Status::unavailable("broken pipe")).ran, Ran::Maybe);
    }
}
