//! SIGTERM and SIGINT: the first asks the node to drain and stop, the second to stop at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The signals of one process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    told: CancellationToken,
}

impl Signals {
    /// Begins to listen; from now on neither signal ends the process by itself.
    pub fn listen() -> io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, told: CancellationToken::new() })
    }

    /// Cancelled once the first has come.
    pub fn told(&self) -> CancellationToken {
        self.told.clone()
    }

    /// Waits for the first.
    pub async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        self.told.cancel();
    }

    /// Waits for the next.
    pub async fn second(&mut self) {
        self.first().await;
    }
}
