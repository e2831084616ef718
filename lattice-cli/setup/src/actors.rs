//! Building what manifests name, and putting every artifact where its manifest looks for it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cargo::{Component, Purpose, build_components};
use crate::size::human_size;
use crate::{Error, Language, Notice, Report, Result, cache, languages, manifest, wasm_toolchain};

/// The first bytes of a component; a plain module has another version there.
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// An actor that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltActor {
    /// Its name in the manifest.
    pub name: String,
    /// The artifact beside the manifest, or what was made to try it out.
    pub artifact: PathBuf,
    /// The artifact's size.
    pub bytes: u64,
}

/// Where an actor of a manifest is compiled, and where its artifact belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The actor's name in the manifest.
    pub actor: String,
    /// The folder with its sources.
    pub folder: PathBuf,
    /// The artifact beside the manifest.
    pub artifact: PathBuf,
}

/// The actors of a manifest that are compiled from source, without compiling anything. `place` is a `lattice.toml` or the
/// folder that holds one.
///
/// # Errors
/// When the manifest cannot be used for building.
pub fn projects(place: &Path) -> Result<Vec<Project>> {
    let project = |actor: manifest::Actor| Project {
        actor: actor.name,
        folder: actor.folder,
        artifact: actor.artifact,
    };
    Ok(manifest::read(place)?.into_iter().map(project).collect())
}

/// Builds every actor of the given manifests that has a project, and puts its artifact in place.
///
/// Each of `places` is a `lattice.toml` or the folder that holds one; with names in `only`, just those actors are built. What
/// compiles their languages is found, or got. All packages of one workspace are compiled by one call of cargo. Actors whose
/// artifact is a digest, or was made by something else, are left alone. An artifact that would not change is not written.
///
/// # Errors
/// When a manifest or project cannot be used for building, has no actor of a name, or a compiler reports errors.
pub fn build_actors(places: &[PathBuf], only: &[String], report: Report) -> Result<Vec<BuiltActor>> {
    let mut built = Vec::new();
    for (manifest::Actor { name, artifact, .. }, component) in
        compile(places, only, Purpose::Service, report)?
    {
        let bytes = install(&component, &artifact)?;
        report(Notice::Done(format!("{name}: {} ({})", artifact.display(), human_size(bytes))));
        built.push(BuiltActor { name, artifact, bytes });
    }
    Ok(built)
}

/// The same for trying the actors out: sooner done, slower to run, and the artifacts beside the manifests are left alone.
///
/// # Errors
/// As [`build_actors`].
pub fn try_actors(places: &[PathBuf], only: &[String], report: Report) -> Result<Vec<BuiltActor>> {
    let compiled = compile(places, only, Purpose::Trial, report)?.into_iter();
    let built = compiled.map(|(actor, component)| {
        let bytes = read(&component)?.len() as u64;
        Ok(BuiltActor { name: actor.name, artifact: component.path, bytes })
    });
    built.collect()
}

fn compile(
    places: &[PathBuf],
    only: &[String],
    purpose: Purpose,
    report: Report,
) -> Result<Vec<(manifest::Actor, Component)>> {
    let mut actors = Vec::new();
    for place in places {
        actors.extend(manifest::read(place)?);
    }
    if let Some(name) = only.iter().find(|name| actors.iter().all(|actor| actor.name != **name)) {
        return Err(Error::NothingToBuild(name.clone()));
    }
    actors.retain(|actor| only.is_empty() || only.contains(&actor.name));
    let in_rust = actors.iter().filter(|actor| actor.language == Language::Rust);
    let packages: Vec<PathBuf> = in_rust.map(|actor| actor.folder.clone()).collect();
    let components = match packages.first() {
        Some(first) => build_components(&packages, &wasm_toolchain(first, report)?, purpose, report)?,
        None => Vec::new(),
    };
    let mut components = components.into_iter();
    let component = |actor: manifest::Actor| {
        let component = match actor.language {
            Language::Rust => components.next().expect("each package gave a component"),
            other => {
                let path = languages::build(other, &actor.folder, report)?;
                Component { path, folder: actor.folder.clone() }
            }
        };
        Ok((actor, component))
    };
    actors.into_iter().map(component).collect()
}

fn read(component: &Component) -> Result<Vec<u8>> {
    let content = fs::read(&component.path).map_err(Error::io("read", &component.path))?;
    if content.starts_with(&COMPONENT) {
        return Ok(content);
    }
    Err(Error::NotAnActor {
        folder: component.folder.clone(),
        problem: "was built to a plain module and not to a component: remove the linker settings for \
                  wasm32-wasip2 from the cargo configuration"
            .into(),
    })
}

/// Copies the component, by way of a temporary name beside its place so that a reader never sees half of it.
fn install(component: &Component, artifact: &Path) -> Result<u64> {
    let content = read(component)?;
    let bytes = content.len() as u64;
    if fs::read(artifact).is_ok_and(|present| present == content) {
        return Ok(bytes);
    }
    let beside = artifact.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let workshop = cache::Workshop::open(beside)?;
    let finished = workshop.path().join("artifact");
    fs::write(&finished, &content).map_err(Error::io("write", &finished))?;
    cache::publish_file(&finished, artifact)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(folder: &Path, content: &[u8]) -> Component {
        let path = folder.join("made.wasm");
        fs::write(&path, content).unwrap();
        Component { folder: folder.to_owned(), path }
    }

    #[test]
    fn an_artifact_is_put_in_place_and_an_equal_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let content = [&COMPONENT[..], b"and more"].concat();
        let component = component(folder.path(), &content);
        let artifact = folder.path().join("out/greeter.wasm");
        assert_eq!(install(&component, &artifact).unwrap(), 16);
        let written = fs::metadata(&artifact).unwrap().modified().unwrap();
        assert_eq!(install(&component, &artifact).unwrap(), 16);
        assert_eq!(fs::metadata(&artifact).unwrap().modified().unwrap(), written);
        assert_eq!(fs::read(&artifact).unwrap(), content);
        let left: Vec<_> = fs::read_dir(artifact.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing unfinished stays: {left:?}");
    }

    #[test]
    fn a_plain_module_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let module = component(folder.path(), b"\0asm\x01\0\0\0");
        let error = install(&module, &folder.path().join("greeter.wasm")).unwrap_err().to_string();
        assert!(error.contains("plain module"), "{error}");
    }
}
