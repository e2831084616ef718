//! One node: a `lattice start` process, and what its ready line said.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};

use super::AdminClient;
use crate::process::{POLL, Process, workspace_program};

/// A node that is not ready by then never will be.
const READY_BOUND: Duration = Duration::from_secs(60);

/// As the kit's longest payload test needs; the node enforces the real limits.
const MAX_MESSAGE: usize = 72 << 20;

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The `lattice` that is started: [`program`], or [`earlier_program`].
    pub program: PathBuf,
    /// `--name`
    pub name: String,
    /// `--label`, each
    pub labels: Vec<String>,
    /// `--lattice`
    pub lattice: String,
    /// `--nats`; without, the node starts a server of its own.
    pub nats: Option<String>,
    /// `--listen`
    pub listen: String,
    /// Its variables, beside the test's own.
    pub env: BTreeMap<String, String>,
    /// More arguments.
    pub args: Vec<String>,
    /// Its data and its log are in here.
    pub folder: PathBuf,
}

/// The words of the ready line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The node's name.
    pub name: String,
    /// Its incarnation.
    pub id: String,
    /// Its lattice.
    pub lattice: String,
    /// The address of the admin API, with `http://`.
    pub admin: String,
    /// The address of its HTTP gateway, where it has one.
    pub http: Option<String>,
    /// Its NATS server, or `offline`.
    pub nats: String,
}

impl Ready {
    /// Finds the line in a node's output.
    pub fn find(output: &str) -> Option<Self> {
        let line = output.lines().find(|line| line.starts_with("ready "))?;
        let words: BTreeMap<&str, &str> =
            line.split_whitespace().filter_map(|word| word.split_once('=')).collect();
        let word = |key: &str| words.get(key).map(|value| (*value).to_owned());
        let admin = word("admin")?;
        let admin = if admin.contains("://") { admin } else { format!("http://{admin}") };
        Some(Self {
            name: word("name")?,
            id: word("id")?,
            lattice: word("lattice")?,
            admin,
            http: word("http"),
            nats: word("nats")?,
        })
    }
}

/// A node of a test.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    process: Process,
    state: State,
    starts: u32,
}

#[derive(Debug)]
enum State {
    Starting,
    Ready { ready: Ready, channel: Channel },
    Stopped { ready: Option<Ready> },
}

impl Node {
    /// Starts a node and waits until it is ready.
    pub async fn start(settings: Settings) -> Self {
        let mut node = Self::spawn(settings);
        node.wait_until_ready().await;
        node
    }

    /// Starts a node without waiting.
    pub fn spawn(settings: Settings) -> Self {
        let process = spawn(&settings, 0);
        Self { settings, process, state: State::Starting, starts: 0 }
    }

    /// Waits for the ready line; fails the test when the node ends instead.
    pub async fn wait_until_ready(&mut self) {
        let start = Instant::now();
        loop {
            if let Some(ready) = Ready::find(&self.process.output()) {
                let endpoint = Endpoint::from_shared(ready.admin.clone()).unwrap();
                let channel = endpoint.connect_timeout(Duration::from_secs(5)).connect_lazy();
                self.state = State::Ready { ready, channel };
                return;
            }
            let ended = self.process.ended();
            assert!(
                ended.is_none() && start.elapsed() < READY_BOUND,
                "{} is not ready after {:?} ({ended:?}); it said:\n{}",
                self.settings.name,
                start.elapsed(),
                self.process.output()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// What its ready line said; also after its end.
    pub fn ready(&self) -> &Ready {
        match &self.state {
            State::Ready { ready, .. } | State::Stopped { ready: Some(ready) } => ready,
            _ => panic!("{} has never been ready", self.settings.name),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// What it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The operating system's number for it.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether it was started and not ended by the test.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// A client of its admin API; all clients of a node share one connection.
    pub fn admin(&self) -> AdminClient {
        let State::Ready { channel, .. } = &self.state else { panic!("{} does not run", self.settings.name) };
        AdminClient::new(channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// SIGKILL: gone at once, without a word to anybody.
    pub fn kill(&mut self) -> Instant {
        let at = Instant::now();
        self.process.kill();
        self.stopped();
        at
    }

    /// SIGSTOP: connections stay open, nothing answers.
    pub fn pause(&self) -> Instant {
        let at = Instant::now();
        self.process.pause();
        at
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process.terminate();
        let status = self.process.wait(READY_BOUND).await;
        self.stopped();
        status
    }

    /// Starts it again with the same settings, after its end.
    pub async fn restart(&mut self) {
        if self.process.ended().is_none() {
            self.kill();
        }
        self.starts += 1;
        self.process = spawn(&self.settings, self.starts);
        self.state = State::Starting;
        self.wait_until_ready().await;
    }

    /// Starts it again as another version, after its end.
    pub async fn restart_as(&mut self, program: PathBuf) {
        self.settings.program = program;
        self.restart().await;
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self, bound: Duration) -> ExitStatus {
        let status = self.process.wait(bound).await;
        self.stopped();
        status
    }

    /// Whether the process is still there.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// What it has written to stdout and stderr since its last start.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Resident memory, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap();
        let pages: u64 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
        pages * rustix::param::page_size() as u64
    }

    fn stopped(&mut self) {
        let ready = match std::mem::replace(&mut self.state, State::Starting) {
            State::Ready { ready, .. } => Some(ready),
            State::Stopped { ready } => ready,
            State::Starting => None,
        };
        self.state = State::Stopped { ready };
    }
}

/// Starts a node that is expected to give up by itself; returns how it ended and what it said.
pub async fn start_and_fail(settings: Settings, bound: Duration) -> (ExitStatus, String) {
    let mut node = Node::spawn(settings);
    let status = node.ended(bound).await;
    (status, node.output())
}

fn spawn(settings: &Settings, start: u32) -> Process {
    std::fs::create_dir_all(&settings.folder).unwrap();
    let log = settings.folder.join(format!("node-{start}.log"));
    // The test may have started it before, with this folder, in another way.
    let _ = std::fs::remove_file(&log);
    let name = format!("{} of {}", settings.name, settings.lattice);
    Process::start(&name, &settings.program, |command| configure(command, settings), &log)
}

fn configure(command: &mut std::process::Command, settings: &Settings) {
    command.args(["start", "--name", &settings.name, "--lattice", &settings.lattice]);
    command.args(["--listen", &settings.listen]).arg("--data").arg(settings.folder.join("data"));
    if let Some(nats) = &settings.nats {
        command.args(["--nats", nats]);
    }
    for label in &settings.labels {
        command.args(["--label", label]);
    }
    command.args(&settings.args);
    // What the developer exports for a collector of their own must not change what a test sees.
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(key);
        }
    }
    command.envs(&settings.env);
}

/// The `lattice` binary under test.
pub fn program() -> PathBuf {
    workspace_program("LATTICE_BIN", "lattice")
}

/// The `lattice` of an earlier version, where a run has one; otherwise the one under test.
pub fn earlier_program() -> PathBuf {
    std::env::var_os("LATTICE_EARLIER_BIN").map_or_else(program, PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_found_among_others() {
        let output =
            "waiting\nready name=a id=0f lattice=default admin=127.0.0.1:7700 nats=nats://h:4222\nmore\n";
        let ready = Ready::find(output).unwrap();
        assert_eq!((ready.name.as_str(), ready.admin.as_str()), ("a", "http://127.0.0.1:7700"));
        assert_eq!(Ready::find("ready name=a"), None);
    }
}
