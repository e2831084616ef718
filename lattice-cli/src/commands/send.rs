//! `lattice send`: tells an actor something, durably, and does not wait until it was handled.

use std::time::Duration;

use lattice_proto::admin::SendRequest;
use serde::Serialize;

use super::{call, operation};
use crate::admin;
use crate::cli::Global;
use crate::duration;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    told: call::Told,
    /// The message's id; sent once more under the same id it has no further effect on a keyed actor
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Give up after so long if it cannot be stored
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    timeout: Duration,
}

/// What was stored, as `-o json` shows it.
#[derive(Serialize)]
pub(super) struct Stored {
    pub(super) id: String,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let payload = args.told.payload()?;
    let mut client = admin::connect(global).await?;
    let mut request = tonic::Request::new(SendRequest {
        target: args.told.target.to_string(),
        operation: args.told.operation.to_string(),
        payload: payload.into(),
        content_type: args.told.content_type(),
        timeout_ms: u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX),
        traceparent: std::env::var("TRACEPARENT").unwrap_or_default(),
        request_id: args.id.unwrap_or_else(operation::request_id),
    });
    request.set_timeout(args.timeout.saturating_add(call::GRACE));
    let id = client.send(request).await?.into_inner().id;
    global.output.print(&Stored { id }, |stored| format!("sent {}", stored.id))
}
