//! What building needs to know of a `lattice.toml`: the actors, where each is compiled, where its artifact belongs.
//!
//! It never judges the rest of the manifest; `lattice apply` does, exactly.

use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

use crate::{Error, Language, Result};

/// One actor of a manifest that is compiled from a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub name: String,
    /// The folder with its project.
    pub folder: PathBuf,
    /// What it is written in.
    pub language: Language,
    /// Where the component goes.
    pub artifact: PathBuf,
}

/// Reads the actors that are built from source. `place` is a manifest or the folder that holds `lattice.toml`.
pub fn read(place: &Path) -> Result<Vec<Actor>> {
    let path = if place.is_dir() { place.join("lattice.toml") } else { place.to_owned() };
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let base = path.parent().unwrap_or(Path::new("."));
    parse(&text, base).map_err(|problem| Error::Manifest { path, problem })
}

fn parse(text: &str, base: &Path) -> std::result::Result<Vec<Actor>, String> {
    let manifest: Table = text.parse().map_err(|error| format!("this is not TOML: {error}"))?;
    let Some(actors) = manifest.get("actors").and_then(|actors| actors.as_table()) else {
        return Err("no actor is named: add a table `[actors.NAME]` with an `artifact`".into());
    };
    let mut found = Vec::new();
    for (name, actor) in actors {
        let field = |field: &str| match actor.get(field) {
            None => Ok(None),
            Some(value) => value
                .as_str()
                .map(Some)
                .ok_or_else(|| format!("`actors.{name}.{field}` is no string: write a path in quotes")),
        };
        let artifact = field("artifact")?
            .ok_or_else(|| format!("`actors.{name}` has no artifact: add `artifact = \"{name}.wasm\"`"))?;
        let build = field("build")?;
        let folder = base.join(build.unwrap_or("."));
        let elsewhere = match artifact {
            digest if digest.starts_with("sha256:") => Some("a digest"),
            reference if reference.starts_with("oci://") => Some("in a registry"),
            _ => None,
        };
        if let Some(elsewhere) = elsewhere {
            if build.is_some() {
                return Err(format!(
                    "`actors.{name}` has a `build` folder, but its artifact is {elsewhere}: give the file that the build makes"
                ));
            }
            continue;
        }
        match (Language::of(&folder), build) {
            (Some(language), _) => {
                found.push(Actor { name: name.clone(), folder, language, artifact: base.join(artifact) });
            }
            // The artifact was made by something else.
            (None, None) => {}
            (None, Some(build)) => {
                return Err(format!(
                    "`actors.{name}.build` names `{build}`, which holds none of {}: correct it, or leave it out for an \
                     artifact made otherwise",
                    Language::project_files()
                ));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_artifacts_stand_beside_the_manifest() {
        let text = r#"
            [app]
            name = "shop"
            [actors.storefront]
            artifact = "storefront.wasm"
            build = "storefront"
            replicas = { min = 0 }
            [actors.till]
            artifact = "till.wasm"
            build = "till"
            [actors.seller]
            artifact = "sha256:abc"
            [actors.buyer]
            artifact = "oci://ghcr.io/acme/buyer:1"
            [actors.script]
            artifact = "script.wasm"
        "#;
        let base = tempfile::tempdir().unwrap();
        for file in ["storefront/Cargo.toml", "till/package.json"] {
            fs::create_dir(base.path().join(file).parent().unwrap()).unwrap();
            fs::write(base.path().join(file), "").unwrap();
        }
        let actors = parse(text, base.path()).unwrap();
        let actor = |name: &str, language| Actor {
            name: name.into(),
            folder: base.path().join(name),
            language,
            artifact: base.path().join(format!("{name}.wasm")),
        };
        assert_eq!(
            actors,
            [actor("storefront", Language::Rust), actor("till", Language::JavaScript)],
            "a digest, a reference and a folder without a project are built by somebody else"
        );
    }

    #[test]
    fn the_default_folder_is_the_manifests_own() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Cargo.toml"), "").unwrap();
        fs::write(folder.path().join("lattice.toml"), "[actors.greeter]\nartifact = 'out/greeter.wasm'")
            .unwrap();
        let by_folder = read(folder.path()).unwrap();
        assert_eq!(by_folder, read(&folder.path().join("lattice.toml")).unwrap());
        assert_eq!(by_folder[0].folder.canonicalize().unwrap(), folder.path().canonicalize().unwrap());
        assert_eq!(by_folder[0].artifact, folder.path().join("out/greeter.wasm"));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_field() {
        let table = [
            ("[app", "not TOML"),
            ("[app]\nname = 'x'", "[actors.NAME]"),
            ("[actors.a]\nbuild = 'a'", "`actors.a` has no artifact"),
            ("[actors.a]\nartifact = 3", "`actors.a.artifact` is no string"),
            ("[actors.a]\nartifact = 'sha256:1'\nbuild = 'a'", "is a digest"),
            ("[actors.a]\nartifact = 'oci://h/a:1'\nbuild = 'a'", "is in a registry"),
            ("[actors.a]\nartifact = 'a.wasm'\nbuild = 'nowhere'", "holds none of Cargo.toml, package.json"),
        ];
        for (text, expected) in table {
            let problem = parse(text, Path::new(".")).unwrap_err();
            assert!(problem.contains(expected), "{text:?} gave {problem:?}");
        }
    }
}
