//! Rotel, an OpenTelemetry collector that shares no line of code with us: it takes what nodes export, and hands it on.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::otlp::environment;
use crate::process::Process;
use crate::{ports, say::had, wait_until};

/// Starting takes it a fraction of a second.
const START_BOUND: Duration = Duration::from_secs(30);

/// A running collector.
pub struct Collector {
    address: String,
    _process: Process,
    _folder: TempDir,
}

/// The program: `LATTICE_COLLECTOR`, or one that the set-up gets. None, and a loud line, where there is none.
pub async fn program(test: &str) -> Option<PathBuf> {
    had("LATTICE_COLLECTOR", test, lattice_setup::collector).await
}

impl Collector {
    /// Starts one that hands everything on to a receiver at this address.
    pub async fn start(program: &std::path::Path, to: std::net::SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", ports::free());
        let http = format!("127.0.0.1:{}", ports::free());
        let configure = |command: &mut std::process::Command| {
            command.arg("start").args(["--otlp-grpc-endpoint", &address, "--otlp-http-endpoint", &http]);
            command.args(["--exporter", "otlp", "--otlp-exporter-protocol", "grpc"]);
            command.args(["--otlp-exporter-endpoint", &format!("http://{to}")]);
            command.args(["--otlp-exporter-compression", "none", "--batch-timeout", "100ms"]);
            command.arg("--pid-file").arg(folder.path().join("pid"));
            // What the developer sets for a collector of their own must not change this one.
            for (key, _) in std::env::vars_os() {
                if key.to_string_lossy().starts_with("ROTEL_") {
                    command.env_remove(key);
                }
            }
        };
        let process = Process::start("rotel", program, configure, &folder.path().join("log"));
        let observe = async || tokio::net::TcpStream::connect(&address).await.is_ok();
        wait_until("the collector listens", START_BOUND, observe, |listens| *listens).await;
        Self { address, _process: process, _folder: folder }
    }

    /// The variables that make a process export to it, quickly.
    pub fn env(&self) -> [(&'static str, String); 6] {
        environment(&self.address)
    }
}
