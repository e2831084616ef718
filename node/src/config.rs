//! Everything that an operator can set, read once at the start: flags over environment over file over defaults.

mod admin;
mod http;
mod registries;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lattice_proto::manifest::{Label, Millis};
use lattice_proto::shard::{MAX_SHARDS, PARTITIONS};
use lattice_proto::{LatticeId, NodeName};
use serde::Deserialize;

use self::registries::RegistriesOptions;
use crate::telemetry::Format;

pub use admin::{Admin, AdminOptions, Tls};
pub use http::{Http, HttpOptions};
pub use registries::{Allowed, Registries};

/// What `lattice start` was given. Whatever is not set falls back to the file, then to a default.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--name`
    pub name: Option<String>,
    /// `--lattice`
    pub lattice: Option<String>,
    /// `--nats`; empty starts a server of this node's own.
    pub nats: Vec<String>,
    /// `--nats-creds`
    pub nats_creds: Option<PathBuf>,
    /// `--nats-tls-ca`
    pub nats_tls_ca: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--admin-…`
    pub admin: AdminOptions,
    /// `--http…`
    pub http: HttpOptions,
    /// `--label`, each `key=value`.
    pub labels: Vec<String>,
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--config`
    pub config: Option<PathBuf>,
    /// The program to run when no server is given.
    pub nats_server: Option<PathBuf>,
    /// `--log-format`
    pub log_format: Option<String>,
    /// How often `-v` was given.
    pub verbosity: u8,
}

/// Why a setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that breaks its rule.
    #[error("{setting}: {reason}")]
    Invalid {
        /// As the operator writes it.
        setting: &'static str,
        /// The rule.
        reason: String,
    },
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {path}: {reason}")]
    File {
        /// As given.
        path: PathBuf,
        /// Line and field, where known.
        reason: String,
    },
}

/// The settings of one node, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its stable name.
    pub name: NodeName,
    /// The lattice that it joins.
    pub lattice: LatticeId,
    /// Where NATS is; empty when the node runs its own.
    pub nats: Vec<String>,
    /// How to sign in there.
    pub nats_creds: Option<PathBuf>,
    /// Whom to trust there.
    pub nats_tls_ca: Option<PathBuf>,
    /// The program to run when no server is given.
    pub nats_server: Option<PathBuf>,
    /// Where the admin API listens.
    pub listen: String,
    /// Who gets in there.
    pub admin: Admin,
    /// The way in by HTTP, where there is one.
    pub http: Option<Http>,
    /// What the operator says of this node.
    pub labels: BTreeMap<String, String>,
    /// Where it keeps its files.
    pub data: PathBuf,
    /// What to log, in the syntax of `RUST_LOG`.
    pub log: String,
    /// How it is written to standard error.
    pub log_format: Format,
    /// From when on a call is slow enough for its trace to be kept; none where no trace is kept that was not chosen.
    pub trace_slow: Option<Duration>,
    /// Guest memories that are reserved at once.
    pub pool: u32,
    /// Keys that may be awake at once.
    pub activations: u32,
    /// How many servers of a NATS cluster keep the lattice's state.
    pub nats_replicas: usize,
    /// How long an artifact is kept that no revision names.
    pub artifact_grace: Duration,
    /// From where artifacts are got.
    pub registries: Registries,
    /// How many shards a new lattice gets, where the operator says so.
    pub shards: Option<u16>,
    /// What the wall clock of this machine is taken to be wrong by, in milliseconds: for tests.
    pub clock_skew_ms: i64,
}

/// The file given by `--config`: the flags' names without dashes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    name: Option<String>,
    lattice: Option<String>,
    nats: Vec<String>,
    nats_creds: Option<PathBuf>,
    nats_tls_ca: Option<PathBuf>,
    listen: Option<String>,
    admin: AdminOptions,
    http: HttpOptions,
    labels: BTreeMap<String, String>,
    data: Option<PathBuf>,
    log_format: Option<String>,
    trace_slow: Option<String>,
    pool: Option<u32>,
    activations: Option<u32>,
    nats_replicas: Option<usize>,
    artifact_grace: Option<String>,
    registries: RegistriesOptions,
    shards: Option<u16>,
}

/// Guest memories that are reserved at once unless the file says otherwise. Each takes address space, not memory.
const POOL: u32 = 2_000;

/// From when on a call counts as slow. Most take milliseconds, and people begin to wait at a second.
const TRACE_SLOW: Duration = Duration::from_secs(1);

/// The variable by which tests make a node's wall clock wrong.
const CLOCK_SKEW: &str = "LATTICE_CLOCK_SKEW_MS";

/// How long an artifact is kept that no revision names. Whoever uploads one declares what needs it within minutes.
const ARTIFACT_GRACE: Duration = Duration::from_secs(3_600);

