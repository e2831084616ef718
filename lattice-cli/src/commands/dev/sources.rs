//! Where the sources of an app are, and whose they are. A file belongs to the project in the deepest folder around it; one
//! that lies in none, such as a crate that several actors share, to all of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lattice_setup::Project;

use super::changes::Saved;
use crate::failure::Failure;

/// The manifest and the projects of an app, by paths in full.
#[derive(Debug, Default)]
pub struct Sources {
    manifest: PathBuf,
    projects: Vec<Project>,
}

/// Actors that have to be compiled.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stale {
    all: bool,
    actors: BTreeSet<String>,
}

impl Sources {
    /// Reads what a manifest says of them.
    pub fn read(manifest: &Path) -> Result<Self, Failure> {
        // Changes are told by such paths.
        let manifest = manifest.canonicalize()?;
        let mut projects = lattice_setup::projects(&manifest)?;
        for project in &mut projects {
            project.folder = project.folder.canonicalize()?;
            let folder = project.artifact.parent().and_then(|folder| folder.canonicalize().ok());
            if let Some((folder, name)) = folder.zip(project.artifact.file_name()) {
                project.artifact = folder.join(name);
            }
        }
        Ok(Self { manifest, projects })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Path {
        &self.manifest
    }

    /// The folder in which it lies.
    pub fn folder(&self) -> &Path {
        self.manifest.parent().unwrap_or(Path::new("/"))
    }

    /// The folders in which something may change.
    pub fn roots(&self) -> BTreeSet<PathBuf> {
        let projects = self.projects.iter().map(|project| project.folder.clone());
        projects.chain([self.folder().to_owned()]).collect()
    }

    /// The actors that are compiled.
    pub fn actors(&self) -> impl Iterator<Item = &str> {
        self.projects.iter().map(|project| project.actor.as_str())
    }

    /// Whether an actor is compiled, and from the same as before.
    pub fn agrees(&self, before: &Self, actor: &str) -> bool {
        let project = self.project(actor);
        project.is_some() && project == before.project(actor)
    }

    fn project(&self, actor: &str) -> Option<&Project> {
        self.projects.iter().find(|project| project.actor == actor)
    }
}

impl Stale {
    /// Whether an actor has to be compiled.
    pub fn has(&self, actor: &str) -> bool {
        self.all || self.actors.contains(actor)
    }

    /// Adds the actors to which belongs what was saved.
    pub fn add(&mut self, sources: &Sources, saved: &Saved) {
        self.all |= saved.all;
        for path in &saved.paths {
            // `lattice build` may make artifacts while we run; they are not what is served here.
            if *path == sources.manifest || sources.projects.iter().any(|project| project.artifact == *path) {
                continue;
            }
            let around = sources.projects.iter().filter(|project| path.starts_with(&project.folder));
            let depth = |project: &&Project| project.folder.components().count();
            match around.clone().map(|project| depth(&project)).max() {
                Some(deepest) => {
                    let owners = around.filter(|project| depth(project) == deepest);
                    self.actors.extend(owners.map(|project| project.actor.clone()));
                }
                None => self.all = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn sources(projects: &[(&str, &str)]) -> Sources {
        let project = |(actor, folder): &(&str, &str)| Project {
            actor: (*actor).to_owned(),
            folder: PathBuf::from(folder),
            artifact: PathBuf::from(format!("/shop/{actor}.wasm")),
        };
        Sources {
            manifest: PathBuf::from("/shop/lattice.toml"),
            projects: projects.iter().map(project).collect(),
        }
    }

    fn stale(sources: &Sources, paths: &[&str]) -> Stale {
        let paths = paths.iter().map(PathBuf::from).collect();
        let mut stale = Stale::default();
        stale.add(sources, &Saved { at: Instant::now(), first: false, paths, all: false });
        stale
    }

    #[test]
    fn an_actor_that_is_compiled_from_somewhere_else_is_another() {
        let before = sources(&[("cart", "/shop/v1"), ("till", "/shop/till"), ("gone", "/shop/gone")]);
        let now = sources(&[("cart", "/shop/v2"), ("till", "/shop/till"), ("new", "/shop/new")]);
        let agree = ["cart", "till", "gone", "new"].map(|actor| now.agrees(&before, actor));
        assert_eq!(agree, [false, true, false, false]);
    }

    #[test]
    fn a_file_belongs_to_the_deepest_project_around_it_or_to_all() {
        let sources =
            sources(&[("cart", "/shop/cart"), ("till", "/shop/cart/till"), ("clerk", "/shop/cart/till")]);
        let some = |actors: &[&str]| Stale {
            all: false,
            actors: actors.iter().map(|actor| (*actor).to_owned()).collect(),
        };
        assert_eq!(stale(&sources, &["/shop/cart/src/lib.rs"]), some(&["cart"]));
        assert_eq!(stale(&sources, &["/shop/cart/till/src/lib.rs"]), some(&["till", "clerk"]));
        assert_eq!(stale(&sources, &["/shop/lattice.toml", "/shop/cart.wasm"]), some(&[]));
        assert!(stale(&sources, &["/shop/interfaces/src/lib.rs"]).has("cart"));
    }
}
