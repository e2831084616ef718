//! Follows an operation until what was asked for has come true, or will not.

use std::time::Duration;

use lattice_proto::Ran;
use lattice_proto::admin::{GetOperationRequest, Operation};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::admin::{self, Client};
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::Format;
use crate::progress::Progress;

/// How long a lost connection to the node is tried again; a restart of it fits in, its death is noticed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two tries; long enough to burden nobody.
const RETRY: Duration = Duration::from_millis(250);

/// An operation as `-o json` shows it.
#[derive(Serialize)]
pub struct View {
    operation: String,
    kind: String,
    app: String,
    revision: u64,
    /// The node that is drained.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    done: bool,
    changes: Vec<String>,
    actors: Vec<ActorView>,
}

#[derive(Serialize)]
struct ActorView {
    actor: String,
    desired: u32,
    ready: u32,
    problem: Option<String>,
}

impl From<Operation> for View {
    fn from(operation: Operation) -> Self {
        let actors = operation.actors.into_iter().map(|actor| ActorView {
            actor: actor.actor,
            desired: actor.desired,
            ready: actor.ready,
            problem: Some(actor.problem).filter(|problem| !problem.is_empty()),
        });
        Self {
            operation: operation.id,
            kind: operation.kind,
            app: operation.app,
            revision: operation.revision,
            node: Some(operation.node).filter(|node| !node.is_empty()),
            done: operation.done,
            changes: operation.changes,
            actors: actors.collect(),
        }
    }
}

/// A new request id: the same request sent twice by a retry is one request.
pub fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// What follows when an operation was begun: nothing more after a dry run, or when nobody wants to wait.
pub async fn go_on(
    client: Client,
    started: Operation,
    global: &Global,
    dry_run: bool,
    detach: bool,
) -> Result<(), Failure> {
    if dry_run {
        return global.output.print(&View::from(started), |view| match view.changes.is_empty() {
            true => "nothing would change".to_owned(),
            false => view.changes.join("\n"),
        });
    }
    if detach {
        for change in &started.changes {
            global.output.note(change);
        }
        return print(started, global.output);
    }
    finish(client, started, global).await
}

/// Shows what an operation changes, waits until it is done, and prints how it ended.
pub async fn finish(client: Client, operation: Operation, global: &Global) -> Result<(), Failure> {
    for change in &operation.changes {
        global.output.note(change);
    }
    let changes = operation.changes.clone();
    let ended = follow(client, operation, global).await?;
    // Whoever watches an operation is told how far it is, and not again what it changes.
    print(Operation { changes, ..ended }, global.output)
}

/// Prints an operation as it stands.
pub fn print(operation: Operation, output: Format) -> Result<(), Failure> {
    let remaining = operation.remaining;
    output.print(&View::from(operation), |view| {
        if let Some(node) = &view.node {
            return match view.done {
                true => {
                    format!("{node} is empty and takes nothing new; `lattice uncordon {node}` lets it again")
                }
                false => {
                    format!("{node} is being emptied, {remaining} replicas are left; see `lattice nodes`")
                }
            };
        }
        let running: Vec<_> =
            view.actors.iter().map(|a| format!("{} {}/{}", a.actor, a.ready, a.desired)).collect();
        let what = match (view.kind.as_str(), view.done) {
            ("delete", true) => "is gone".to_owned(),
            (_, true) => format!("revision {} runs", view.revision),
            (_, false) => format!("revision {} is under way; see `lattice ps`", view.revision),
        };
        let tail = if running.is_empty() { String::new() } else { format!(": {}", running.join(", ")) };
        format!("{} {what}{tail}", view.app)
    })
}

/// Waits until an operation is done, and shows how far it is.
pub async fn follow(client: Client, first: Operation, global: &Global) -> Result<Operation, Failure> {
    let mut progress =
        Progress::new(global.output, if first.node.is_empty() { &first.app } else { &first.node });
    let at_first = first.remaining;
    let mut client = Some(client);
    let mut current = first;
    let mut lost_since: Option<Instant> = None;
    loop {
        show(&mut progress, &current, at_first);
        if current.done {
            return settle(current);
        }
        match watch(&mut client, &mut current, &mut progress, at_first, global).await {
            Ok(()) => lost_since = None,
            Err(failure) if failure.ran == Ran::No && !passes(&failure) => return Err(failure),
            Err(failure) => {
                // Watching changes nothing, so it may be asked again; the operation goes on without us.
                let since = *lost_since.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    return Err(lost(&current, &failure));
                }
                client = None;
                sleep(RETRY).await;
            }
        }
    }
}

/// Whether asking again may help: the node, or NATS behind it, is away for the moment.
fn passes(failure: &Failure) -> bool {
    matches!(failure.kind.as_str(), "unreachable" | "unavailable")
}

/// Reads one stream of changes until it ends.
async fn watch(
    client: &mut Option<Client>,
    current: &mut Operation,
    progress: &mut Progress,
    at_first: u32,
    global: &Global,
) -> Result<(), Failure> {
    let client = match client {
        Some(client) => client,
        None => client.insert(admin::connect(global).await?),
    };
    let request = GetOperationRequest { id: current.id.clone() };
    let mut changes = client.watch_operation(request).await?.into_inner();
    while let Some(next) = changes.message().await? {
        *current = next;
        show(progress, current, at_first);
        if current.done {
            return Ok(());
        }
    }
    Err(Failure::new("connection-lost", Ran::Maybe, "the node ended the stream"))
}

fn show(progress: &mut Progress, operation: &Operation, at_first: u32) {
    if !operation.node.is_empty() {
        let total = at_first.max(operation.remaining);
        let message = format!("{} left", operation.remaining);
        return progress.update(u64::from(total - operation.remaining), u64::from(total), &message);
    }
    let total: u64 = operation.actors.iter().map(|a| u64::from(a.desired)).sum();
    let done = operation.actors.iter().map(|a| u64::from(a.ready.min(a.desired))).sum();
    // Nothing is known yet, or nothing is wanted.
    if total == 0 {
        return;
    }
    let waiting = operation.actors.iter().find(|a| a.ready != a.desired || !a.problem.is_empty());
    let message = match waiting {
        Some(actor) if actor.problem.is_empty() => {
            format!("{} {}/{}", actor.actor, actor.ready, actor.desired)
        }
        Some(actor) => format!("{}: {}", actor.actor, actor.problem),
        None => String::new(),
    };
    progress.update(done, total, &message);
}

/// `done` with an error means that it ended without reaching its goal.
fn settle(operation: Operation) -> Result<Operation, Failure> {
    if operation.error.is_empty() {
        return Ok(operation);
    }
    let problems: Vec<_> = operation
        .actors
        .iter()
        .filter(|actor| !actor.problem.is_empty() && !operation.error.contains(&actor.problem))
        .map(|actor| format!("{}: {}", actor.actor, actor.problem))
        .collect();
    let mut message = operation.error.clone();
    if !problems.is_empty() {
        message = format!("{message} ({})", problems.join("; "));
    }
    Err(Failure::new("not-reached", Ran::Yes, message))
}

fn lost(operation: &Operation, last: &Failure) -> Failure {
    let message = format!(
        "operation {} went on, but its node was lost ({last}); see `lattice ps` with another --admin",
        operation.id
    );
    Failure::new("connection-lost", Ran::Maybe, message)
}
