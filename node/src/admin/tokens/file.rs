//! The tokens file, and what was last made of it. It never lets a mistake in the file lock out who was in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::{Error, Tokens};
use crate::port::{self, Contents};

/// The file, and what was last made of it.
pub(in crate::admin) struct File {
    path: PathBuf,
    contents: Vec<Contents>,
    current: watch::Sender<Arc<Tokens>>,
}

impl File {
    /// Reads it for the first time.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::admin) async fn read(path: &Path) -> Result<Self, Error> {
        let contents = port::read(&[path.to_owned()]).await;
        let tokens = understand(path, &contents)?;
        Ok(Self { path: path.to_owned(), contents, current: watch::Sender::new(Arc::new(tokens)) })
    }

    /// The tokens as they are at each moment.
    pub(in crate::admin) fn tokens(&self) -> watch::Receiver<Arc<Tokens>> {
        self.current.subscribe()
    }

    /// Reads it again whenever it changes. A file that is of no use leaves the last good tokens in place.
    pub(in crate::admin) async fn follow(self) {
        let Self { path, contents, current } = self;
        port::follow(vec![path.clone()], contents, |contents| match understand(&path, contents) {
            Ok(tokens) if tokens.0.is_empty() && !current.borrow().0.is_empty() => tracing::error!(
                file = %path.display(),
                "the tokens file lists no token any more, which looks like a slip; the admin API keeps the tokens that it \
                 has until the node is started again"
            ),
            Ok(tokens) => {
                tracing::info!(tokens = tokens.0.len(), "the admin API has new tokens");
                current.send_replace(Arc::new(tokens));
            }
            Err(error) => tracing::error!(%error, "the admin API keeps the tokens that it has"),
        })
        .await;
    }
}

fn understand(path: &Path, contents: &[Contents]) -> Result<Tokens, Error> {
    let whole = |reason| Error { file: path.to_owned(), line: None, reason };
    let bytes = contents[0].as_deref().map_err(|reason| whole(reason.clone()))?;
    let text = std::str::from_utf8(bytes).map_err(|error| whole(format!("is no text: {error}")))?;
    let tokens = Tokens::parse(text, path)?;
    if tokens.0.is_empty() {
        tracing::warn!(file = %path.display(), "the tokens file lists no token, so nobody gets in");
    }
    Ok(tokens)
}
