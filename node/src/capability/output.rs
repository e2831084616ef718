//! What a guest prints, line by line, as events of this node: a panic's message arrives this way.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

/// A line that does not end is cut here.
const MAX_LINE: usize = 8 << 10;

/// Standard output and error of one guest.
#[derive(Clone)]
pub(crate) struct GuestOutput {
    actor: Arc<str>,
    granted: bool,
    line: Arc<Mutex<Vec<u8>>>,
}

impl GuestOutput {
    /// The output of this actor; lost unless its manifest grants `log`.
    pub(crate) fn new(actor: String, granted: bool) -> Self {
        Self { actor: actor.into(), granted, line: Arc::default() }
    }

    fn write(&self, bytes: &[u8]) {
        if !self.granted {
            return;
        }
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in bytes {
            if *byte == b'\n' || line.len() >= MAX_LINE {
                let text = String::from_utf8_lossy(&line);
                tracing::info!(target: "guest", actor = &*self.actor, "{text}");
                line.clear();
            }
            if *byte != b'\n' {
                line.push(*byte);
            }
        }
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for GuestOutput {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
