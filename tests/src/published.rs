//! Components that others have published, who never heard of Lattice.

use std::path::PathBuf;

use crate::lattice::AdminClient;
use crate::{artifacts, say::had};

/// Their folder: `LATTICE_COMPONENTS`, or one that the set-up gets. None, and a loud line, where they cannot be had.
pub async fn components(test: &str) -> Option<PathBuf> {
    had("LATTICE_COMPONENTS", test, lattice_setup::published_components).await
}

/// Stores one of them, and returns what a manifest calls it.
pub async fn put(client: &mut AdminClient, components: &std::path::Path, name: &str) -> String {
    let bytes = std::fs::read(components.join(name)).unwrap();
    artifacts::put(client, bytes).await.unwrap().to_string()
}
