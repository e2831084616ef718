//! A Prometheus of the test's own, which reads the pages of nodes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::{http, ports, say::had, wait_until};

/// Starting takes it a second or two.
const START_BOUND: Duration = Duration::from_secs(60);

/// A running server.
pub struct Prometheus {
    url: String,
    _process: Process,
    _folder: TempDir,
}

/// The program: `LATTICE_PROMETHEUS`, or one that the set-up gets. None, and a loud line, where there is none.
pub async fn program(test: &str) -> Option<PathBuf> {
    had("LATTICE_PROMETHEUS", test, lattice_setup::prometheus).await
}

impl Prometheus {
    /// Starts one that reads these nodes each second, with these rules.
    pub async fn start(program: &Path, nodes: &[String], rules: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let targets: Vec<String> =
            nodes.iter().map(|node| format!("\"{}\"", node.trim_start_matches("http://"))).collect();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [\"rules.yml\"]\n\
             scrape_configs:\n  - job_name: lattice\n    static_configs: [{{ targets: [{}] }}]\n",
            targets.join(", ")
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
        let address = format!("127.0.0.1:{}", ports::free());
        let configure = |command: &mut std::process::Command| {
            command.arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()));
            command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
            command.arg(format!("--web.listen-address={address}"));
        };
        let process = Process::start("prometheus", program, configure, &folder.path().join("log"));
        let observe = async || tokio::net::TcpStream::connect(&address).await.is_ok();
        wait_until("Prometheus listens", START_BOUND, observe, |listens| *listens).await;
        Self { url: format!("http://{address}"), _process: process, _folder: folder }
    }

    /// What a query gives: its rows.
    pub async fn query(&self, query: &str) -> Vec<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}")).await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// The names of the alerts that fire.
    pub async fn alerts(&self) -> Vec<String> {
        let answer = self.get("/api/v1/alerts").await;
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let mut names: Vec<String> =
            firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The rules that it has taken in, each with its query.
    pub async fn rules(&self) -> Vec<(String, String)> {
        let answer = self.get("/api/v1/rules").await;
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rules.map(|rule| (text(&rule["name"]), text(&rule["query"]))).collect()
    }

    async fn get(&self, path: &str) -> Value {
        let page = http::get(&self.url, path).await;
        serde_json::from_str(&page.body).unwrap_or_else(|error| panic!("{path}: {error}: {page:?}"))
    }
}
