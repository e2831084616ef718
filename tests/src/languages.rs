//! Actors in other languages than Rust, built as a user builds them.

use std::path::{Path, PathBuf};
use std::process::Command;

use lattice_setup::Language;

use crate::{cli, skip_loudly};

/// The program of a language of which actors can be built here. None, and a loud line, where what compiles it cannot be had.
pub async fn program(language: Language, test: &str) -> Option<PathBuf> {
    let get = move || lattice_setup::language_tools(language, &|notice| eprintln!("{notice}"));
    match tokio::task::spawn_blocking(get).await.unwrap() {
        Ok(program) => Some(program),
        Err(error) => {
            skip_loudly(test, &format!("{language:?}: {error}"));
            None
        }
    }
}

/// Has `lattice build` compile these actors of a manifest, or the folder of one; all of them where none is named.
pub async fn build(place: &Path, actors: &[&str]) {
    let mut words = vec!["build", place.to_str().unwrap()];
    words.extend(actors.iter().flat_map(|actor| ["--actor", actor]));
    let said = cli::lattice("", &words).await;
    assert_eq!(said.code, 0, "{}\n{}", said.stdout, said.stderr);
}

/// Runs the unit tests of a project in that language, and returns what they wrote.
pub fn unit_tests(language: Language, program: &Path, project: &Path) -> String {
    let words = match language {
        Language::Rust | Language::Go => ["test"].as_slice(),
        Language::JavaScript => &["--test"],
        Language::Python => &["-m", "unittest", "discover", "--pattern", "*test*.py"],
    };
    let mut command = Command::new(program);
    command.args(words).current_dir(project);
    command.env("PYTHONPATH", ".lattice").env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{}: {said}", project.display());
    let none = ["Ran 0 tests", "# tests 0", "no test files"].iter().any(|none| said.contains(none));
    assert!(!none, "{}: {said}", project.display());
    said
}

/// A folder of this repository.
pub fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}
