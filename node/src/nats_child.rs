//! The nats-server that a node runs for itself when it is given none: a laptop needs nothing else.
//!
//! The child keeps its files under the node's data folder and listens on loopback only. A server that an earlier node
//! left behind, because it was killed, is found by its files and used again: two servers must not share one store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No program to run.
    #[error(
        "there is no nats-server to start; run `lattice doctor --fix` to get one, or give the URL of one with --nats"
    )]
    NoProgram,
    /// It could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Which one.
        program: PathBuf,
        /// From the system.
        source: io::Error,
    },
    /// It started and did not come up.
    #[error("nats-server did not come up; its log is {log}")]
    NotUp {
        /// Where its log is.
        log: PathBuf,
    },
    /// It ended while the node ran.
    #[error("the nats-server of this node ended; start the node again (its log is {log})")]
    Ended {
        /// Where its log is.
        log: PathBuf,
    },
    /// Its folder cannot be used.
    #[error("cannot use the folder {folder} for NATS: {source}")]
    Folder {
        /// Which one.
        folder: PathBuf,
        /// From the system.
        source: io::Error,
    },
}

/// How long a server may take to say where it listens.
const START: Duration = Duration::from_secs(15);

/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(5);

/// The file in which the server's port is kept.
const PORT: &str = "port";

/// How often a server that an earlier node started is looked at, which cannot be waited for.
const LOOK: Duration = Duration::from_secs(1);

/// A running server.
pub struct NatsChild {
    url: String,
    pid: Pid,
    log: PathBuf,
    /// None where an earlier node started it.
    child: Option<Child>,
}

impl NatsChild {
    /// Starts a server, or finds the one that an earlier node left. The folder must be this node's alone: two must neither
    /// run two servers over one store, nor stop each other's.
    pub async fn start(program: Option<&Path>, data: &Path) -> Result<Self, Error> {
        let folder = data.join("nats");
        let failed = |source| Error::Folder { folder: folder.clone(), source };
        fs::create_dir_all(folder.join("ports")).map_err(failed)?;
        let log = folder.join("nats.log");
        if let Some((pid, url)) = find_left_over(&folder.join("ports")) {
            tracing::info!(
                pid = pid.as_raw_nonzero().get(),
                url,
                "using the nats-server that an earlier node left running"
            );
            return Ok(Self { url, pid, log, child: None });
        }
        let program = program.ok_or(Error::NoProgram)?;
        let config = folder.join("nats.conf");
        let port = free_port(&folder.join(PORT));
        fs::write(&config, configuration(&folder, port)).map_err(failed)?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&config).arg("-l").arg(&log).stdin(std::process::Stdio::null());
        // A Ctrl-C in the terminal is for the node, which drains first and stops its server last.
        command.process_group(0).kill_on_drop(true);
        let mut child =
            command.spawn().map_err(|source| Error::Start { program: program.to_owned(), source })?;
        let not_up = || Error::NotUp { log: log.clone() };
        let pid =
            child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).ok_or_else(not_up)?;
        let started = tokio::time::Instant::now();
        loop {
            if let Some((_, url)) = find_left_over(&folder.join("ports")) {
                if let Some((_, port)) = url.rsplit_once(':') {
                    // Without it the next start takes another one.
                    let _ = fs::write(folder.join(PORT), port);
                }
                return Ok(Self { url, pid, log, child: Some(child) });
            }
            let exited =
                child.try_wait().map_err(|source| Error::Start { program: program.to_owned(), source })?;
            if exited.is_some() || started.elapsed() > START {
                return Err(not_up());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns when it ended by itself, with the reason. Cancel safe.
    pub async fn ended(&mut self) -> Error {
        match &mut self.child {
            Some(child) => drop(child.wait().await),
            None => {
                while is_nats_server(self.pid) {
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
        Error::Ended { log: self.log.clone() }
    }

    /// Stops it, and returns when it is gone.
    pub async fn stop(mut self) {
        // Its number may be another's by now.
        if !is_nats_server(self.pid) {
            return;
        }
        let _ = rustix::process::kill_process(self.pid, Signal::TERM);
        let gone = async {
            match &mut self.child {
                Some(child) => drop(child.wait().await),
                None => {
                    while is_nats_server(self.pid) {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        };
        if tokio::time::timeout(STOP, gone).await.is_err() {
            let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        }
    }
}

/// The port of the last time, if nobody else has it by now: other nodes may know the server by it.
fn free_port(file: &Path) -> Option<u16> {
    let port: u16 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    std::net::TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
}

fn configuration(folder: &Path, port: Option<u16>) -> String {
    let folder = folder.display();
    let port = port.map_or_else(|| "-1".to_owned(), |port| port.to_string());
    format!(
        "# Written by `lattice start` at each start; changes are lost.\n\
         listen: \"127.0.0.1:{port}\"\n\
         ports_file_dir: \"{folder}/ports\"\n\
         jetstream {{ store_dir: \"{folder}/store\" }}\n\
         # The largest payload of an actor, and room for the envelope.\n\
         max_payload: 8388608\n\
         max_pending: 67108864\n\
         # A member of a queue group that hangs is found within two of these.\n\
         ping_interval: \"1s\"\n\
         ping_max: 1\n"
    )
}

/// The server whose ports file is here and which runs.
fn find_left_over(ports: &Path) -> Option<(Pid, String)> {
    #[derive(serde::Deserialize)]
    struct Ports {
        nats: Vec<String>,
    }
    for entry in fs::read_dir(ports).ok()?.flatten() {
        let name = entry.file_name();
        let pid =
            name.to_str().and_then(|name| name.strip_suffix(".ports")?.rsplit_once('_')?.1.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else { continue };
        if rustix::process::test_kill_process(pid).is_err() || !is_nats_server(pid) {
            let _ = fs::remove_file(entry.path());
            continue;
        }
        // Half written while the server starts.
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        if let Ok(Ports { nats }) = serde_json::from_str(&text)
            && let Some(url) = nats.into_iter().next()
        {
            return Some((pid, url));
        }
    }
    None
}

/// Process ids are used again; a signal must not go to a stranger.
fn is_nats_server(pid: Pid) -> bool {
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
    // A server that ended, and that its parent has not looked at yet, is a zombie and none.
    let ended = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')));
    !ended && name.is_ok_and(|name| name.trim().starts_with("nats-server"))
}