impl Config {
    /// Reads file and environment, and checks everything.
    ///
    /// # Errors
    /// The first setting that cannot be used, by the name under which the operator knows it.
    pub fn read(options: Options) -> Result<Self, Error> {
        let file = match &options.config {
            Some(path) => read_file(path)?,
            None => File::default(),
        };
        let name = match options.name.or(file.name) {
            Some(name) => name,
            None => host_name(),
        };
        let lattice = options.lattice.or(file.lattice).unwrap_or_else(|| "default".to_owned());
        let mut labels = file.labels;
        for label in &options.labels {
            let Label { key, value } = label.parse().map_err(|reason| invalid("--label", reason))?;
            labels.insert(key, value);
        }
        let http = options.http.over(file.http);
        let mut log = match std::env::var("RUST_LOG") {
            Ok(log) if !log.is_empty() => log,
            _ => match options.verbosity {
                0 => "warn,lattice_node=info,guest=info".to_owned(),
                1 => "info,lattice_node=debug,guest=debug".to_owned(),
                _ => "debug,lattice_node=trace,guest=trace".to_owned(),
            },
        };
        if http.access_log {
            log.push_str(",access=info");
        }
        let data = match options.data.or(file.data) {
            Some(data) => data,
            None => default_data()?,
        };
        let pool = file.pool.unwrap_or(POOL).clamp(1, 100_000);
        Ok(Self {
            name: name.parse().map_err(|error| invalid("--name", error))?,
            lattice: lattice.parse().map_err(|error| invalid("--lattice", error))?,
            nats: if options.nats.is_empty() { file.nats } else { options.nats },
            nats_creds: options.nats_creds.or(file.nats_creds),
            nats_tls_ca: options.nats_tls_ca.or(file.nats_tls_ca),
            nats_server: options.nats_server,
            listen: options.listen.or(file.listen).unwrap_or_else(|| "127.0.0.1:7700".to_owned()),
            admin: Admin::check(options.admin, file.admin)?,
            http: http.check()?,
            labels,
            data,
            log,
            log_format: log_format(options.log_format.or(file.log_format))?,
            trace_slow: trace_slow(file.trace_slow.as_deref())?,
            nats_replicas: nats_replicas(file.nats_replicas)?,
            artifact_grace: artifact_grace(file.artifact_grace.as_deref())?,
            registries: Registries::check(file.registries, options.config.as_deref())?,
            pool,
            activations: activations(file.activations, pool)?,
            shards: shards(file.shards)?,
            clock_skew_ms: clock_skew_ms()?,
        })
    }
}

fn log_format(given: Option<String>) -> Result<Format, Error> {
    match given.as_deref().unwrap_or("text") {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err(invalid("log_format", "expected text, for people, or json, one object a line")),
    }
}

fn trace_slow(given: Option<&str>) -> Result<Option<Duration>, Error> {
    match given {
        None => Ok(Some(TRACE_SLOW)),
        Some("never") => Ok(None),
        Some(text) => {
            let wrong = |reason: &str| format!("{reason}; or `never`, to keep no trace that was not chosen");
            let slow: Millis = text.parse().map_err(|reason| invalid("trace_slow", wrong(reason)))?;
            Ok(Some(slow.duration()))
        }
    }
}

fn activations(given: Option<u32>, pool: u32) -> Result<u32, Error> {
    match given {
        // The other half is for replicas.
        None => Ok((pool / 2).max(1)),
        Some(count) if (1..=pool).contains(&count) => Ok(count),
        Some(_) => Err(invalid(
            "activations",
            format!(
                "expected 1 to {pool}, which is `pool`: keys that may be awake at once, each with a guest of its own"
            ),
        )),
    }
}

fn shards(given: Option<u16>) -> Result<Option<u16>, Error> {
    match given {
        Some(count) if !(PARTITIONS..=MAX_SHARDS).contains(&count) => Err(invalid(
            "shards",
            format!(
                "expected {PARTITIONS} to {MAX_SHARDS}: how many slices the keys of a new lattice are cut into"
            ),
        )),
        given => Ok(given),
    }
}

fn clock_skew_ms() -> Result<i64, Error> {
    match std::env::var(CLOCK_SKEW) {
        Ok(text) => text.parse().map_err(|_| invalid(CLOCK_SKEW, "expected milliseconds, such as -3600000")),
        Err(_) => Ok(0),
    }
}

fn nats_replicas(given: Option<usize>) -> Result<usize, Error> {
    match given.unwrap_or(1) {
        replicas @ (1 | 3 | 5) => Ok(replicas),
        _ => Err(invalid(
            "nats_replicas",
            "expected 1, 3 or 5: how many servers of a NATS cluster keep each stream",
        )),
    }
}

fn artifact_grace(given: Option<&str>) -> Result<Duration, Error> {
    let Some(text) = given else { return Ok(ARTIFACT_GRACE) };
    let grace: Millis = text.parse().map_err(|reason| invalid("artifact_grace", reason))?;
    Ok(grace.duration())
}

fn invalid(setting: &'static str, reason: impl ToString) -> Error {
    Error::Invalid { setting, reason: reason.to_string() }
}

fn read_file(path: &PathBuf) -> Result<File, Error> {
    let failed = |reason: String| Error::File { path: path.clone(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    toml::from_str(&text).map_err(|error| failed(error.to_string()))
}

/// The host name with everything replaced that a node name cannot hold.
fn host_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = host
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' })
        .take(63)
        .collect();
    if name.is_empty() { "node".to_owned() } else { name }
}

fn default_data() -> Result<PathBuf, Error> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("lattice"))
        .ok_or_else(|| invalid("--data", "there is no HOME to keep files in; name a folder"))
}
