//! Files that are read again when they change, so that a certificate or a token is replaced without a restart.
//!
//! It says what they hold, never what that means. They are small, so they are read rather than watched: that works on
//! every file system, and also where a file is replaced by way of a link, as Kubernetes does it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt;

/// How often they are read. A change takes effect when it was read twice.
const LOOK: Duration = Duration::from_millis(500);

/// More than any certificate or list of tokens needs.
const MAX_FILE: u64 = 1 << 20;

/// What a file held, or why it could not be read.
pub(crate) type Contents = Result<Vec<u8>, String>;

/// Reads all of them.
pub(crate) async fn read(paths: &[PathBuf]) -> Vec<Contents> {
    let mut contents = Vec::with_capacity(paths.len());
    for path in paths {
        contents.push(read_one(path).await.map_err(|error| format!("cannot be read: {error}")));
    }
    contents
}

async fn read_one(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    tokio::fs::File::open(path).await?.take(MAX_FILE + 1).read_to_end(&mut bytes).await?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(io::Error::other("it is larger than 1 MiB")),
        false => Ok(bytes),
    }
}

/// Hands over what they hold whenever it has become something else.
///
/// Of files that belong together one is replaced before the other, and a large one is written in parts: what they hold
/// counts only when two readings in a row agree.
pub(crate) async fn follow(paths: Vec<PathBuf>, first: Vec<Contents>, mut changed: impl FnMut(&[Contents])) {
    let mut known = first;
    let mut before = known.clone();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = read(&paths).await;
        if now == before && now != known {
            changed(&now);
            known.clone_from(&now);
        }
        before = now;
    }
}
