//! What runs in the demo: one nats-server, one collector of spans, the nodes.
//!
//! Each process writes into files in the run's folder, so that it can outlive the demo (`--keep`), and so that a failure
//! can show what it said.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::narrator::{say, show_block, show_command};
use super::process::Process;
use crate::guard::Guard;

/// Everything that runs.
pub struct Stage<'a> {
    guard: &'a Guard,
    programs: Programs,
    pub nats: String,
    collector: Option<String>,
    processes: BTreeMap<String, Process>,
}

/// What is started.
pub struct Programs {
    pub lattice: PathBuf,
    pub collector: PathBuf,
    pub nats_server: PathBuf,
}

impl<'a> Stage<'a> {
    pub fn new(guard: &'a Guard, programs: Programs) -> Self {
        Self { guard, programs, nats: String::new(), collector: None, processes: BTreeMap::new() }
    }

    /// Starts a nats-server on a free port, with JetStream in the run's folder.
    pub fn start_nats(&mut self) -> Result<()> {
        let folder = self.make_folder("nats")?;
        let config = folder.join("nats.conf");
        // A short ping finds hung clients within seconds; 8 MiB is what `lattice start` gives its own server too.
        let text = format!(
            "listen: 127.0.0.1:-1\nping_interval: 1s\nping_max: 1\nmax_payload: 8MiB\njetstream {{ store_dir: {:?} }}\n",
            folder.join("jetstream")
        );
        fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let mut command = Command::new(&self.programs.nats_server);
        command.arg("--config").arg(&config).arg("--ports_file_dir").arg(&folder);
        show_command("nats-server --jetstream");
        let mut process = Process::start("nats-server", &mut command, self.guard)?;
        self.nats = process.wait_for(|_| nats_url_in(&folder))?;
        self.processes.insert("nats-server".into(), process);
        show_block(&format!("listening on {}", self.nats));
        Ok(())
    }

    /// Starts the receiver of the nodes' spans.
    pub fn start_collector(&mut self) -> Result<()> {
        let mut command = Command::new(&self.programs.collector);
        command.args(["--listen", "127.0.0.1:0", "--out"]).arg(self.spans_file());
        let mut process = Process::start("collector", &mut command, self.guard)?;
        let address = process.wait_for(|output| Some(line_with(output, "listening on ")?.to_owned()))?;
        self.processes.insert("collector".into(), process);
        self.collector = Some(format!("http://{address}"));
        Ok(())
    }

