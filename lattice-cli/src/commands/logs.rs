//! `lattice logs`: what an actor's guests write, and what nodes say of it, over all nodes in the order of time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use lattice_proto::Ran;
use lattice_proto::admin::{LogLine, WatchLogsRequest};
use lattice_proto::log::{Level, plain};
use serde::Serialize;

use crate::admin;
use crate::cli::Global;
use crate::commands::ps;
use crate::duration;
use crate::failure::Failure;
use crate::moment::utc;
use crate::output::{self, Format};

/// How much further back than the last line is asked for after the node was away.
const SLACK: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor, or one key of it as `name/key`
    #[arg(required_unless_present = "node")]
    actor: Option<String>,
    /// Go on with what is written from now on; with `-o json` each line is a document of its own
    #[arg(short, long)]
    follow: bool,
    /// Only what was written within this time, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    since: Option<Duration>,
    /// Only the last so many lines that are there
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<u32>,
    /// Only lines of this level or worse: trace, debug, info, warn, error
    #[arg(long, value_name = "LEVEL")]
    level: Option<Level>,
    /// Only what this node keeps; without an actor, what it says of itself
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

/// A line as `-o json` shows it.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    at_ms: u64,
    at: String,
    node: String,
    number: u64,
    level: String,
    actor: Option<String>,
    key: Option<String>,
    version: Option<u64>,
    target: String,
    trace_id: Option<String>,
    span_id: Option<String>,
    source: String,
    text: String,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let since_ms = args.since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let mut request = WatchLogsRequest {
        actor: args.actor.unwrap_or_default(),
        node: args.node.unwrap_or_default(),
        since_ms,
        last: args.tail.unwrap_or(0),
        follow: args.follow,
        level: args.level.map(|level| level.to_string()).unwrap_or_default(),
    };
    if args.tail == Some(0) && !args.follow {
        return global.output.print(&Vec::<Row>::new(), |_| String::new());
    }
    if !args.follow {
        let mut rows = Vec::new();
        let keep = |row| {
            rows.push(row);
            Ok(ControlFlow::Continue(()))
        };
        // It ends by itself; nobody breaks it off.
        let _ = read(&request, global, keep).await?;
        if rows.is_empty() && !request.actor.is_empty() {
            nothing(&request, global).await?;
        }
        return global.output.print(&rows, |rows| rows.iter().map(line).collect::<Vec<_>>().join("\n"));
    }
    if args.tail == Some(0) {
        // Nothing of what is there.
        (request.last, request.since_ms) = (0, 1);
    }
    let show = |row: Row| match global.output {
        Format::Text => output::next_line(&line(&row)),
        Format::Json => output::next_line(&serde_json::to_string(&row).map_err(anyhow::Error::from)?),
    };
    follow(request, global, show).await
}

/// Goes on with what an actor writes from now on, until `show` has had enough.
pub(super) async fn from_now_on(
    actor: &str,
    global: &Global,
    show: impl FnMut(Row) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let request = WatchLogsRequest {
        actor: actor.to_owned(),
        since_ms: 1,
        follow: true,
        ..WatchLogsRequest::default()
    };
    follow(request, global, show).await
}

/// Reads on when the node was away.
async fn follow(
    mut request: WatchLogsRequest,
    global: &Global,
    mut show: impl FnMut(Row) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let (mut away, mut seen) = (false, Seen::default());
    loop {
        let show = |row: Row| {
            away = false;
            if seen.takes(&row) { show(row) } else { Ok(ControlFlow::Continue(())) }
        };
        let failure = match read(&request, global, show).await {
            Ok(ControlFlow::Break(())) => return Ok(()),
            Ok(ControlFlow::Continue(())) => Failure::stream_ended(),
            Err(failure) => failure,
        };
        // A node that cannot be reached at first is a mistake in the address rather than a restart.
        if !failure.passes() || (failure.kind == "unreachable" && !away && seen.heard.is_none()) {
            return Err(failure);
        }
        if !away {
            global.output.note(&format!("{failure}; it is tried again until it is back"));
        }
        away = true;
        tokio::time::sleep(admin::RETRY).await;
        // From the last line on that was shown, with some time for clocks that differ; what was shown is not shown again.
        if let Some(heard) = seen.heard {
            let since = u64::try_from((heard.elapsed() + SLACK).as_millis()).unwrap_or(u64::MAX);
            (request.last, request.since_ms) = (0, since);
        }
    }
}

