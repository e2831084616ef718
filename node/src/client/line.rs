//! One connection, in the clear or by TLS, counted for as long as it is open.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Open connections of the whole node from which on new ones are closed after their first request. So an actor that asks a thousand
/// servers costs others some speed, and no request.
const KEPT: usize = 1_024;

/// How many connections are open.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines(Arc<AtomicUsize>);

/// One of them.
pub(super) struct Line {
    io: TokioIo<Box<dyn Io>>,
    is_http2: bool,
    /// Whether it may serve another request.
    is_kept: bool,
    open: Lines,
}

/// What bytes go over.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl Io for TcpStream {}
impl Io for TlsStream<TcpStream> {}

impl Lines {
    /// In the clear.
    pub fn plain(&self, stream: TcpStream) -> Line {
        self.open(Box::new(stream), false)
    }

    /// By TLS, where the server chose how to go on.
    pub fn secure(&self, stream: TlsStream<TcpStream>) -> Line {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.open(Box::new(stream), is_http2)
    }

    fn open(&self, io: Box<dyn Io>, is_http2: bool) -> Line {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        Line { io: TokioIo::new(io), is_http2, is_kept: before < KEPT, open: self.clone() }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.open.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if !self.is_kept {
            connected.poison();
        }
        if self.is_http2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(task, buffer)
    }
}

impl Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(task)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(task, parts)
    }
}
