//! What a guest prints, line by line, as events of this node: a panic's message arrives this way.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use lattice_proto::log::{Level, MAX_TEXT};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use crate::logs::{Speaker, Speaking};

/// What is kept of a line that does not end; the rest of it is counted.
const MAX_LINE: usize = MAX_TEXT;

/// Standard output and error of one guest.
#[derive(Clone)]
pub(crate) struct GuestOutput {
    speaker: Speaker,
    speaking: Speaking,
    line: Arc<Mutex<Unfinished>>,
}

/// A line that has not ended yet.
#[derive(Default)]
struct Unfinished {
    bytes: Vec<u8>,
    /// How many more there were.
    left_out: usize,
}

impl GuestOutput {
    /// The output of the guest that speaks so.
    pub(crate) fn new(speaker: Speaker, speaking: Speaking) -> Self {
        Self { speaker, speaking, line: Arc::default() }
    }

    fn write(&self, mut bytes: &[u8]) {
        if !self.speaker.is_heard() {
            return;
        }
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            line.push(&bytes[..end]);
            let text = line.take();
            self.speaker.say(Level::Info, "stdio", &text, self.speaking.turn());
            bytes = &bytes[end + 1..];
        }
        line.push(bytes);
    }
}

impl Unfinished {
    fn push(&mut self, bytes: &[u8]) {
        let room = MAX_LINE.saturating_sub(self.bytes.len());
        let (kept, left_out) = bytes.split_at(bytes.len().min(room));
        self.bytes.extend_from_slice(kept);
        self.left_out += left_out.len();
    }

    fn take(&mut self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.left_out > 0 {
            text.push_str(&format!(" … ({} more bytes)", self.left_out));
        }
        self.bytes.clear();
        self.left_out = 0;
        text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_end_takes_bounded_memory_and_says_what_is_missing() {
        let mut line = Unfinished::default();
        for _ in 0..1_280 {
            line.push(&[b'x'; 8 << 10]);
        }
        assert_eq!(line.bytes.len(), MAX_LINE);
        let text = line.take();
        assert!(text.ends_with(&format!("({} more bytes)", (10 << 20) - MAX_LINE)), "{}", &text[MAX_LINE..]);
        line.push(b"\xff\x00next");
        assert_eq!(line.take(), "\u{fffd}\u{0}next");
    }
}
