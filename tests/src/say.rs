//! What a test says even when it passes. The test harness holds back what `eprintln!` writes, but not this.

use std::io::Write;
use std::path::PathBuf;

/// How the set-up gets a program.
type Get = fn(lattice_setup::Report<'_>) -> lattice_setup::Result<PathBuf>;

/// Prints a line past the harness.
pub fn say(line: &str) {
    // A closed stderr is no reason for a test to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A program that some tests need: where the variable says, or what the set-up gets. None, and a loud line, where it cannot be had.
pub(crate) async fn had(variable: &str, test: &str, get: Get) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(path.into());
    }
    let found = tokio::task::spawn_blocking(move || get(&|notice| eprintln!("{notice}")));
    match found.await.unwrap() {
        Ok(path) => Some(path),
        Err(error) => {
            skip_loudly(test, &error.to_string());
            None
        }
    }
}

/// Tests that a machine cannot run say so and never pass quietly. `LATTICE_NO_SKIP` turns it into a failure, for
/// machines that should have all.
pub fn skip_loudly(test: &str, reason: &str) {
    assert!(std::env::var_os("LATTICE_NO_SKIP").is_none(), "{test} may not be skipped here, but {reason}");
    say(&format!("\n*** SKIPPED {test}: {reason}\n"));
}
