//! `lattice call`: asks an actor something and prints its reply as it is.

use std::io::Read;
use std::time::Duration;

use lattice_proto::admin::CallRequest;
use lattice_proto::{ActorId, Operation};

use crate::admin;
use crate::cli::Global;
use crate::duration;
use crate::failure::Failure;
use crate::output;

/// How much longer than the call itself its answer may take on the way here.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// What an actor is told, as every command takes it that tells one something.
#[derive(Debug, clap::Args)]
pub(super) struct Told {
    /// The actor, with its key if it is a keyed one
    #[arg(value_name = "ACTOR[/KEY]")]
    pub target: ActorId,
    /// Which of its operations
    pub operation: Operation,
    /// The arguments: as JSON, in a file, or on stdin
    #[arg(value_name = "JSON|@FILE|-")]
    payload: Option<String>,
    /// The payload is an encoded Protobuf message
    #[arg(long)]
    protobuf: bool,
}

impl Told {
    /// Reads the payload, and sees that it is what it is said to be.
    pub fn payload(&self) -> Result<Vec<u8>, Failure> {
        let payload = read(self.payload.as_deref())?;
        if !self.protobuf && !payload.is_empty() {
            check(&payload)?;
        }
        Ok(payload)
    }

    pub fn content_type(&self) -> String {
        if self.protobuf { "application/protobuf" } else { "application/json" }.to_owned()
    }
}

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    told: Told,
    /// Give up after so long
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    timeout: Duration,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let payload = args.told.payload()?;
    let mut client = admin::connect(global).await?;
    let mut request = tonic::Request::new(CallRequest {
        target: args.told.target.to_string(),
        operation: args.told.operation.to_string(),
        payload: payload.into(),
        content_type: args.told.content_type(),
        timeout_ms: u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX),
        traceparent: std::env::var("TRACEPARENT").unwrap_or_default(),
    });
    request.set_timeout(args.timeout.saturating_add(GRACE));
    let reply = client.call(request).await;
    let reply = reply.map_err(|status| Failure::from(status).of_message())?.into_inner();
    if global.verbose > 0 && !reply.trace_id.is_empty() {
        global.output.note(&format!("trace {}", reply.trace_id));
    }
    output::bytes(&reply.payload)?;
    // A prompt right behind the reply would be misread as part of it; pipes get the reply alone.
    if output::is_terminal() { output::bytes(b"\n") } else { Ok(()) }
}

pub(super) fn read(payload: Option<&str>) -> Result<Vec<u8>, Failure> {
    match payload {
        None => Ok(Vec::new()),
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        Some(text) => match text.strip_prefix('@') {
            Some(file) => std::fs::read(file).map_err(|error| {
                Failure::usage(format!("{file} cannot be read: {error}; name a file after the @"))
            }),
            None => Ok(text.as_bytes().to_vec()),
        },
    }
}

pub(super) fn check(payload: &[u8]) -> Result<(), Failure> {
    serde_json::from_slice::<serde::de::IgnoredAny>(payload).map(drop).map_err(|error| {
        let shown: String = String::from_utf8_lossy(payload).chars().take(60).collect();
        Failure::usage(format!(
            "`{shown}` is no JSON ({error}); a text needs its own quotes, as in '\"Ada\"'"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_quotes_is_refused_with_a_hint() {
        assert!(check(b"Ada").unwrap_err().to_string().contains("'\"Ada\"'"));
        assert!(check(b"\"Ada\"").is_ok());
    }

    #[test]
    fn payloads_come_from_the_command_line_or_a_file() {
        assert_eq!(read(None).unwrap(), b"");
        assert_eq!(read(Some("{}")).unwrap(), b"{}");
        assert!(read(Some("@/nonexistent/file")).is_err());
    }
}
