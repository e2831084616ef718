//! SIGTERM and SIGINT: the first asks the node to drain and stop, the second to stop at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals of one process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen; from now on neither signal ends the process by itself.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the first.
    pub async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the next.
    pub async fn second(&mut self) {
        self.first().await;
    }
}
