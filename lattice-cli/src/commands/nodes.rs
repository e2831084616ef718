//! `lattice nodes`: who is in the lattice, and how they are.

use std::collections::BTreeMap;

use comfy_table::Cell;
use lattice_proto::admin::{ListNodesRequest, Node};
use serde::Serialize;

use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;
use crate::table::{self, Tone, cell, number};

/// A node as `-o json` shows it.
#[derive(Serialize)]
struct Row {
    name: String,
    id: String,
    state: String,
    labels: BTreeMap<String, String>,
    leader: bool,
    replicas: u32,
    activations: u32,
    cpus: u32,
    memory_bytes: u64,
    version: String,
    admin: String,
    http: Option<String>,
}

pub async fn run(global: &Global) -> Result<(), Failure> {
    let mut client = admin::connect(global).await?;
    let (mut rows, mut page_token) = (Vec::<Row>::new(), String::new());
    loop {
        let request = ListNodesRequest { page_token, ..ListNodesRequest::default() };
        let page = client.list_nodes(request).await?.into_inner();
        rows.extend(page.nodes.into_iter().map(Row::from));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    rows.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    global.output.print(&rows, |rows| text(rows))
}

impl From<Node> for Row {
    fn from(node: Node) -> Self {
        Self {
            name: node.name,
            id: node.id,
            state: node.state,
            labels: node.labels.into_iter().collect(),
            leader: node.leader,
            replicas: node.replicas,
            activations: node.activations,
            cpus: node.cpus,
            memory_bytes: node.memory_bytes,
            version: node.version,
            admin: node.admin,
            http: Some(node.http).filter(|address| !address.is_empty()),
        }
    }
}

fn text(rows: &[Row]) -> String {
    let header =
        ["NAME", "STATE", "LEADER", "REPLICAS", "CPUS", "MEMORY", "VERSION", "ADMIN", "HTTP", "LABELS"];
    table::render(&header, rows.iter().map(columns))
}

fn columns(row: &Row) -> Vec<Cell> {
    let tone = match row.state.as_str() {
        "ready" => Tone::Good,
        "cordoned" | "draining" => Tone::Waiting,
        _ => Tone::Bad,
    };
    let labels: Vec<_> = row.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    vec![
        cell(&row.name, Tone::Plain),
        cell(&row.state, tone),
        cell(if row.leader { "leader" } else { "" }, Tone::Plain),
        number(row.replicas),
        number(row.cpus),
        number(format!("{:.1} GiB", row.memory_bytes as f64 / f64::from(1 << 30))),
        cell(&row.version, Tone::Plain),
        cell(&row.admin, Tone::Plain),
        cell(row.http.as_deref().unwrap_or_default(), Tone::Plain),
        cell(labels.join(" "), Tone::Plain),
    ]
}
