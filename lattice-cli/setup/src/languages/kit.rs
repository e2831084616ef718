//! What a project in another language than Rust is given: the SDK and the WIT, in a folder that is never committed.

use std::fs;
use std::path::{Path, PathBuf};

use super::Language;
use crate::{Error, Result};

/// The folder in a project, which may be deleted at any time.
pub const FOLDER: &str = ".lattice";

/// The WIT package of the lattice.
pub const WIT: &str = include_str!("../../../../proto/wit/actor.wit");

/// A file of the kit, and what is in it.
type File = (&'static str, &'static str);

const JAVASCRIPT: &[File] = &[
    ("lattice.js", include_str!("../../../../actor-sdk/js/lattice.js")),
    ("testing.js", include_str!("../../../../actor-sdk/js/testing.js")),
    ("guest.js", include_str!("../../../../actor-sdk/js/guest.js")),
    ("wit/guest.wit", include_str!("../../../../actor-sdk/js/guest.wit")),
    ("wit/deps/actor.wit", WIT),
];

const PYTHON: &[File] = &[
    ("lattice.py", include_str!("../../../../actor-sdk/python/lattice.py")),
    ("lattice_testing.py", include_str!("../../../../actor-sdk/python/lattice_testing.py")),
    ("lattice_guest.py", include_str!("../../../../actor-sdk/python/lattice_guest.py")),
    ("wit/actor.wit", WIT),
];

const GO: &[File] = &[
    ("go.mod", include_str!("../../../../actor-sdk/go/go.mod")),
    ("lattice.go", include_str!("../../../../actor-sdk/go/lattice.go")),
    ("context.go", include_str!("../../../../actor-sdk/go/context.go")),
    ("errors.go", include_str!("../../../../actor-sdk/go/errors.go")),
    ("level.go", include_str!("../../../../actor-sdk/go/level.go")),
    ("testing.go", include_str!("../../../../actor-sdk/go/testing.go")),
    ("main_native.go", include_str!("../../../../actor-sdk/go/main_native.go")),
    ("guest_wasip1.go", include_str!("../../../../actor-sdk/go/guest_wasip1.go")),
    ("wit/actor.wit", WIT),
];

/// Writes the SDK of this version into a project, and returns the folder. Rust's comes by cargo.
///
/// # Errors
/// When it cannot be written.
pub fn bring(language: Language, project: &Path) -> Result<PathBuf> {
    let folder = project.join(FOLDER);
    let files = match language {
        Language::Rust => return Ok(folder),
        Language::JavaScript => JAVASCRIPT,
        Language::Python => PYTHON,
        Language::Go => GO,
    };
    for (name, content) in files {
        write(&folder.join(name), content)?;
    }
    Ok(folder)
}

/// Writes a file that differs; whoever watches the others is left in peace.
pub(super) fn write(path: &Path, content: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    }
    fs::write(path, content).map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_wit_is_described() {
        let lines: Vec<&str> = WIT.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let [before, line] = pair else { unreachable!() };
            let says_nothing_new = ["///", "use ", "import ", "export ", "}"];
            let needs_none = line.is_empty() || says_nothing_new.iter().any(|start| line.starts_with(start));
            assert!(needs_none || before.starts_with("///"), "`{line}` has no description");
        }
    }

    #[test]
    fn what_is_brought_again_is_left_alone_and_what_was_changed_is_put_right() {
        let project = tempfile::tempdir().unwrap();
        let file = bring(Language::Python, project.path()).unwrap().join("lattice.py");
        let written = fs::metadata(&file).unwrap().modified().unwrap();
        bring(Language::Python, project.path()).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written);
        fs::write(&file, "").unwrap();
        bring(Language::Python, project.path()).unwrap();
        assert!(fs::read_to_string(&file).unwrap().contains("class Actor"));
        assert_eq!(bring(Language::JavaScript, project.path()).unwrap(), project.path().join(FOLDER));
    }
}
