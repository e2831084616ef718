//! A nats-server of the test's own: JetStream on, a free port, its files in a temporary folder.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::ports;
use crate::process::{POLL, Process};

/// A server that has not said hello by then never will.
const START_BOUND: Duration = Duration::from_secs(30);

/// A running or stopped server; dropping it stops it and deletes its files.
#[derive(Debug)]
pub struct NatsServer {
    program: PathBuf,
    port: u16,
    monitor: u16,
    folder: TempDir,
    process: Option<Process>,
    special: Special,
}

/// What a server has that an ordinary one has not.
#[derive(Debug, Default, Clone)]
pub struct Special {
    /// Further lines of its configuration; `{folder}` there is where its files are.
    pub lines: String,
    /// Further files beside its configuration, by name.
    pub files: Vec<(String, String)>,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// `user:password` for the URL that nodes get.
    pub login: Option<String>,
}

impl NatsServer {
    /// Starts the server that Lattice is tested with.
    pub async fn start() -> Self {
        Self::start_program(&program()).await
    }

    /// Starts one that is special.
    pub async fn start_special(special: Special) -> Self {
        Self::start_reserved(Self { special, ..Self::reserve(&program()) }).await
    }

    /// Starts a cluster, and returns when it keeps what it is given.
    pub async fn start_cluster(servers: usize) -> Vec<Self> {
        let name = format!("test-{}", uuid::Uuid::new_v4().simple());
        let ports: Vec<u16> = (0..servers).map(|_| ports::free()).collect();
        let routes: Vec<String> = ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let server = |(index, port): (usize, &u16)| {
            // Clients that learn of the other servers would get around a link that a test has cut.
            let lines = format!(
                "server_name: \"{name}-{index}\"\ncluster {{ name: \"{name}\", listen: \"127.0.0.1:{port}\", no_advertise: true, \
                 routes: [{}] }}\n",
                routes.join(", ")
            );
            Self::start_special(Special { lines, ..Special::default() })
        };
        let started = futures::future::join_all(ports.iter().enumerate().map(server)).await;
        let probe = async_nats::jetstream::stream::Config {
            name: "probe".to_owned(),
            num_replicas: servers,
            ..Default::default()
        };
        let made = async || {
            let jetstream = async_nats::jetstream::new(started[0].client().await);
            let made = jetstream.create_stream(probe.clone()).await.is_ok();
            made && jetstream.delete_stream("probe").await.is_ok()
        };
        crate::wait_until("the cluster keeps what it is given", START_BOUND, made, |made| *made).await;
        started
    }

    /// Starts some other version.
    pub async fn start_program(program: &Path) -> Self {
        Self::start_reserved(Self::reserve(program)).await
    }

    async fn start_reserved(mut server: Self) -> Self {
        // Between the choice of a port and its use another test may take it.
        for _ in 0..5 {
            if server.try_start().await.is_ok() {
                return server;
            }
            (server.port, server.monitor) = (ports::free(), ports::free());
        }
        panic!("{} does not start; it says:\n{}", server.program.display(), server.log())
    }

    /// A server that has an address already, but does not run before [`restart`](Self::restart).
    pub fn stopped() -> Self {
        Self::reserve(&program())
    }

    fn reserve(program: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("lattice-nats-").tempdir().unwrap();
        Self {
            program: program.to_owned(),
            port: ports::free(),
            monitor: ports::free(),
            folder,
            process: None,
            special: Special::default(),
        }
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        self.url_as(self.special.login.as_deref())
    }

    /// The same as an address.
    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The same with another login, or none.
    pub fn url_as(&self, login: Option<&str>) -> String {
        let login = login.map_or(String::new(), |login| format!("{login}@"));
        format!("nats://{login}127.0.0.1:{}", self.port)
    }

    /// Takes away all that JetStream has stored; only while it is stopped.
    pub fn lose_data(&self) {
        assert!(self.process.is_none(), "a running server writes to its store");
        std::fs::remove_dir_all(self.folder.path().join("store")).unwrap();
    }

