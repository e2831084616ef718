//! What a process wrote last to standard error: enough to say why it ended, however long it has run.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

/// What is kept of it, in bytes.
const KEPT: usize = 64 << 10;

/// What has ended has written all that it will; what it started may hold its standard error for longer.
const REST: Duration = Duration::from_secs(1);

/// The last of what it wrote.
pub struct LastWords {
    // Held for moments.
    kept: Arc<Mutex<VecDeque<u8>>>,
    reading: JoinHandle<()>,
}

impl LastWords {
    /// Reads all that comes, lest it wait for somebody to do so.
    pub fn of(mut stderr: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let kept = Arc::<Mutex<VecDeque<u8>>>::default();
        let shared = kept.clone();
        let reading = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
                let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(&buffer[..read]);
                let surplus = kept.len().saturating_sub(KEPT);
                kept.drain(..surplus);
            }
        });
        Self { kept, reading }
    }

    /// The last line, once the process has ended.
    pub async fn line(&mut self) -> Option<String> {
        if !self.reading.is_finished() {
            let _ = tokio::time::timeout(REST, &mut self.reading).await;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(kept.make_contiguous());
        text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn only_the_last_of_it_is_kept() {
        let (mut writer, reader) = tokio::io::duplex(1024);
        let mut words = LastWords::of(reader);
        for n in 0..20_000 {
            writer.write_all(format!("line {n}\n").as_bytes()).await.unwrap();
        }
        writer.write_all(b"error: the port is taken\n\n").await.unwrap();
        drop(writer);
        assert_eq!(words.line().await.as_deref(), Some("error: the port is taken"));
        assert_eq!(words.kept.lock().unwrap().len(), KEPT);
        assert_eq!(
            words.line().await.as_deref(),
            Some("error: the port is taken"),
            "as often as it is asked"
        );
    }

    #[tokio::test]
    async fn what_goes_on_to_hold_it_is_not_waited_for() {
        let (mut writer, reader) = tokio::io::duplex(1024);
        let mut words = LastWords::of(reader);
        writer.write_all(b"error: lost\n").await.unwrap();
        assert_eq!(words.line().await.as_deref(), Some("error: lost"));
        drop(writer);
    }
}
