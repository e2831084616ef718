//! The connections to one port: how many there may be, and which must end.
//!
//! It knows neither what is asked over them nor how they were made. There are at most so many; then the one over which
//! nothing went for the longest time makes room, so that clients that only hold connections keep nobody out. When another authority vouches for
//! clients, those that it does not vouch for lose their connections; a new certificate would otherwise mean nothing to whoever
//! is in already.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Who tells whether a client's certificate is good; none where clients need none.
pub(crate) type Authority = Option<Arc<dyn ClientCertVerifier>>;

/// All connections of a port.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Mutex<State>>);

struct State {
    most: usize,
    authority: Authority,
    open: HashMap<u64, Entry>,
    /// The number of the next one.
    next: u64,
    began: Instant,
}

struct Entry {
    /// The client's own certificate first; none of a client that showed none.
    shown: Vec<CertificateDer<'static>>,
    /// When something went over it last, in nanoseconds since the port was opened. Shared with the connection, so that
    /// what goes over one waits for no other.
    heard: Arc<AtomicU64>,
    end: CancellationToken,
}

impl Connections {
    /// None yet, and at most so many; each takes some tens of KiB, and one of the process's files.
    pub(crate) fn new(authority: Authority, most: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            most,
            authority,
            open: HashMap::new(),
            next: 0,
            began: Instant::now(),
        })))
    }

    /// Ends those whose clients this authority does not vouch for.
    pub(crate) fn trust(&self, authority: Authority) {
        let mut state = self.lock();
        state.authority = authority;
        let State { authority, open, .. } = &*state;
        let strangers = open.values().filter(|entry| !vouches(authority, &entry.shown));
        let ended = strangers.inspect(|entry| entry.end.cancel()).count();
        if ended > 0 {
            tracing::info!(ended, "connections of clients that their authority no longer vouches for end");
        }
    }

    /// Takes one in; none when the authority has changed while it was made, and does not vouch for its client.
    fn admit<I: Shows>(&self, io: I) -> Option<Connection<I>> {
        let shown = io.shown();
        let mut state = self.lock();
        if !vouches(&state.authority, &shown) {
            return None;
        }
        if state.open.len() >= state.most {
            // Those that are told to end already count no more; they go when their tasks see it.
            let going = state.open.values().filter(|entry| entry.end.is_cancelled()).count();
            let silent = state.open.values().filter(|entry| !entry.end.is_cancelled());
            if state.open.len() - going >= state.most
                && let Some(longest) = silent.min_by_key(|entry| entry.heard.load(Ordering::Relaxed))
            {
                longest.end.cancel();
            }
        }
        let (number, end) = (state.next, CancellationToken::new());
        state.next += 1;
        let began = state.began;
        let place = Place { number, all: self.clone(), began, heard: Arc::default() };
        place.heard();
        state.open.insert(number, Entry { shown, heard: place.heard.clone(), end: end.clone() });
        drop(state);
        let ended = Box::pin(end.cancelled_owned());
        Some(Connection { io, place, ended })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn vouches(authority: &Authority, shown: &[CertificateDer<'static>]) -> bool {
    match (authority, shown.split_first()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(authority), Some((own, others))) => {
            authority.verify_client_cert(own, others, UnixTime::now()).is_ok()
        }
    }
}

/// What a client may have shown of itself.
pub(crate) trait Shows {
    /// Its certificates, its own first.
    fn shown(&self) -> Vec<CertificateDer<'static>>;
}

impl Shows for TcpStream {
    fn shown(&self) -> Vec<CertificateDer<'static>> {
        Vec::new()
    }
}

impl Shows for TlsStream<TcpStream> {
    fn shown(&self) -> Vec<CertificateDer<'static>> {
        let shown = self.get_ref().1.peer_certificates().unwrap_or_default();
        shown.iter().map(|certificate| certificate.clone().into_owned()).collect()
    }
}

/// A port whose connections are counted.
pub(crate) struct Listener<L> {
    pub(crate) port: L,
    pub(crate) connections: Connections,
}

impl<L> axum::serve::Listener for Listener<L>
where
    L: axum::serve::Listener<Addr = SocketAddr>,
    L::Io: Shows,
{
    type Io = Connection<L::Io>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (io, peer) = self.port.accept().await;
            match self.connections.admit(io) {
                Some(connection) => return (connection, peer),
                None => tracing::debug!(%peer, "its certificate was good when it began, and is no more"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.port.local_addr()
    }
}

/// One of them. Told to end, it breaks as if the client had gone.
pub(crate) struct Connection<I> {
    io: I,
    place: Place,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// The entry of a connection; it goes with it.
struct Place {
    number: u64,
    all: Connections,
    began: Instant,
    heard: Arc<AtomicU64>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.lock().open.remove(&self.number);
    }
}

impl Place {
    fn heard(&self) {
        let since = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.heard.store(since, Ordering::Relaxed);
    }

    /// Whoever is told something, as it follows what happens, is not silent.
    fn written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(bytes)) if bytes > 0) {
            self.heard();
        }
        written
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Connection<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // HTTP reads as long as a connection is open, so that it is enough to look here.
        if self.ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.place.heard();
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Connection<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.place.written(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, buffers);
        self.place.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    impl Shows for DuplexStream {
        fn shown(&self) -> Vec<CertificateDer<'static>> {
            Vec::new()
        }
    }

    fn open(all: &Connections) -> (Connection<DuplexStream>, DuplexStream) {
        let (io, client) = tokio::io::duplex(64);
        (all.admit(io).expect("no certificate is asked for"), client)
    }

    fn told_to_end(connection: &Connection<DuplexStream>) -> bool {
        connection.place.all.lock().open[&connection.place.number].end.is_cancelled()
    }

    #[tokio::test]
    async fn the_one_that_was_silent_longest_makes_room() {
        let all = Connections::new(None, 2);
        let (mut speaks, mut client) = open(&all);
        let (mut silent, _kept) = open(&all);
        client.write_all(b"x").await.unwrap();
        assert_eq!(speaks.read_u8().await.unwrap(), b'x');
        let (third, _also_kept) = open(&all);
        assert!(told_to_end(&silent) && !told_to_end(&speaks) && !told_to_end(&third));
        assert_eq!(silent.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);

        // As long as it has not gone it takes no second one with it.
        drop(third);
        let (fourth, _kept_too) = open(&all);
        assert!(!told_to_end(&speaks) && !told_to_end(&fourth));
        drop((silent, speaks, fourth));
        assert!(all.lock().open.is_empty());
    }

    #[tokio::test]
    async fn whoever_is_told_something_is_not_silent() {
        let all = Connections::new(None, 2);
        let (mut follows, _client) = open(&all);
        let (silent, _kept) = open(&all);
        follows.write_all(b"x").await.unwrap();
        let (_third, _also_kept) = open(&all);
        assert!(told_to_end(&silent) && !told_to_end(&follows));
    }

    #[tokio::test]
    async fn one_that_waits_for_its_client_is_woken_to_end() {
        let all = Connections::new(None, 1);
        let (mut first, _client) = open(&all);
        let waits = tokio::spawn(async move { first.read_u8().await });
        while all.lock().open.is_empty() {
            tokio::task::yield_now().await;
        }
        let (_second, _other) = open(&all);
        assert_eq!(waits.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
