//! The manifest as it is written: TOML with the place of every value kept, so that errors can name it.

mod http;
mod http_grant;
mod keyed;
mod links;
mod placement;
mod replicas;
mod topics;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::{
    Actor, Artifact, Bytes, Containers, Grants, Ingress, Kind, Limits, Manifest, Millis, Placement, Replicas,
    Settings, Update, bound,
};
use crate::id::{ActorName, Digest, EXTERNAL, StoreName};
use crate::reference::{self, Reference};

/// What is wrong with a manifest, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {}{message}", if field.is_empty() { String::new() } else { format!("{field}: ") })]
pub struct Error {
    /// As the caller named it.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// With its tables, such as `actors.cart.replicas`; empty when the text is no TOML at all.
    pub field: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    app: SourceApp,
    #[serde(default)]
    actors: BTreeMap<Spanned<String>, SourceActor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceApp {
    name: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceActor {
    kind: Option<Spanned<String>>,
    artifact: Spanned<String>,
    build: Option<Spanned<String>>,
    replicas: Option<Spanned<toml::Value>>,
    concurrency: Option<Spanned<i64>>,
    mailbox: Option<Spanned<i64>>,
    ingress: Option<Vec<Spanned<String>>>,
    http: Option<Spanned<toml::Value>>,
    reuse: Option<Spanned<bool>>,
    subscribe: Option<Vec<Spanned<toml::Value>>>,
    placement: Option<placement::Source>,
    update: Option<update::Source>,
    limits: Option<SourceLimits>,
    grants: Option<SourceGrants>,
    links: Option<BTreeMap<Spanned<String>, Spanned<String>>>,
    env: Option<BTreeMap<Spanned<String>, String>>,
    config: Option<BTreeMap<Spanned<String>, String>>,
    idle: Option<Spanned<String>>,
    mode: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceLimits {
    memory: Option<Spanned<String>>,
    cpu: Option<Spanned<toml::Value>>,
    turn: Option<Spanned<String>>,
    payload: Option<Spanned<String>>,
    state: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceGrants {
    call: Option<Vec<Spanned<String>>>,
    log: Option<bool>,
    http: Option<Vec<Spanned<toml::Value>>>,
    keyvalue: Option<Vec<Spanned<String>>>,
    blobstore: Option<Vec<Spanned<String>>>,
    publish: Option<Vec<Spanned<String>>>,
}

fn printable(c: char) -> impl Iterator<Item = char> {
    let control = c.is_control().then(|| c.escape_default());
    let plain = (!c.is_control()).then_some(c);
    control.into_iter().flatten().chain(plain)
}

/// The text, to turn places into lines.
struct Text<'a> {
    text: &'a str,
    file: &'a str,
}

impl Text<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
    }

    fn error<T>(&self, field: &str, at: &Spanned<T>, message: impl ToString) -> Error {
        self.error_at(field, at.span().start, message)
    }

    fn error_at(&self, field: &str, at: usize, message: impl ToString) -> Error {
        // Hostile text ends up in replies and terminals, so little of it is repeated.
        let short = |text: &str| text.chars().take(300).flat_map(printable).collect::<String>();
        Error {
            file: short(self.file),
            line: self.line(at),
            field: short(field),
            message: short(&message.to_string()),
        }
    }

    /// The TOML library knows the place; the field's full name is read off the text around it.
    fn syntax(&self, error: &toml::de::Error) -> Error {
        let at = error.span().map_or(0, |span| span.start);
        let message = error.message().lines().collect::<Vec<_>>().join(" ");
        self.error_at(&self.field_at(at), at, message)
    }

    fn field_at(&self, at: usize) -> String {
        let start =
            self.text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
        let line = self.text[start..].lines().next().unwrap_or_default();
        let table = self.text[..start]
            .lines()
            .rev()
            .map(str::trim)
            .find_map(|line| line.strip_prefix('[').and_then(|rest| rest.split(']').next()));
        let header = line.trim().strip_prefix('[').and_then(|rest| rest.split(']').next());
        let key = line.split_once('=').map(|(key, _)| key.trim());
        // Inside an inline table the place itself starts at the key that is meant.
        let inner = self.text.get(at..).and_then(|rest| {
            let word: String =
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').collect();
            let assigned = rest[word.len()..].trim_start().starts_with('=');
            (at > start + line.len() - line.trim_start().len() && assigned && !word.is_empty())
                .then_some(word)
        });
        let parts = match (header, key) {
            (Some(header), _) => vec![Some(header.trim().to_owned())],
            (None, Some(key)) => {
                vec![table.map(|table| table.trim().to_owned()), Some(key.to_owned()), inner]
            }
            (None, None) => vec![],
        };
        parts.into_iter().flatten().collect::<Vec<_>>().join(".")
    }

    fn number(&self, field: &str, value: &Spanned<i64>, lowest: u32, highest: u32) -> Result<u32, Error> {
        let fits = u32::try_from(*value.get_ref()).ok().filter(|n| (lowest..=highest).contains(n));
        fits.ok_or_else(|| self.error(field, value, format!("expected a number from {lowest} to {highest}")))
    }

    fn parsed<T: std::str::FromStr<Err: ToString>>(
        &self,
        field: &str,
        value: &Spanned<String>,
    ) -> Result<T, Error> {
        value.get_ref().parse().map_err(|error: T::Err| self.error(field, value, error))
    }
}

pub(super) fn parse(text: &str, file: &str) -> Result<Manifest, Error> {
    let at = Text { text, file };
    if text.len() > bound::TEXT {
        return Err(at.error_at("", 0, format!("a manifest has at most {} bytes", bound::TEXT)));
    }
    let source: Source = toml::from_str(text).map_err(|error| at.syntax(&error))?;
    let app = at.parsed("app.name", &source.app.name)?;
    if source.actors.is_empty() {
        return Err(at.error("actors", &source.app.name, "an app has at least one `[actors.<name>]`"));
    }
    if source.actors.len() > bound::ACTORS {
        return Err(at.error(
            "actors",
            &source.app.name,
            format!("an app has at most {} actors", bound::ACTORS),
        ));
    }
    let mut actors = BTreeMap::new();
    for (name, actor) in &source.actors {
        let field = format!("actors.{}", name.get_ref());
        let place = name;
        let name: ActorName = at.parsed(&field, name)?;
        if name.as_str() == EXTERNAL {
            return Err(at.error(&field, place, "this name stands for callers from outside of the lattice"));
        }
        actors.insert(name, parse_actor(&at, &field, actor)?);
    }
    Ok(Manifest { app, actors })
}

fn parse_actor(at: &Text<'_>, field: &str, source: &SourceActor) -> Result<Actor, Error> {
    let field = |name: &str| format!("{field}.{name}");
    let kind = keyed::kind(at, &field, source)?;
    let defaults = Settings::default();
    let count = |name: &str, value: &Option<Spanned<i64>>, default: u32, highest: u32| match value {
        Some(value) => at.number(&field(name), value, 1, highest),
        None => Ok(default),
    };
    let http = source.http.as_ref().map_or(Ok(Vec::new()), |http| http::parse(at, &field("http"), http))?;
    // Requests have instances of their own, and many of them only wait.
    let concurrency = if http.is_empty() { defaults.concurrency } else { http::CONCURRENCY };
    if let Some(reuse) = source.reuse.as_ref().filter(|_| http.is_empty()) {
        let message = "only an actor with `http` has it; others keep their instances anyway";
        return Err(at.error(&field("reuse"), reuse, message));
    }
    let subscribe = source.subscribe.as_deref().unwrap_or_default();
    if let Some(first) = subscribe.first().filter(|_| !http.is_empty()) {
        let message =
            "an actor with `http` answers requests and handles no messages; let another one subscribe";
        return Err(at.error(&field("subscribe"), first, message));
    }
    let settings = Settings {
        kind,
        replicas: match (kind, &source.replicas) {
            // Each node that fits holds activations; how many there are is not for the manifest to say.
            (Kind::Keyed(_), _) => Replicas::EACH,
            (Kind::Replicated, Some(value)) => replicas::parse(at, &field("replicas"), value)?,
            (Kind::Replicated, None) => defaults.replicas,
        },
        concurrency: count("concurrency", &source.concurrency, concurrency, bound::CONCURRENCY)?,
        mailbox: count("mailbox", &source.mailbox, defaults.mailbox, bound::MAILBOX)?,
        ingress: source
            .ingress
            .iter()
            .flatten()
            .map(|way| ingress(at, &field("ingress"), way))
            .collect::<Result<_, _>>()?,
        http,
        reuse: source.reuse.as_ref().is_some_and(|reuse| *reuse.get_ref()),
        subscribe: topics::subscriptions(at, &field("subscribe"), subscribe)?,
        placement: source
            .placement
            .as_ref()
            .map_or(Ok(Placement::default()), |p| placement::parse(at, &field("placement"), p))?,
        update: source
            .update
            .as_ref()
            .map_or(Ok(Update::default()), |u| update::parse(at, &field("update"), u))?,
        limits: source.limits.as_ref().map_or(Ok(defaults.limits), |l| limits(at, &field("limits"), l))?,
        grants: source.grants.as_ref().map_or(Ok(Grants::default()), |g| grants(at, &field("grants"), g))?,
        links: source.links.as_ref().map_or(Ok(BTreeMap::new()), |l| links::parse(at, &field("links"), l))?,
        env: env(at, &field("env"), source.env.as_ref())?,
        config: config(at, &field("config"), source.config.as_ref())?,
    };
    Ok(Actor {
        artifact: artifact(at, &field("artifact"), &source.artifact)?,
        build: source.build.as_ref().map(|path| beside(at, &field("build"), path)).transpose()?,
        settings,
    })
}

fn artifact(at: &Text<'_>, field: &str, source: &Spanned<String>) -> Result<Artifact, Error> {
    if source.get_ref().starts_with("sha256:") {
        return at.parsed::<Digest>(field, source).map(Artifact::Stored);
    }
    if source.get_ref().starts_with(reference::SCHEME) {
        return at.parsed::<Reference>(field, source).map(Artifact::Registry);
    }
    beside(at, field, source).map(Artifact::Path)
}

/// A path that stays beside or below the manifest, or above it on purpose; never absolute, so that a manifest means
/// the same on every machine.
fn beside(at: &Text<'_>, field: &str, source: &Spanned<String>) -> Result<PathBuf, Error> {
    let path = PathBuf::from(source.get_ref());
    let relative = path.components().all(|part| !matches!(part, Component::RootDir | Component::Prefix(_)));
    if source.get_ref().is_empty() || !relative {
        return Err(at.error(field, source, "expected a path relative to the manifest"));
    }
    Ok(path)
}

fn ingress(at: &Text<'_>, field: &str, source: &Spanned<String>) -> Result<Ingress, Error> {
    match source.get_ref().as_str() {
        "http" => Ok(Ingress::Http),
        "nats" => Ok(Ingress::Nats),
        other => Err(at.error(field, source, format!("unknown way in `{other}`; expected `http` or `nats`"))),
    }
}

fn limits(at: &Text<'_>, field: &str, source: &SourceLimits) -> Result<Limits, Error> {
    let mut limits = Limits::default();
    if let Some(memory) = &source.memory {
        let field = format!("{field}.memory");
        limits.memory = at.parsed(&field, memory)?;
        // A Wasm page has 64 KiB, and a 32-bit memory at most 4 GiB.
        if !(Bytes(64 << 10)..=Bytes(4 << 30)).contains(&limits.memory) {
            return Err(at.error(&field, memory, "expected 64KiB to 4GiB"));
        }
        limits.reserved = true;
    }
    if let Some(cpu) = &source.cpu {
        let field = format!("{field}.cpu");
        let cores = cpu.get_ref().as_float().or_else(|| cpu.get_ref().as_integer().map(|n| n as f64));
        // The bound keeps the number far from what a float cannot hold.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked on this line")]
        let millis = cores.filter(|n| (0.0..=1024.0).contains(n)).map(|n| (n * 1000.0).round() as u32);
        limits.cpu_millis = millis.ok_or_else(|| {
            at.error(&field, cpu, "expected a number of processors from 0 to 1024, such as 0.25")
        })?;
    }
    if let Some(turn) = &source.turn {
        let field = format!("{field}.turn");
        limits.turn = at.parsed(&field, turn)?;
        if !(Millis(10)..=Millis(3_600_000)).contains(&limits.turn) {
            return Err(at.error(&field, turn, "expected 10ms to 1h"));
        }
    }
    if let Some(payload) = &source.payload {
        let field = format!("{field}.payload");
        limits.payload = at.parsed(&field, payload)?;
        if !(Bytes(1)..=Bytes(64 << 20)).contains(&limits.payload) {
            return Err(at.error(&field, payload, "expected 1 to 64MiB"));
        }
    }
    Ok(limits)
}

fn grants(at: &Text<'_>, field: &str, source: &SourceGrants) -> Result<Grants, Error> {
    let call = source.call.iter().flatten();
    let call: BTreeSet<ActorName> =
        call.map(|name| at.parsed(&format!("{field}.call"), name)).collect::<Result<_, _>>()?;
    let http = source.http.as_deref().unwrap_or_default();
    let http = http_grant::parse(at, &format!("{field}.http"), http)?;
    let keyvalue = stores(at, &format!("{field}.keyvalue"), source.keyvalue.as_deref())?;
    let any = |names: &[Spanned<String>]| names.iter().any(|name| name.get_ref() == "*");
    let blobstore = match source.blobstore.as_deref() {
        Some(names) if any(names) => Containers::Any,
        names => Containers::Named(stores(at, &format!("{field}.blobstore"), names)?),
    };
    let publish = topics::patterns(at, &format!("{field}.publish"), source.publish.as_deref())?;
    Ok(Grants { call, log: source.log.unwrap_or(false), http, keyvalue, blobstore, publish })
}

fn stores(
    at: &Text<'_>,
    field: &str,
    source: Option<&[Spanned<String>]>,
) -> Result<BTreeSet<StoreName>, Error> {
    let names = source.unwrap_or_default();
    if let Some(last) = names.get(bound::STORES) {
        return Err(at.error(field, last, format!("expected at most {} names", bound::STORES)));
    }
    names.iter().map(|name| at.parsed(field, name)).collect()
}

fn env(
    at: &Text<'_>,
    field: &str,
    source: Option<&BTreeMap<Spanned<String>, String>>,
) -> Result<BTreeMap<String, String>, Error> {
    let (mut env, mut bytes) = (BTreeMap::new(), 0);
    for (name, value) in source.into_iter().flatten() {
        let wrong = name.get_ref().is_empty() || name.get_ref().contains(['=', '\0']) || value.contains('\0');
        if wrong {
            return Err(at.error(field, name, "a variable's name has no `=`, and neither part a zero byte"));
        }
        env.insert(name.get_ref().clone(), value.clone());
        bytes += name.get_ref().len() + value.len();
        if bytes > bound::ENV {
            return Err(at.error(field, name, "all variables together have at most 65536 bytes"));
        }
    }
    Ok(env)
}

fn config(
    at: &Text<'_>,
    field: &str,
    source: Option<&BTreeMap<Spanned<String>, String>>,
) -> Result<BTreeMap<String, String>, Error> {
    let (mut config, mut bytes) = (BTreeMap::new(), 0);
    for (key, value) in source.into_iter().flatten() {
        config.insert(key.get_ref().clone(), value.clone());
        bytes += key.get_ref().len() + value.len();
        if bytes > bound::CONFIG {
            return Err(at.error(field, key, "all keys and values together have at most 65536 bytes"));
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests;