    /// The folder of this server, in which a test may keep files of its own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it cleanly, and returns when it is gone.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate();
            process.wait(START_BOUND).await;
        }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Freezes it: its connections stay open, nothing is answered.
    pub fn pause(&self) {
        self.process.as_ref().unwrap().pause();
    }

    /// Lets a frozen one go on.
    pub fn resume(&self) {
        self.process.as_ref().unwrap().resume();
    }

    /// Starts it again (stopping it first if it runs) on the same port with the same files.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.try_start()
            .await
            .unwrap_or_else(|why| panic!("nats-server does not start again: {why}\n{}", self.log()));
    }

    /// Every subject that a client of this server listens to now, with its wildcards.
    pub async fn subscriptions(&self) -> Vec<String> {
        let text = http_get(self.monitor, "/connz?subs=1&limit=1000").await;
        let report: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let lists = report["connections"].as_array().into_iter().flatten();
        let subjects = lists.filter_map(|connection| connection["subscriptions_list"].as_array()).flatten();
        let mut subjects: Vec<_> =
            subjects.filter_map(|subject| subject.as_str().map(str::to_owned)).collect();
        subjects.sort();
        subjects.dedup();
        subjects
    }

    /// What it says of itself: `ok` when it has everything that the others of its cluster have.
    pub async fn health(&self) -> String {
        let asked = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.monitor)).await.ok()?;
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await.ok()?;
            let body = text.split_once("\r\n\r\n")?.1;
            let report: serde_json::Value = serde_json::from_str(body).ok()?;
            let said = if report["status"] == "ok" { &report["status"] } else { &report["error"] };
            Some(said.as_str().unwrap_or(body).to_owned())
        };
        let said = tokio::time::timeout(Duration::from_secs(2), asked).await.ok().flatten();
        said.unwrap_or_else(|| "no answer".to_owned())
    }

    /// A client connection.
    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(self.url()).await.unwrap()
    }

    async fn try_start(&mut self) -> Result<(), String> {
        let config = self.write_config();
        let log = self.folder.path().join("nats-server.log");
        let mut process = Process::start(
            "nats-server",
            &self.program,
            |command| _ = command.arg("-c").arg(config).envs(self.special.env.clone()),
            &log,
        );
        let start = Instant::now();
        while start.elapsed() < START_BOUND {
            if let Some(status) = process.ended() {
                return Err(status.to_string());
            }
            if says_hello(self.port).await {
                self.process = Some(process);
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(format!("no hello within {START_BOUND:?}"))
    }

    fn write_config(&self) -> PathBuf {
        let file = self.folder.path().join("nats-server.conf");
        let store = self.folder.path().join("store");
        let text = format!(
            "listen: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\nmax_payload: 8MB\njetstream {{ store_dir: {:?} }}\n{}\n",
            self.port,
            self.monitor,
            store.display().to_string(),
            self.special.lines.replace("{folder}", &self.folder.path().display().to_string()),
        );
        for (name, content) in &self.special.files {
            std::fs::write(self.folder.path().join(name), content).unwrap();
        }
        std::fs::write(&file, text).unwrap();
        file
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("nats-server.log")).unwrap_or_default()
    }
}

/// A server speaks first, when it is ready.
async fn says_hello(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await else { return false };
    let mut line = String::new();
    let read =
        tokio::time::timeout(Duration::from_secs(2), BufReader::new(stream).read_line(&mut line)).await;
    matches!(read, Ok(Ok(_))) && line.starts_with("INFO ")
}

/// The body of a reply; the server closes the connection behind it.
async fn http_get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// The nats-server that tests use, found or fetched once per test process.
pub fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let find = || {
        // Getting one blocks, and may take a while; a thread keeps the test's runtime out of it.
        let found = std::thread::spawn(|| lattice_setup::nats_server(&|notice| eprintln!("{notice}")));
        found.join().unwrap().unwrap_or_else(|error| panic!("{error}")).path
    };
    PROGRAM.get_or_init(find).clone()
}
