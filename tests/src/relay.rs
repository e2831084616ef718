//! A link that a test can cut: a TCP port that leads to another one.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::{NatsServer, ports};

/// A link to a server; dropping it cuts it.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    to: SocketAddr,
    task: Option<AbortHandle>,
}

impl Relay {
    /// A link to a NATS server.
    pub async fn to(server: &NatsServer) -> Self {
        let mut relay = Self { port: ports::free(), to: server.address(), task: None };
        relay.mend().await;
        relay
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Breaks what goes over it, and refuses what comes.
    pub fn cut(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Lets everything through again.
    pub async fn mend(&mut self) {
        self.cut();
        let address = ("127.0.0.1", self.port);
        // What was cut lets go of its port a moment later.
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => tokio::task::yield_now().await,
                Err(error) => panic!("cannot listen on {address:?}: {error}"),
            }
        };
        self.task = Some(tokio::spawn(carry(listener, self.to)).abort_handle());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
    }
}

/// All connections end with the task.
async fn carry(listener: TcpListener, to: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut near, _)) = listener.accept().await else { return };
        connections.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(to).await {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}
