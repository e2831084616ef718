//! Clients in Python: programs that share no line of code with us.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::say::had;

/// Starting Python and importing gRPC takes a second or two on a busy machine.
const BOUND: Duration = Duration::from_secs(60);

/// A Python with nats-py and grpcio-reflection: `LATTICE_PYTHON`, or one that the set-up makes. None, and a loud line,
/// where there is none.
pub async fn interpreter(test: &str) -> Option<PathBuf> {
    had("LATTICE_PYTHON", test, lattice_setup::python_clients).await
}

/// Runs a script from `tests/python/` and returns its stdout; fails the test when it fails.
pub async fn run(python: &Path, script: &str, words: &[&str]) -> String {
    run_within(BOUND, python, script, words).await
}

/// The same for one that may take so long.
pub(crate) async fn run_within(bound: Duration, python: &Path, script: &str, words: &[&str]) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script);
    let running = tokio::process::Command::new(python)
        .arg(file)
        .args(words)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(bound, running).await;
    let output = output.unwrap_or_else(|_| panic!("{script} did not end within {bound:?}")).unwrap();
    assert!(
        output.status.success(),
        "{script} {words:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
