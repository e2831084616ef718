//! A registry of the test's own: a real one, Debian's `docker-registry`, on loopback. One that lies is in [`hostile`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::{ports, say::had, wait_until};

pub mod hostile;

/// Starting takes it a fraction of a second, unless the machine is busy.
const START_BOUND: Duration = Duration::from_secs(60);

/// Whom one with a password knows, and as what. It stores passwords by bcrypt only.
pub const LOGIN: (&str, &str) = ("ada", "secret");
const HASHED: &str = "$2b$04$PgVaUJ/mAnVsfvg4s2m/7OfU8hnOSUDJIL9OZVoOxAFuNc1wMs4Nq";

/// A running registry.
pub struct Registry {
    /// Host and port.
    pub address: String,
    process: Process,
    folder: TempDir,
}

/// The program: `LATTICE_REGISTRY`, or one that the set-up gets. None, and a loud line, where there is none.
pub async fn program(test: &str) -> Option<PathBuf> {
    had("LATTICE_REGISTRY", test, lattice_setup::registry).await
}

impl Registry {
    /// One that lets everybody do everything.
    pub async fn start(program: &Path) -> Self {
        Self::start_with(program, "").await
    }

    /// One that lets in who knows the password.
    pub async fn start_closed(program: &Path) -> Self {
        Self::start_with(program, "auth: { htpasswd: { realm: tests, path: FOLDER/users } }\n").await
    }

    /// One that is spoken with by TLS, with this certificate and its key.
    pub async fn start_secure(program: &Path, (certificate, key): (&str, &str)) -> Self {
        let tls = format!("  tls: {{ certificate: {certificate}, key: {key} }}\n");
        Self::start_with(program, &tls).await
    }

    async fn start_with(program: &Path, lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("127.0.0.1:{}", ports::free());
        let config = format!(
            "version: 0.1\nstorage: {{ filesystem: {{ rootdirectory: FOLDER/data }} }}\nhttp:\n  addr: \"{address}\"\n{lines}"
        );
        let config = config.replace("FOLDER", folder.path().to_str().unwrap());
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        std::fs::write(folder.path().join("users"), format!("{}:{HASHED}\n", LOGIN.0)).unwrap();
        let configure = |command: &mut std::process::Command| {
            command.arg("serve").arg(&file);
        };
        let process = Process::start("docker-registry", program, configure, &folder.path().join("log"));
        let observe = async || tokio::net::TcpStream::connect(&address).await.is_ok();
        wait_until("the registry listens", START_BOUND, observe, |listens| *listens).await;
        Self { address, process, folder }
    }

    /// A reference to what it has under a name and a tag.
    pub fn at(&self, name: &str) -> String {
        format!("oci://{}/{name}", self.address)
    }

    /// A file as `docker login` writes it, by which this password is known.
    pub fn docker_config(&self, password: &str) -> String {
        let auth = data_encoding::BASE64.encode(format!("{}:{password}", LOGIN.0).as_bytes());
        format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{auth}\"}}}}}}", self.address)
    }

    /// A folder that lives as long as it does.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it for good.
    pub fn stop(&mut self) {
        self.process.kill();
    }
}
