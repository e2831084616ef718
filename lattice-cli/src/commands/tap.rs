//! `lattice tap`: the messages of an actor as they are handled, over all nodes.

use std::ops::ControlFlow;

use lattice_proto::admin::{TapRequest, TappedBody, TappedMessage};
use lattice_proto::log::plain;
use serde::Serialize;
use serde_json::Value;

use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;
use crate::moment::utc;
use crate::output::{self, Format};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Values are hidden by the names of their fields: password, passphrase, secret, token, authorization, api key, credential, cookie and \
private key and their like always are, and those that --hide names, wherever they are in the arguments and in the answer. A value without \
a name goes by what it is in, and at the top by the operation; a text that is no JSON is hidden where such a name stands in it. Keys of the \
actor are shown unless `--hide key` says otherwise; what faults say never is.

It takes a token with the role `tap`, and `lattice events` tells who watched what.")]
pub struct Args {
    /// The actor, or one key of it as `name/key`
    actor: String,
    /// Only this operation
    #[arg(long, value_name = "OPERATION")]
    operation: Option<String>,
    /// Hide the values of fields whose names contain this; may be given again
    #[arg(long, value_name = "FIELD")]
    hide: Vec<String>,
    /// At most so many messages in a second from each node; how many are left out is told
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// End after so many messages
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// A message as `-o json` shows it, each on a line of its own.
#[derive(Debug, Serialize)]
struct Row {
    at_ms: u64,
    at: String,
    node: String,
    actor: String,
    key: Option<String>,
    operation: String,
    caller: Option<String>,
    cause: String,
    message_id: String,
    trace_id: Option<String>,
    attempt: u32,
    version: u64,
    took_us: u64,
    payload: Body,
    /// Absent where it failed.
    answer: Option<Body>,
    /// The kind.
    fault: Option<String>,
}

/// Messages that were too many.
#[derive(Debug, Serialize)]
struct Skipped {
    node: String,
    skipped: u64,
}

/// Why a node shows nothing.
#[derive(Debug, Serialize)]
struct Problem {
    node: String,
    problem: String,
}

/// Arguments or an answer.
#[derive(Debug, Serialize)]
struct Body {
    bytes: u64,
    content_type: String,
    /// The text where it was cut, and is no JSON any more for that; absent where it never was.
    json: Option<Value>,
    cut: bool,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let request = TapRequest {
        actor: args.actor,
        operation: args.operation.unwrap_or_default(),
        per_second: args.rate,
        hide: args.hide,
    };
    let mut client = admin::connect(global).await?;
    let mut messages = client.tap(request).await?.into_inner();
    global.output.note("watching; end it with Ctrl-C");
    let mut left = args.limit;
    while let Some(message) = messages.message().await? {
        let is_message = message.skipped == 0 && message.problem.is_empty();
        if show(message, global.output)?.is_break() {
            return Ok(());
        }
        if is_message && let Some(left) = &mut left {
            *left -= 1;
            if *left == 0 {
                return Ok(());
            }
        }
    }
    Err(Failure::stream_ended())
}

fn show(message: TappedMessage, output: Format) -> Result<ControlFlow<()>, Failure> {
    if !message.problem.is_empty() {
        let problem = Problem { node: message.node, problem: message.problem };
        return match output {
            Format::Text => {
                output::next_line(&plain(&format!("{} shows nothing: {}", problem.node, problem.problem)))
            }
            Format::Json => json(&problem),
        };
    }
    if message.skipped > 0 {
        let skipped = Skipped { node: message.node, skipped: message.skipped };
        return match output {
            Format::Text => output::next_line(&plain(&format!(
                "{} more messages on {} are not shown: --rate shows more of them, and --operation fewer others",
                skipped.skipped, skipped.node
            ))),
            Format::Json => json(&skipped),
        };
    }
    let row = Row::from(message);
    match output {
        Format::Text => output::next_line(&text(&row)),
        Format::Json => json(&row),
    }
}

fn json(row: &impl Serialize) -> Result<ControlFlow<()>, Failure> {
    output::next_line(&serde_json::to_string(row).map_err(anyhow::Error::from)?)
}

impl From<TappedMessage> for Row {
    fn from(message: TappedMessage) -> Self {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            at_ms: message.at_ms,
            at: utc(message.at_ms),
            node: message.node,
            actor: message.actor,
            key: some(message.key),
            operation: message.operation,
            caller: some(message.caller),
            cause: message.cause,
            message_id: message.message_id,
            trace_id: some(message.trace_id),
            attempt: message.attempt,
            version: message.version,
            took_us: message.took_us,
            payload: message.payload.unwrap_or_default().into(),
            answer: message.answer.map(Body::from),
            fault: some(message.fault),
        }
    }
}

