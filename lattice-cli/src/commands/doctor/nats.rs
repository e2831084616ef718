//! Is there a nats-server to start, and is a given one new enough and equipped?
//!
//! A NATS server speaks first: `INFO {json}` and a line break, before any TLS and any credentials. That line says all
//! that is asked here, so no client library is needed.

use std::io::ErrorKind;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Finding, Repair};
use crate::output::Format;
use crate::setup;

/// A server that does not say hello by then is none that a node could work with.
const PATIENCE: Duration = Duration::from_secs(3);

/// An INFO line has a few hundred bytes, and more in a large cluster; a stranger's endless line is cut off here.
const LONGEST_INFO: u64 = 64 << 10;

/// What a node needs for the default payload limit and the envelope around it.
const LEAST_PAYLOAD: u64 = 1 << 20;

pub async fn program(repair: Repair, output: Format) -> Finding {
    const CHECK: &str = "nats-server";
    let found = setup::blocking(output, move |report| match repair {
        Repair::Look => lattice_setup::find_nats_server(report),
        Repair::Fix => lattice_setup::nats_server(report).map(Some),
    });
    match found.await {
        Ok(Some(server)) => Finding::ok(CHECK, server.to_string()),
        Ok(None) => Finding::warning(
            CHECK,
            "not found; `lattice start` gets it when it needs one, and --fix gets it now",
        ),
        Err(failure) => Finding::failed(CHECK, failure.to_string()),
    }
}

/// What a server says of itself.
#[derive(Debug, Deserialize)]
struct Info {
    version: String,
    #[serde(default)]
    jetstream: bool,
    #[serde(default)]
    max_payload: u64,
}

/// Checks a server that runs: that it answers, its version, JetStream, and its payload limit.
pub async fn server(url: &str) -> Vec<Finding> {
    match timeout(PATIENCE, hello(url)).await {
        Ok(Ok(info)) => judge(&info),
        Ok(Err(reason)) => vec![Finding::failed("nats", format!("{url} {reason}"))],
        Err(_) => {
            vec![Finding::failed(
                "nats",
                format!("{url} said nothing for {PATIENCE:?}; is it a NATS server?"),
            )]
        }
    }
}

fn judge(info: &Info) -> Vec<Finding> {
    let version = match info.version.split('-').next().map(semver::Version::parse) {
        Some(Ok(version)) if version >= lattice_setup::MINIMUM_NATS => {
            Finding::ok("nats version", &info.version)
        }
        _ => Finding::failed(
            "nats version",
            format!(
                "{} is older than {}; install a newer nats-server",
                info.version,
                lattice_setup::MINIMUM_NATS
            ),
        ),
    };
    let jetstream = if info.jetstream {
        Finding::ok("nats jetstream", "on")
    } else {
        Finding::failed("nats jetstream", "off; start the server with -js or a `jetstream {}` block")
    };
    let payload = if info.max_payload >= LEAST_PAYLOAD {
        Finding::ok("nats payload", format!("up to {} bytes", info.max_payload))
    } else {
        Finding::warning(
            "nats payload",
            format!(
                "{} bytes at most, less than the default limit of an actor; set `max_payload: 8MB` in the server",
                info.max_payload
            ),
        )
    };
    vec![version, jetstream, payload]
}

async fn hello(url: &str) -> Result<Info, String> {
    let address = address(url);
    let stream = TcpStream::connect(&address).await.map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => {
            "refuses connections; start a nats-server there or name another".to_owned()
        }
        _ => format!("cannot be reached ({error})"),
    })?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_INFO))
        .read_line(&mut line)
        .await
        .map_err(|error| format!("broke off ({error})"))?;
    parse(&line).ok_or_else(|| "does not speak like a NATS server".to_owned())
}

fn parse(line: &str) -> Option<Info> {
    serde_json::from_str(line.strip_prefix("INFO ")?.trim()).ok()
}

/// Host and port of a NATS URL.
fn address(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host).trim_end_matches('/');
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { host.to_owned() } else { format!("{host}:4222") }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn urls_have_a_default_port_and_may_name_a_user() {
        assert_eq!(address("nats://a.example"), "a.example:4222");
        assert_eq!(address("tls://me:secret@a.example:5222/"), "a.example:5222");
        assert_eq!(address("localhost:1"), "localhost:1");
    }

    #[test]
    fn an_old_server_without_jetstream_fails_twice() {
        let info = parse("INFO {\"version\":\"2.9.10\",\"max_payload\":65536}\r\n").unwrap();
        let states: Vec<_> = judge(&info).iter().map(|finding| finding.state).collect();
        assert_eq!(states, [State::Failed, State::Failed, State::Warning]);
        let info = parse("INFO {\"version\":\"2.15.1\",\"jetstream\":true,\"max_payload\":8388608}").unwrap();
        assert!(judge(&info).iter().all(|finding| finding.state == State::Ok));
    }
}
