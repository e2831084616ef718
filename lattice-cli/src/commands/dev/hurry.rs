//! What a manifest says of updates is meant for those who depend on an app. Whoever writes it waits for the next version.

use lattice_proto::Ran;
use toml::{Table, Value};

use crate::failure::Failure;

/// The manifest with all new replicas made at once and none of them observed or tried first. Still nothing is taken away
/// before it is replaced.
pub fn along(manifest: &str) -> Result<String, Failure> {
    let invalid = |error: &dyn std::fmt::Display| {
        Failure::new("invalid-manifest", Ran::No, format!("the manifest cannot be read: {error}"))
    };
    let mut manifest: Table = manifest.parse().map_err(|error| invalid(&error))?;
    let actors = manifest.get_mut("actors").and_then(Value::as_table_mut).into_iter().flatten();
    for (_, actor) in actors {
        let update = Table::from_iter([
            ("surge".to_owned(), Value::from("100%")),
            ("observe".to_owned(), Value::from("0s")),
        ]);
        if let Some(actor) = actor.as_table_mut() {
            actor.insert("update".to_owned(), update.into());
        }
    }
    toml::to_string(&manifest).map_err(|error| invalid(&error))
}

#[cfg(test)]
mod tests {
    use lattice_proto::manifest::{Manifest, Millis};

    use super::*;

    #[test]
    fn nothing_but_the_update_is_changed() {
        let text = "[app]\nname = \"shop\"\n\n[actors.cart]\nartifact = \"cart.wasm\"\nreplicas = 3\n\
                    env = { \"A B\" = \"x\\u0007\" }\n";
        let careful = format!("{text}update = {{ observe = \"5m\", canary = \"10%\" }}\n");
        let plain = Manifest::parse(text, "lattice.toml").unwrap();
        for text in [text, &careful] {
            let mut hurried = Manifest::parse(&along(text).unwrap(), "lattice.toml").unwrap();
            let actor = hurried.actors.values_mut().next().unwrap();
            let update = std::mem::take(&mut actor.settings.update);
            assert_eq!((update.observe, update.canary, update.surge.of(3)), (Millis(0), None, 3));
            assert_eq!(hurried, plain);
        }
    }
}
