//! Whether an artifact is what its manifest says of it, and can be run as that asks. Each refusal names the line that would mend it.

use lattice_proto::ActorName;
use lattice_proto::manifest::{Grants, Settings, Subscription};
use lattice_proto::metadata::OperationMetadata;

use super::Error;
use crate::engine::{Compiled, Needs};

/// Whether what an actor may be sent, and a key may keep, goes through the NATS server, which has room for so many bytes.
pub(super) fn is_carried(name: &ActorName, settings: &Settings, room: u64) -> Result<(), Error> {
    let state = settings.kind.keyed().map(|keyed| ("state", keyed.state));
    for (limit, asked) in [("payload", settings.limits.payload)].into_iter().chain(state) {
        if asked.0 > room {
            return Err(Error::Invalid(format!(
                "actor `{name}`: limits.{limit} is {asked}, and this NATS server carries at most {room} bytes \
                 besides the envelope; lower it, or raise `max_payload` of the server"
            )));
        }
    }
    Ok(())
}

/// Whether an artifact suits all that its manifest says.
pub(super) fn is_as_it_says(name: &ActorName, settings: &Settings, compiled: &Compiled) -> Result<(), Error> {
    is_of_its_kind(name, settings, compiled)?;
    serves_as_it_says(name, settings, compiled.is_http())?;
    is_granted(name, &settings.grants, compiled.needs())?;
    waits_as_it_says(name, settings, compiled)?;
    handles_what_it_hears(name, settings, &compiled.metadata().operations)
}

/// Whether it is keyed where its manifest says so, and there only.
fn is_of_its_kind(name: &ActorName, settings: &Settings, compiled: &Compiled) -> Result<(), Error> {
    if compiled.is_keyed() == settings.kind.keyed().is_some() {
        return Ok(());
    }
    let (is, say) = match compiled.is_keyed() {
        true => ("a keyed", "keyed"),
        false => ("a replicated", "replicated"),
    };
    Err(Error::Invalid(format!(
        "the artifact of `{name}` is {is} actor; say `kind = \"{say}\"` in its manifest"
    )))
}

/// Whether what an artifact is built for is what its manifest lets it serve.
fn serves_as_it_says(name: &ActorName, settings: &Settings, is_http: bool) -> Result<(), Error> {
    let problem = match is_http {
        true if settings.http.is_empty() => {
            "was built for HTTP, and its manifest routes no requests to it; say `http = {}` for all of them, or \
             `http = { host = \"…\", path = \"/…\" }`"
        }
        true if !settings.ingress.is_empty() => "was built for HTTP and takes no messages; remove `ingress`",
        false if !settings.http.is_empty() => {
            "was not built for HTTP; remove `http`, or say `ingress = [\"http\"]` to let HTTP clients call it at `/actors`"
        }
        _ => return Ok(()),
    };
    Err(Error::Invalid(format!("the artifact of `{name}` {problem}")))
}

/// Whether an artifact has the operations that are to handle what its actor subscribes to, where it says what it has.
fn handles_what_it_hears(
    name: &ActorName,
    settings: &Settings,
    operations: &[OperationMetadata],
) -> Result<(), Error> {
    let has = |wanted: &Subscription| operations.iter().any(|operation| operation.name == wanted.operation);
    match settings.subscribe.iter().find(|wanted| !operations.is_empty() && !has(wanted)) {
        None => Ok(()),
        Some(Subscription { topic, operation }) => {
            let known: Vec<_> = operations.iter().map(|operation| format!("`{}`", operation.name)).collect();
            Err(Error::Invalid(format!(
                "the artifact of `{name}` has no operation `{operation}` to handle `{topic}`; it has {}. Name one of them, as in \
                 `subscribe = [{{ topic = \"{topic}\", operation = \"…\" }}]`",
                known.join(", ")
            )))
        }
    }
}

/// Whether an artifact can handle as many messages at once as its manifest says: one that stands still for a call would keep all others from
/// going on.
fn waits_as_it_says(name: &ActorName, settings: &Settings, compiled: &Compiled) -> Result<(), Error> {
    match compiled.blocks().filter(|_| settings.concurrency > 1) {
        None => Ok(()),
        Some(function) => Err(Error::Invalid(format!(
            "`{name}` has `concurrency = {}`, and `{function}`, as its artifact has it, is no `async func`: all messages in an \
             instance would wait for each call of it; make it one, or say `concurrency = 1`",
            settings.concurrency
        ))),
    }
}

/// Whether the manifest grants what an artifact cannot run without.
fn is_granted(name: &ActorName, grants: &Grants, needs: Needs) -> Result<(), Error> {
    let missing = match needs {
        Needs { keyvalue: true, .. } if grants.keyvalue.is_empty() => {
            "imports `wasi:keyvalue`, which its manifest does not grant; name the stores that it may open, such as \
             `grants = { keyvalue = [\"default\"] }`"
        }
        Needs { blobstore: true, .. } if grants.blobstore.are_none() => {
            "imports `wasi:blobstore`, which its manifest does not grant; name the containers that it may open, such as \
             `grants = { blobstore = [\"photos\"] }`, or `[\"*\"]` for all"
        }
        _ => return Ok(()),
    };
    Err(Error::Invalid(format!("the artifact of `{name}` {missing}")))
}
