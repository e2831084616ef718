//! Keys as operators see them: what there is of one, and what it keeps.
//!
//! What is read comes from the store. What is written goes to the owner of the key, as a call does, so that it takes its
//! place among the turns of the key and is committed like one.

use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use lattice_proto::admin::{
    self, DeleteStateRequest, ExportStateRequest, KeyInfo, KeyRecord, KeyState, PutStateRequest,
    PutStateResponse,
};
use lattice_proto::envelope::{Aim, ContentType, Overwrite, Seen};
use lattice_proto::reminder::{MAX_REMINDERS, Reminder, Repeat};
use lattice_proto::{ActorId, ActorName, Fault, Operation};
use tonic::Status;

use super::service::timeout;
use super::{Parts, error};
use crate::keyed::Kept;
use crate::router::Ask;

/// How long the owner of a key is asked what it has in memory.
const LOOK: Duration = Duration::from_millis(500);

/// Records that are read at once.
const READ_AHEAD: usize = 16;

/// What an export gives.
pub(super) type States = Pin<Box<dyn Stream<Item = Result<KeyState, Status>> + Send>>;

/// What there is of a key.
pub(super) async fn inspect(parts: &Parts, actor: &str) -> Result<KeyInfo, Status> {
    let actor = key(actor)?;
    let table = parts.owners.follow().borrow().clone();
    let shard = shard(parts, &actor)?;
    let owner = table.shards.owner(shard);
    let (record, letters) =
        tokio::try_join!(parts.store.look(shard, &actor), parts.letters.waiting(shard, &actor))
            .map_err(|error| error::from_bus(&error))?;
    let seen = match look(parts, &actor).await {
        // What was kept by an actor that is not deployed any more can be looked at.
        Err(fault @ Fault::NoSuchActor(_)) if record.is_none() && letters == 0 => {
            return Err(error::from_fault(&fault));
        }
        seen => seen.ok(),
    };
    Ok(KeyInfo {
        actor: actor.to_string(),
        shard: shard.0.into(),
        owner: owner.map(|(owner, _)| owner.name.to_string()).unwrap_or_default(),
        owner_id: owner.map(|(owner, _)| owner.incarnation.to_string()).unwrap_or_default(),
        owner_epoch: owner.map_or(0, |(_, epoch)| epoch),
        next_owner: table.shards.next(shard).map(|next| next.name.to_string()).unwrap_or_default(),
        awake: seen.map(|seen| seen.awake),
        messages: seen.map(|seen| seen.messages),
        letters,
        record: record.map(describe),
    })
}

/// What the owner has of it in memory, if it says so.
async fn look(parts: &Parts, actor: &ActorId) -> Result<Seen, Fault> {
    let payload = parts.router.call(ask(actor, "look", Bytes::new(), Aim::Look, LOOK)).await?;
    Seen::decode(payload).map_err(|error| Fault::Malformed(error.to_string()))
}

/// What a key keeps.
pub(super) async fn get(parts: &Parts, actor: &str) -> Result<KeyState, Status> {
    read(parts, key(actor)?).await
}

/// Overwrites what a key keeps.
pub(super) async fn put(parts: &Parts, request: PutStateRequest) -> Result<PutStateResponse, Status> {
    let PutStateRequest { actor, state, if_revision, reminders, timeout_ms } = request;
    let reminders = reminders.map(|reminders| parse(reminders.reminders)).transpose()?;
    let what = match &state {
        Some(state) => format!("an operator overwrote its state with {} bytes", state.len()),
        None => "an operator deleted its state and set its reminders".to_owned(),
    };
    let overwrite = Overwrite { delete: state.is_none(), if_revision, reminders };
    write(parts, &key(&actor)?, state.unwrap_or_default(), overwrite, timeout_ms, &what).await
}

/// Deletes what a key keeps.
pub(super) async fn delete(parts: &Parts, request: DeleteStateRequest) -> Result<PutStateResponse, Status> {
    let DeleteStateRequest { actor, if_revision, timeout_ms } = request;
    let overwrite = Overwrite { delete: true, if_revision, reminders: None };
    write(parts, &key(&actor)?, Bytes::new(), overwrite, timeout_ms, "an operator deleted its state").await
}

async fn write(
    parts: &Parts,
    actor: &ActorId,
    state: Bytes,
    overwrite: Overwrite,
    timeout_ms: u64,
    what: &str,
) -> Result<PutStateResponse, Status> {
    let ask = ask(actor, "overwrite", state, Aim::Overwrite(overwrite), timeout(timeout_ms));
    let written = parts.router.call(ask).await;
    match written {
        Ok(_) => {
            parts.events.overwritten(actor, what);
            Ok(PutStateResponse {})
        }
        // A node of an earlier version takes it for a call.
        Err(Fault::NoSuchOperation(_)) => Err(error::unavailable(format!(
            "the node that owns `{actor}` is of an earlier version, which cannot do that; update it first"
        ))),
        Err(fault) => Err(error::from_fault(&fault)),
    }
}

/// What all keys of an actor keep.
pub(super) async fn export(parts: &Parts, request: ExportStateRequest) -> Result<States, Status> {
    let actor: ActorName = request.actor.parse().map_err(error::invalid)?;
    let keys = parts.store.keys(&actor).await.map_err(|error| error::from_bus(&error))?;
    let parts = parts.clone();
    let states = stream::iter(keys).map(move |key| {
        let parts = parts.clone();
        async move { read(&parts, key).await }
    });
    Ok(Box::pin(states.buffered(READ_AHEAD)))
}

