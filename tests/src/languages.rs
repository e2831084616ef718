//! Actors in other languages than Rust, built as a user builds them.

use std::path::{Path, PathBuf};

use lattice_setup::Language;

use crate::{cli, skip_loudly};

/// Whether actors in this language can be built here. No, and a loud line, where what compiles it cannot be had.
pub async fn can_build(language: Language, test: &str) -> bool {
    let get = move || lattice_setup::language_tools(language, &|notice| eprintln!("{notice}"));
    match tokio::task::spawn_blocking(get).await.unwrap() {
        Ok(()) => true,
        Err(error) => {
            skip_loudly(test, &format!("{language:?}: {error}"));
            false
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

/// A folder of this repository.
pub fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}
