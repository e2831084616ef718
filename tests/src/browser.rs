//! A browser: Chromium, driven by Selenium in Python, which shares no line of code with us.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::python;
use crate::say::had;

/// A browser takes seconds to start on a busy machine, and clicks through many pages.
const BOUND: Duration = Duration::from_secs(300);

/// A Python that drives it: `LATTICE_SELENIUM`, or one that the set-up gets. None, and a loud line, where there is none.
pub async fn program(test: &str) -> Option<PathBuf> {
    had("LATTICE_SELENIUM", test, lattice_setup::selenium).await
}

/// Runs one of the walks of `tests/python/page.py` through the page of a node, and returns what it saw. Pictures go into `pictures`.
pub async fn walk(python: &Path, walk: &str, admin: &str, pictures: &Path) -> Value {
    let said = python::run_within(BOUND, python, "page.py", &[walk, admin, pictures.to_str().unwrap()]).await;
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Where pictures go that people want to see afterwards: `target/pictures`.
pub fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pictures");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
