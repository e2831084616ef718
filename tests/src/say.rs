//! What a test says even when it passes. The test harness holds back what `eprintln!` writes, but not this.

use std::io::Write;

/// Prints a line past the harness.
pub fn say(line: &str) {
    // A closed stderr is no reason for a test to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Tests that a machine cannot run say so and never pass quietly. `LATTICE_NO_SKIP` turns it into a failure, for
/// machines that should have all.
pub fn skip_loudly(test: &str, reason: &str) {
    assert!(std::env::var_os("LATTICE_NO_SKIP").is_none(), "{test} may not be skipped here, but {reason}");
    say(&format!("\n*** SKIPPED {test}: {reason}\n"));
}
