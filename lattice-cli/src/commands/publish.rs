//! `lattice publish`: publishes a message for whoever subscribes to its topic, and does not wait until it was handled.

use std::time::Duration;

use lattice_proto::Topic;
use lattice_proto::admin::PublishRequest;

use super::send::Stored;
use super::{call, operation, topics};
use crate::admin;
use crate::cli::Global;
use crate::duration;
use crate::failure::Failure;
use crate::output::Format;

/// How long it may take to find out whether anybody subscribes.
const COURTESY: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Words with dots between them, such as orders.created
    topic: Topic,
    /// What is told: as JSON, in a file, or on stdin
    #[arg(value_name = "JSON|@FILE|-")]
    payload: Option<String>,
    /// What the payload is, where it is no JSON
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    content_type: String,
    /// The message's id; published once more under the same id within two minutes it is stored once
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Give up after so long if it cannot be stored
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    timeout: Duration,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let payload = call::read(args.payload.as_deref())?;
    if args.content_type == "application/json" && !payload.is_empty() {
        call::check(&payload)?;
    }
    let mut client = admin::connect(global).await?;
    let mut request = tonic::Request::new(PublishRequest {
        topic: args.topic.to_string(),
        payload: payload.into(),
        content_type: args.content_type,
        timeout_ms: u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX),
        traceparent: std::env::var("TRACEPARENT").unwrap_or_default(),
        request_id: args.id.unwrap_or_else(operation::request_id),
    });
    request.set_timeout(args.timeout.saturating_add(call::GRACE));
    let id = client.publish(request).await?.into_inner().id;
    global.output.print(&Stored { id }, |stored| format!("published {}", stored.id))?;
    if global.output == Format::Text && !is_heard(&args.topic, global).await {
        let topic = &args.topic;
        global.output.note(&format!(
            "nobody subscribes to `{topic}` now, and who does so later gets what is published from then on; `lattice topics` lists \
             what is subscribed to"
        ));
    }
    Ok(())
}

/// Whether anybody subscribes to a topic; also where that cannot be told, as it is a courtesy.
async fn is_heard(topic: &Topic, global: &Global) -> bool {
    let rows = tokio::time::timeout(COURTESY, topics::rows("", global)).await;
    rows.map_or(true, |rows| rows.map_or(true, |rows| rows.iter().any(|row| row.stands_for(topic))))
}