async fn read(parts: &Parts, actor: ActorId) -> Result<KeyState, Status> {
    let kept =
        parts.store.look(shard(parts, &actor)?, &actor).await.map_err(|error| error::from_bus(&error))?;
    let empty = KeyState { actor: actor.to_string(), ..KeyState::default() };
    Ok(match kept.map(|kept| kept.record) {
        None => empty,
        Some(Err(damaged)) => KeyState { damaged, ..empty },
        Some(Ok(record)) => KeyState {
            revision: record.revision,
            epoch: record.epoch,
            state: record.state,
            reminders: record.reminders.into_iter().map(remind).collect(),
            ..empty
        },
    })
}

fn ask(actor: &ActorId, operation: &'static str, payload: Bytes, aim: Aim, timeout: Duration) -> Ask {
    // Not a name that the SDK makes an operation of: a node that does not know what it is finds none.
    let operation: Operation =
        format!("lattice-{operation}").parse().unwrap_or_else(|_| unreachable!("a name"));
    Ask {
        id: None,
        target: actor.clone(),
        operation,
        payload,
        content_type: ContentType::Other("application/octet-stream".into()),
        deadline: Instant::now() + timeout,
        caller: None,
        chain: Vec::new(),
        trace: None,
        not_after: None,
        aim,
    }
}

fn key(actor: &str) -> Result<ActorId, Status> {
    let actor: ActorId = actor.parse().map_err(error::invalid)?;
    if actor.key.is_none() {
        return Err(error::invalid(format!("`{actor}` is no key; name one, such as `{actor}/some-key`")));
    }
    Ok(actor)
}

fn shard(parts: &Parts, actor: &ActorId) -> Result<lattice_proto::shard::Shard, Status> {
    let shard = actor.key.as_deref().and_then(|key| parts.owners.shard(&actor.name, key));
    shard.ok_or_else(|| error::missing("this lattice has no keyed actors yet, so it has no keys either"))
}

fn describe(kept: Kept) -> KeyRecord {
    let Kept { record, written_ms, size } = kept;
    let known = KeyRecord { size: size as u64, written_ms, ..KeyRecord::default() };
    match record {
        Err(damaged) => KeyRecord { damaged, ..known },
        Ok(record) => KeyRecord {
            epoch: record.epoch,
            writer: record.owner.to_string(),
            revision: record.revision,
            state_bytes: record.state.map(|state| state.len() as u64),
            outbox: u32::try_from(record.outbox.len()).unwrap_or(u32::MAX),
            reminders: record.reminders.into_iter().map(remind).collect(),
            ..known
        },
    }
}

fn remind(reminder: Reminder) -> admin::Reminder {
    let Reminder { id, due_ms, repeat, operation, payload, content_type, .. } = reminder;
    let (every_ms, cron) = match repeat {
        Repeat::Never => (0, String::new()),
        Repeat::Every(ms) => (ms, String::new()),
        Repeat::Cron(pattern) => (0, pattern),
    };
    let (operation, content_type) = (operation.to_string(), content_type.as_str().to_owned());
    admin::Reminder { id, due_ms, every_ms, cron, operation, payload, content_type }
}

fn parse(reminders: Vec<admin::Reminder>) -> Result<Vec<Reminder>, Status> {
    if reminders.len() > MAX_REMINDERS {
        let count = reminders.len();
        return Err(error::invalid(format!("a key has {MAX_REMINDERS} reminders at most, and not {count}")));
    }
    let one = |reminder: admin::Reminder| {
        let admin::Reminder { id, due_ms, every_ms, cron, operation, payload, content_type } = reminder;
        let wrong = |problem: String| error::invalid(format!("reminders: `{id}`: {problem}"));
        let repeat = match (every_ms, cron.as_str()) {
            (0, "") => Repeat::Never,
            (..1_000, "") => {
                return Err(wrong(format!("it cannot repeat every {every_ms} ms, but every 1000 at most")));
            }
            (ms, "") => Repeat::Every(ms),
            (0, pattern) => {
                pattern.parse::<lattice_cron::Cron>().map_err(|problem| wrong(problem.to_string()))?;
                Repeat::Cron(cron)
            }
            _ => {
                return Err(wrong(
                    "`every_ms` and `cron` both say when it repeats; give one of them".to_owned(),
                ));
            }
        };
        let reminder = Reminder {
            generation: 0,
            due_ms,
            repeat,
            operation: operation.parse().map_err(|problem| wrong(format!("{problem}")))?,
            payload,
            content_type: ContentType::parse(&content_type).map_err(|problem| wrong(problem.to_string()))?,
            armed: false,
            id: id.clone(),
        };
        reminder.check().map_err(|problem| wrong(problem.to_string()))?;
        Ok(reminder)
    };
    let parsed = reminders.into_iter().map(one).collect::<Result<Vec<_>, _>>()?;
    let mut ids: Vec<&str> = parsed.iter().map(|reminder| reminder.id.as_str()).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(error::invalid(format!("reminders: `{}` is there twice", twice[0]))),
        None => Ok(parsed),
    }
}
