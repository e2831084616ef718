//! From a URL to a connection, by addresses that may be used for it.
//!
//! A name is resolved once. What comes of it is checked, and no more than that is handed to whoever connects: a name that leads elsewhere a
//! moment later leads nowhere.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use lattice_proto::manifest::{HttpGrant, HttpScheme, Reach, Server, ServerHost, reach};
use tower_service::Service;

use super::line::{Line, Lines};
use super::{Failure, Tls};

/// The longest that connecting may take, whatever the guest says: also a connection that nobody waits for any more is finished.
const LONGEST: Duration = Duration::from_secs(30);

/// Makes the connections of one actor.
#[derive(Clone)]
pub(super) struct Connector<R> {
    pub grants: Arc<[HttpGrant]>,
    pub resolver: R,
    pub lines: Lines,
    pub tls: Tls,
}

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

/// What finds the addresses of a name.
pub(super) trait Resolve:
    Service<Name, Response: Iterator<Item = SocketAddr> + Send, Error = io::Error, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<R> Resolve for R where
    R: Service<Name, Response: Iterator<Item = SocketAddr> + Send, Error = io::Error, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// The server that a URL is at.
///
/// # Errors
/// Where that cannot be said with certainty.
pub fn server(url: &Uri) -> Result<Server, Failure> {
    let scheme: HttpScheme = url.scheme_str().unwrap_or_default().parse().map_err(Failure::Malformed)?;
    let authority = url.authority().map_or("", |authority| authority.as_str());
    Server::new(scheme, authority).map_err(Failure::Malformed)
}

impl<R: Resolve> Connector<R> {
    async fn connect(self, url: Uri) -> Result<Line, Failure> {
        let server = server(&url)?;
        let reach = reach(&self.grants, &server).ok_or(Failure::Denied)?;
        // An address is connected to without being resolved.
        if let ServerHost::Address(address) = server.host
            && !reach.admits(address)
        {
            return Err(Failure::Prohibited(address));
        }
        let mut tcp = HttpConnector::new_with_resolver(Checked { resolver: self.resolver, reach });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let stream = tcp.call(url).await.map_err(|error| Failure::connecting(&error))?.into_inner();
        Ok(match server.scheme {
            HttpScheme::Http => self.lines.plain(stream),
            HttpScheme::Https => self.lines.secure(self.tls.connect(&server.host, stream).await?),
        })
    }
}

impl<R: Resolve> Service<Uri> for Connector<R> {
    type Response = Line;
    type Error = Failure;
    type Future = Boxed<Line>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Boxed<Line> {
        let connected = tokio::time::timeout(LONGEST, self.clone().connect(url));
        Box::pin(async { connected.await.unwrap_or(Err(Failure::ConnectTimeout)) })
    }
}

/// Finds addresses, and gives those that may be used.
#[derive(Clone)]
struct Checked<R> {
    resolver: R,
    reach: Reach,
}

impl<R: Resolve> Service<Name> for Checked<R> {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Failure;
    type Future = Boxed<Self::Response>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.resolver.poll_ready(task).map_err(|error| Failure::Unresolved(error.to_string()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (resolved, reach) = (self.resolver.call(name), self.reach);
        Box::pin(async move {
            let all = resolved.await.map_err(|error| Failure::Unresolved(error.to_string()))?;
            let (admitted, others): (Vec<_>, Vec<_>) = all.partition(|address| reach.admits(address.ip()));
            match others.first() {
                Some(other) if admitted.is_empty() => Err(Failure::Prohibited(other.ip())),
                _ => Ok(admitted.into_iter()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};
    use std::sync::Mutex;

    use super::*;

    /// Answers each time with the next of these.
    #[derive(Clone)]
    struct Scripted(Arc<Mutex<Vec<Vec<SocketAddr>>>>);

    impl Scripted {
        fn new(answers: &[&[&str]]) -> Self {
            let answer = |all: &&[&str]| all.iter().map(|address| address.parse().unwrap()).collect();
            Self(Arc::new(Mutex::new(answers.iter().rev().map(answer).collect())))
        }

        fn left(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }

    impl Service<Name> for Scripted {
        type Response = std::vec::IntoIter<SocketAddr>;
        type Error = io::Error;
        type Future = Ready<io::Result<Self::Response>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Name) -> Self::Future {
            let answer = self.0.lock().unwrap().pop().expect("it was asked once too often");
            ready(Ok(answer.into_iter()))
        }
    }

    fn connector(grant: &str, private: bool, resolver: Scripted) -> Connector<Scripted> {
        let grants = [HttpGrant::new(grant.parse().unwrap(), private).unwrap()];
        Connector { grants: grants.into(), resolver, lines: Lines::default(), tls: Tls::default() }
    }

    async fn failure(connector: &mut Connector<Scripted>, url: &str) -> Failure {
        connector.call(url.parse().unwrap()).await.map(|_| ()).unwrap_err()
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_a_moment_later_leads_nowhere() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // What checked first and then resolved again would get the second answer.
        let resolver = Scripted::new(&[&["10.0.0.1:0", "169.254.169.254:0"], &["127.0.0.1:0"], &["[::1]:0"]]);
        let mut connector = connector("http://*:*", false, resolver.clone());
        let url = format!("http://rebinds.example:{port}/");
        for address in ["10.0.0.1", "127.0.0.1", "::1"] {
            let wanted = Failure::Prohibited(address.parse().unwrap());
            assert_eq!(failure(&mut connector, &url).await, wanted);
        }
        assert_eq!(resolver.left(), 0, "once for each connection");
        assert!(futures::FutureExt::now_or_never(listener.accept()).is_none(), "nobody came");
    }

    #[tokio::test]
    async fn the_address_that_was_checked_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Of several answers only those that may be used are.
        let resolver = Scripted::new(&[&["169.254.169.254:0", "127.0.0.1:0"], &["169.254.169.254:0"]]);
        let mut connector = connector(&format!("http://backend.local:{port}"), true, resolver.clone());
        let url = format!("http://backend.local:{port}/");
        let line = connector.call(url.parse().unwrap()).await;
        assert!(line.is_ok() && listener.accept().await.is_ok());
        assert_eq!(resolver.left(), 1, "it was resolved once");
        let wanted = Failure::Prohibited("169.254.169.254".parse().unwrap());
        assert_eq!(failure(&mut connector, &url).await, wanted);
        // The grant is looked at again.
        assert_eq!(failure(&mut connector, "http://other.local/").await, Failure::Denied);
    }

    #[tokio::test]
    async fn addresses_in_any_spelling_are_checked_without_being_resolved() {
        let mut connector = connector("http://*:*", false, Scripted::new(&[]));
        for url in
            ["http://127.0.0.1/", "http://[::1]/", "http://[::ffff:10.0.0.1]/", "http://169.254.169.254./"]
        {
            let failure = failure(&mut connector, url).await;
            assert!(matches!(failure, Failure::Prohibited(_)), "{url}: {failure}");
        }
        for url in ["http://0x7f.1/", "http://2130706433/", "http://user@127.0.0.1/", "http://127.1/"] {
            let failure = failure(&mut connector, url).await;
            assert!(matches!(failure, Failure::Malformed(_)), "{url}: {failure}");
        }
    }
}