impl From<TappedBody> for Body {
    fn from(body: TappedBody) -> Self {
        let TappedBody { bytes, content_type, json, cut } = body;
        let value = (!json.is_empty()).then(|| serde_json::from_str(&json).unwrap_or(Value::String(json)));
        Self { bytes, content_type, json: value, cut }
    }
}

/// A message for people: when, where, whose and how long, then what came and what came of it.
fn text(row: &Row) -> String {
    let key = row.key.as_deref().map(|key| format!("/{key}")).unwrap_or_default();
    let from = row.caller.as_deref().map(|caller| format!(" from {caller}")).unwrap_or_default();
    let cause = if row.cause == "call" { String::new() } else { format!(" ({})", row.cause) };
    let attempt = if row.attempt > 1 { format!(", attempt {}", row.attempt) } else { String::new() };
    let took = match row.took_us {
        us @ 0..1_000 => format!("{us} us"),
        us => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
    };
    let outcome = match (&row.answer, &row.fault) {
        (_, Some(fault)) => format!("failed: {fault}"),
        (Some(answer), None) => body(answer),
        (None, None) => "nothing is known".to_owned(),
    };
    // It comes from another machine; a terminal must not take it for commands.
    plain(&format!(
        "{}  {}  {}{key} {}{cause}{from}  {took}{attempt}\n    {}\n    -> {outcome}",
        row.at,
        row.node,
        row.actor,
        row.operation,
        body(&row.payload)
    ))
}

fn body(body: &Body) -> String {
    let shown = match &body.json {
        // Of what was cut, as it is.
        Some(Value::String(text)) if body.cut => text.clone(),
        Some(json) => json.to_string(),
        None if body.bytes == 0 => "nothing".to_owned(),
        None => return format!("{} bytes of {}", body.bytes, body.content_type),
    };
    if body.cut { format!("{shown}… ({} bytes)", body.bytes) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_came_and_what_came_of_it() {
        let body = |json: &str, cut| {
            let content_type = "application/json".to_owned();
            Some(TappedBody { bytes: 20, content_type, json: json.to_owned(), cut })
        };
        let message = |answer, fault: &str| {
            Row::from(TappedMessage {
                node: "n1".into(),
                actor: "cart".into(),
                key: "alice\u{1b}".into(),
                operation: "add".into(),
                caller: "shop".into(),
                cause: "call".into(),
                took_us: 1_250,
                payload: body(r#"{"sku":"tea"}"#, false),
                answer,
                fault: fault.into(),
                ..TappedMessage::default()
            })
        };
        let first = "1970-01-01T00:00:00.000Z  n1  cart/alice\\u{1b} add from shop  1.2 ms\n    {\"sku\":\"tea\"}\n    -> ";
        let answered = text(&message(body(r#"{"a":"b"#, true), ""));
        assert_eq!(answered, format!("{first}{{\"a\":\"b… (20 bytes)"));
        assert_eq!(text(&message(None, "rejected")), format!("{first}failed: rejected"));
        assert_eq!(text(&message(body("", false), "")), format!("{first}20 bytes of application/json"));
    }
}