    /// Starts a node, and waits until it says that it is ready.
    pub fn start_node(&mut self, name: &str, label: &str) -> Result<()> {
        let data = self.make_folder(name)?;
        let mut command = Command::new(&self.programs.lattice);
        command.args(["start", "--nats", &self.nats, "--name", name, "--label", label]);
        command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data);
        if let Some(collector) = &self.collector {
            command
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
                .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
                .env("OTEL_SERVICE_NAME", name)
                .env("OTEL_TRACES_SAMPLER", "always_on")
                // Spans are looked at right after the call, so batches are sent sooner than by default (5 s).
                .env("OTEL_BSP_SCHEDULE_DELAY", "200");
        }
        show_command(&format!("lattice start --nats {} --name {name} --label {label} …", self.nats));
        let mut process = Process::start(name, &mut command, self.guard)?;
        let ready = process.wait_for(|output| Some(format!("ready {}", line_with(output, "ready ")?)))?;
        show_block(&ready);
        let admin = field(&ready, "admin");
        let admin = admin.with_context(|| format!("the ready line of {name} names no admin address"))?;
        process.admin = Some(with_scheme(admin));
        self.processes.insert(name.to_owned(), process);
        Ok(())
    }

    /// The nodes that run, with their admin addresses and process ids.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &str, u32)> {
        self.processes
            .iter()
            .filter_map(|(name, process)| Some((name.as_str(), process.admin.as_deref()?, process.id())))
    }

    /// Where a node is asked.
    pub fn admin(&self, node: &str) -> Result<&str> {
        let admin = self.processes.get(node).and_then(|process| process.admin.as_deref());
        admin.with_context(|| format!("the node {node} does not run"))
    }

    /// The ids of all processes.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.processes.values().map(Process::id)
    }

    /// Where the processes keep their files.
    pub fn folder(&self) -> &Path {
        self.guard.folder()
    }

    /// SIGKILL.
    pub fn kill(&mut self, name: &str) -> Result<()> {
        let process = self.processes.remove(name).with_context(|| format!("{name} does not run"))?;
        show_command(&format!("kill -9 {}      # {name}", process.id()));
        process.kill()
    }

    /// All spans so far.
    pub fn spans(&self) -> Result<Vec<Value>> {
        let file = self.spans_file();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        // The last line may be half written.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Stops all nodes as an operator would, then what they stood on.
    pub fn stop(self) -> Result<()> {
        let (nodes, rest): (Vec<_>, Vec<_>) =
            self.processes.into_values().partition(|process| process.admin.is_some());
        nodes.iter().for_each(Process::ask_to_stop);
        let mut late = Vec::new();
        for node in nodes {
            let name = node.name.clone();
            if !node.wait_until_stopped() {
                late.push(name);
            }
        }
        rest.iter().for_each(Process::ask_to_stop);
        for process in rest {
            process.wait_until_stopped();
        }
        if late.is_empty() { Ok(()) } else { bail!("{} did not stop when asked to", late.join(", ")) }
    }

    /// The last lines that each process wrote.
    pub fn show_logs(&self) {
        let entries = fs::read_dir(self.folder()).into_iter().flatten().flatten();
        let mut logs: Vec<_> = entries.map(|entry| entry.path()).collect();
        logs.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
        logs.sort();
        for log in logs {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(12)..];
            if !last.is_empty() {
                say(&format!("the last lines of {}:", log.display()));
                show_block(&last.join("\n"));
            }
        }
    }

    fn make_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder().join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    fn spans_file(&self) -> PathBuf {
        self.folder().join("spans.jsonl")
    }
}

/// The rest of the first whole line that begins with this.
fn line_with<'a>(output: &'a str, beginning: &str) -> Option<&'a str> {
    output.split_inclusive('\n').find_map(|line| line.strip_suffix('\n')?.strip_prefix(beginning))
}

/// The value of `name=value` in a ready line.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn with_scheme(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

/// The client address, from the file that nats-server writes when it listens.
fn nats_url_in(folder: &Path) -> Option<String> {
    let mut entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let ports = entries.find(|path| path.extension().is_some_and(|ending| ending == "ports"))?;
    let ports: Value = serde_json::from_str(&fs::read_to_string(ports).ok()?).ok()?;
    ports["nats"][0].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_read_by_names() {
        let line = "ready name=cloud-1 id=01J lattice=default admin=http://127.0.0.1:4711 nats=nats://127.0.0.1:4222";
        assert_eq!(field(line, "admin"), Some("http://127.0.0.1:4711"));
        assert_eq!(field(line, "name"), Some("cloud-1"));
        assert_eq!(field(line, "http"), None);
    }

    #[test]
    fn a_line_counts_when_it_is_whole() {
        assert_eq!(line_with("waiting\nready name=a\n", "ready "), Some("name=a"));
        assert_eq!(line_with("waiting\nready na", "ready "), None);
    }

    #[test]
    fn an_address_without_a_scheme_gets_one() {
        assert_eq!(with_scheme("127.0.0.1:4711"), "http://127.0.0.1:4711");
        assert_eq!(with_scheme("https://a:1"), "https://a:1");
    }

    #[test]
    fn the_nats_address_is_read_from_the_ports_file() {
        let folder = std::env::temp_dir().join(format!("xtask-ports-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(nats_url_in(&folder), None);
        fs::write(folder.join("nats-server_1.ports"), r#"{"nats":["nats://127.0.0.1:40001"]}"#).unwrap();
        assert_eq!(nats_url_in(&folder).as_deref(), Some("nats://127.0.0.1:40001"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
