//! The languages that actors are written in, told by the file that makes a folder a project of theirs.
//!
//! Rust is compiled by [`crate::cargo`]; each other language has a file here. Its SDK comes with this binary: a build writes
//! it, with the WIT, into the folder [`KIT`] of the project, where tests and editors find it too. So what an actor is built
//! with and what the nodes expect are of one version, and no registry has to be asked for it.

mod go;
mod javascript;
mod kit;
mod python;
mod section;

use std::path::{Path, PathBuf};

pub use kit::{FOLDER as KIT, WIT, bring as bring_sdk};

use crate::{Report, Result};

/// A language in which actors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// With the crate `lattice-actor`.
    Rust,
    /// And TypeScript.
    JavaScript,
    /// From version 3.10 on.
    Python,
    /// Of the version that is brought along.
    Go,
}

impl Language {
    /// In the order in which they are looked for.
    const ALL: [Self; 4] = [Self::Rust, Self::JavaScript, Self::Python, Self::Go];

    /// The language of the project in a folder.
    #[must_use]
    pub fn of(folder: &Path) -> Option<Self> {
        Self::ALL.into_iter().find(|language| folder.join(language.project_file()).is_file())
    }

    /// The file that makes a folder a project.
    #[must_use]
    pub fn project_file(self) -> &'static str {
        match self {
            Language::Rust => "Cargo.toml",
            Language::JavaScript => "package.json",
            Language::Python => "pyproject.toml",
            Language::Go => "go.mod",
        }
    }

    /// The project files of all of them, for messages.
    pub(crate) fn project_files() -> String {
        Self::ALL.map(Self::project_file).join(", ")
    }
}

/// Gets what compiles a language, and returns the program that also runs its unit tests; what was got before is found again.
///
/// # Errors
/// When the language itself is not on this machine, or its packages cannot be had.
pub fn language_tools(language: Language, report: Report) -> Result<PathBuf> {
    match language {
        Language::Rust => crate::wasm_toolchain(Path::new("."), report).map(|_| "cargo".into()),
        Language::JavaScript => {
            let node = javascript::Node::get(report)?;
            javascript::tools(&node, report).map(|_| node.program)
        }
        Language::Python => crate::python::componentize(report),
        Language::Go => go::program(report),
    }
}

/// What must be on this machine before what compiles a language can be got. Nothing is changed.
///
/// # Errors
/// When it is not there.
pub fn find_language(language: Language) -> Result<PathBuf> {
    match language {
        Language::Rust => Ok("cargo".into()),
        // Where the system's Node.js is too old, another one comes from PyPI.
        Language::JavaScript => {
            javascript::Node::find().map_or_else(crate::python::find, |node| Ok(node.program))
        }
        Language::Python | Language::Go => crate::python::find(),
    }
}

/// Compiles a project that is not Rust's, and returns the component. What is wrong with it is written to stderr.
pub(crate) fn build(language: Language, project: &Path, report: Report) -> Result<PathBuf> {
    match language {
        Language::JavaScript => javascript::build(project, report),
        Language::Python => python::build(project, report),
        Language::Go => go::build(project, report),
        Language::Rust => unreachable!("cargo compiles all packages of a workspace in one call"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_told_by_its_project_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Language::of(folder.path()), None);
        for language in [Language::Go, Language::Python, Language::JavaScript, Language::Rust] {
            // Rust may have a package.json beside it, for its tools.
            std::fs::write(folder.path().join(language.project_file()), "").unwrap();
            assert_eq!(Language::of(folder.path()), Some(language));
        }
        assert_eq!(Language::of(&folder.path().join("nowhere")), None);
    }
}