/// Why there is no line of an actor. Of one that is no more deployed there may be some, so that a name is a mistake only if there
/// are none.
async fn nothing(wanted: &WatchLogsRequest, global: &Global) -> Result<(), Failure> {
    let name = wanted.actor.split('/').next().unwrap_or_default();
    if wanted.since_ms > 0 || !wanted.level.is_empty() || !wanted.node.is_empty() {
        global.output.note("nothing that is there was asked for");
        return Ok(());
    }
    // A courtesy, and no reason to fail.
    let Ok(rows) = ps::rows(global).await else { return Ok(()) };
    if rows.iter().any(|row| row.actor == name) {
        global.output.note(
            "nothing is there: either nothing was written, by default from info on (`env.LATTICE_LOG`), or the manifest has \
             no `grants = { log = true }`, without which nothing that it writes is kept",
        );
        return Ok(());
    }
    let problem = format!(
        "no actor `{name}` is deployed, and none of its lines is left; `lattice ps` lists those that are"
    );
    Err(Failure::new("not-found", Ran::No, problem))
}

/// What was shown.
#[derive(Default)]
struct Seen {
    /// When the last line came.
    heard: Option<Instant>,
    /// The last line of each node: its number, and when it was written.
    last: BTreeMap<String, (u64, u64)>,
}

impl Seen {
    /// Whether a line is new. A node that was started anew counts anew.
    fn takes(&mut self, row: &Row) -> bool {
        self.heard = Some(Instant::now());
        let last = self.last.get(&row.node);
        let is_new = last.is_none_or(|(number, at_ms)| row.number > *number || row.at_ms > *at_ms);
        // What is said of the reading itself has no number.
        if is_new && row.number > 0 {
            self.last.insert(row.node.clone(), (row.number, row.at_ms));
        }
        is_new
    }
}

/// Reads one stream to its end, or until `take` has had enough.
async fn read(
    request: &WatchLogsRequest,
    global: &Global,
    mut take: impl FnMut(Row) -> Result<ControlFlow<()>, Failure>,
) -> Result<ControlFlow<()>, Failure> {
    let mut client = admin::connect(global).await?;
    let mut lines = client.watch_logs(request.clone()).await?.into_inner();
    while let Some(line) = lines.message().await? {
        if take(Row::from(line))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

impl From<LogLine> for Row {
    fn from(line: LogLine) -> Self {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            at_ms: line.at_ms,
            at: utc(line.at_ms),
            node: line.node,
            number: line.number,
            level: line.level,
            actor: some(line.actor),
            key: some(line.key),
            version: Some(line.version).filter(|version| *version > 0),
            target: line.target,
            trace_id: some(line.trace_id),
            span_id: some(line.span_id),
            source: line.source,
            text: line.text,
        }
    }
}

/// A line for people: when, where, how bad, whose, and what; what goes on over several lines is indented.
pub(super) fn line(row: &Row) -> String {
    let Row { at, node, level, target, text, .. } = row;
    let key = row.key.as_deref().map(|key| format!("/{key}")).unwrap_or_default();
    let whose = format!("{}{key}", row.actor.as_deref().unwrap_or_default());
    let whose = if whose.is_empty() { target.clone() } else { whose };
    let trace = row.trace_id.as_deref().map(|trace| format!("  trace={trace}")).unwrap_or_default();
    // It comes from another machine; a terminal must not take it for commands.
    plain(&format!(
        "{at}  {node}  {:<5}  {whose}  {}{trace}",
        level.to_uppercase(),
        text.replace('\n', "\n    ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_is_not_shown_again() {
        let row = |node: &str, number, at_ms| {
            Row::from(LogLine { node: node.into(), number, at_ms, ..LogLine::default() })
        };
        let mut seen = Seen::default();
        assert!(
            seen.takes(&row("a", 5, 100)) && seen.takes(&row("a", 6, 100)) && seen.takes(&row("b", 5, 90))
        );
        assert!(!seen.takes(&row("a", 5, 100)) && !seen.takes(&row("a", 6, 100)));
        assert!(seen.takes(&row("a", 7, 100)));
        assert!(seen.takes(&row("a", 1, 200)), "it was started anew");
    }

    #[test]
    fn a_line_says_when_where_and_whose() {
        let row = Row::from(LogLine {
            at_ms: 0,
            node: "n1".into(),
            level: "warn".into(),
            actor: "cart".into(),
            key: "alice\u{1b}".into(),
            trace_id: "ab".into(),
            text: "it trapped\nframe".into(),
            ..LogLine::default()
        });
        let text = "1970-01-01T00:00:00.000Z  n1  WARN   cart/alice\\u{1b}  it trapped\n    frame  trace=ab";
        assert_eq!(line(&row), text);
    }
}
