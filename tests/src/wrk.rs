//! What HTTP is measured with.

use std::path::PathBuf;

use crate::say::had;

/// The program: `LATTICE_WRK`, or one that the set-up gets. None, and a loud line, where it cannot be had.
pub async fn program(test: &str) -> Option<PathBuf> {
    had("LATTICE_WRK", test, lattice_setup::wrk).await
}
