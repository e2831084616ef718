//! What a declaration changes, line by line, as a person would want to know it before saying yes.

use std::collections::{BTreeMap, BTreeSet};

use lattice_proto::manifest::Replicas;
use lattice_proto::record::{Actor, App, Origin};
use lattice_proto::{ActorName, Digest};
use serde_json::Value;

/// The lines; empty when nothing changes.
pub(super) fn between(
    before: Option<&App>,
    after: &BTreeMap<ActorName, Actor>,
    deleted: bool,
) -> Vec<String> {
    let empty = BTreeMap::new();
    let old = before.map_or(&empty, |app| &app.actors);
    let mut lines = Vec::new();
    for (name, actor) in after {
        match old.get(name) {
            None => {
                let artifact = format!("{}{}", short(&actor.digest), from(actor));
                lines.push(match (actor.settings.kind.keyed(), actor.settings.replicas) {
                    (Some(_), _) => format!("+ {name}: keyed, of {artifact}"),
                    (None, Replicas::Count(1)) => format!("+ {name}: 1 replica of {artifact}"),
                    (None, Replicas::Each(_)) => {
                        format!("+ {name}: a replica of {artifact} on each node that fits")
                    }
                    (None, replicas) => format!("+ {name}: {replicas} replicas of {artifact}"),
                });
            }
            Some(old) => {
                if old.digest != actor.digest {
                    let (old, new) = (short(&old.digest), short(&actor.digest));
                    lines.push(format!("~ {name}: artifact {old} -> {new}{}", from(actor)));
                }
                let scaled = before.is_some_and(|app| app.origin == Origin::Scale);
                lines.extend(settings(old, actor).into_iter().map(|(field, old, new)| {
                    let note = match scaled && field == "replicas" {
                        true => " (it was scaled by hand)",
                        false => "",
                    };
                    format!("~ {name}: {field} {old} -> {new}{note}")
                }));
            }
        }
    }
    lines.extend(old.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("- {name}")));
    if deleted && lines.is_empty() {
        lines.push("- the app".to_owned());
    }
    lines
}

/// Field by field, as the manifest calls them.
fn settings(old: &Actor, new: &Actor) -> Vec<(String, String, String)> {
    let flat = |actor: &Actor| {
        let mut leaves = BTreeMap::new();
        // Settings are plain structs, which JSON can always hold.
        flatten("", &serde_json::to_value(&actor.settings).unwrap_or_default(), &mut leaves);
        leaves
    };
    let (old, new) = (flat(old), flat(new));
    let fields: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let shown = |leaves: &BTreeMap<String, String>, field: &String| {
        leaves.get(field).cloned().unwrap_or_else(|| "nothing".to_owned())
    };
    let changed = fields.into_iter().filter(|field| old.get(*field) != new.get(*field));
    changed.map(|field| (field.clone(), shown(&old, field), shown(&new, field))).collect()
}

fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, leaves);
            }
        }
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        Value::String(text) => drop(leaves.insert(path.to_owned(), text.clone())),
        other => drop(leaves.insert(path.to_owned(), other.to_string())),
    }
}

/// Where the artifact came from, and what that was then; nothing where it was handed over.
fn from(actor: &Actor) -> String {
    let pinned = actor.from.as_ref().and_then(|from| Some((from, from.digest()?)));
    pinned.map_or_else(String::new, |(from, digest)| {
        let tag = from.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
        format!(" (from oci://{}/{}{tag}@{})", from.host(), from.repository(), short(digest))
    })
}

fn short(digest: &Digest) -> &str {
    &digest.as_str()[.."sha256:".len() + 12]
}
