//! What only keyed actors set, and what they do not set.

use toml::Spanned;

use super::{Error, SourceActor, Text};
use crate::manifest::{Bytes, Keyed, Kind, Millis};

/// What an actor is, as its fields say it.
pub(super) fn kind(
    at: &Text<'_>,
    field: &impl Fn(&str) -> String,
    source: &SourceActor,
) -> Result<Kind, Error> {
    let is_keyed = match source.kind.as_ref().map(|kind| (kind, kind.get_ref().as_str())) {
        None | Some((_, "replicated")) => false,
        Some((_, "keyed")) => true,
        Some((kind, _)) => return Err(at.error(&field("kind"), kind, "expected `replicated` or `keyed`")),
    };
    let state = source.limits.as_ref().and_then(|limits| limits.state.as_ref());
    if !is_keyed {
        let only = "only keyed actors have it; remove it, or say `kind = \"keyed\"`";
        refuse(at, &field("idle"), source.idle.as_ref(), only)?;
        refuse(at, &field("mode"), source.mode.as_ref(), only)?;
        refuse(at, &field("limits.state"), state, only)?;
        return Ok(Kind::Replicated);
    }
    let one = "a keyed actor has one activation for each key, which takes one message at a time; remove it";
    refuse(at, &field("replicas"), source.replicas.as_ref(), one)?;
    refuse(at, &field("concurrency"), source.concurrency.as_ref(), one)?;
    let typed = "keyed actors answer HTTP clients at `/actors`, where `ingress = [\"http\"]`; remove it";
    refuse(at, &field("http"), source.http.as_ref(), typed)?;
    let no_key = "a message of a topic is for no key; let a replicated actor subscribe, and call or send to the key that it is for";
    let subscribe = source.subscribe.as_ref().and_then(|subscribe| subscribe.first());
    refuse(at, &field("subscribe"), subscribe, no_key)?;
    let canary = source.update.as_ref().and_then(|update| update.canary.as_ref());
    refuse(at, &field("update.canary"), canary, "two versions cannot share the state of one key; remove it")?;
    let mut keyed = Keyed::default();
    if let Some(idle) = &source.idle {
        keyed.idle = at.parsed(&field("idle"), idle)?;
        if !(Millis(100)..=Millis(30 * 24 * 3_600_000)).contains(&keyed.idle) {
            return Err(at.error(&field("idle"), idle, "expected 100ms to 720h"));
        }
    }
    if let Some(mode) = &source.mode {
        keyed.strict = match mode.get_ref().as_str() {
            "default" => false,
            "strict" => true,
            _ => return Err(at.error(&field("mode"), mode, "expected `default` or `strict`")),
        };
    }
    if let Some(state) = state {
        keyed.state = at.parsed(&field("limits.state"), state)?;
        if !(Bytes(1)..=Bytes(64 << 20)).contains(&keyed.state) {
            return Err(at.error(&field("limits.state"), state, "expected 1 to 64MiB"));
        }
    }
    Ok(Kind::Keyed(keyed))
}

fn refuse<T>(at: &Text<'_>, field: &str, value: Option<&Spanned<T>>, why: &str) -> Result<(), Error> {
    value.map_or(Ok(()), |value| Err(at.error(field, value, why)))
}
