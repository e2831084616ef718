//! `lattice explain`: why an actor is where it is, and why it is nowhere else.

use comfy_table::Cell;
use lattice_proto::ActorName;
use lattice_proto::admin::{ExplainRequest, Explanation};
use serde::Serialize;

use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;
use crate::table::{self, Tone, cell, number};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor
    actor: ActorName,
}

/// An explanation as `-o json` shows it.
#[derive(Serialize)]
struct View {
    actor: String,
    app: String,
    revision: u64,
    desired: u32,
    placed: u32,
    shortfall: Option<String>,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    node: String,
    state: String,
    replicas: u32,
    reason: String,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let request = ExplainRequest { actor: args.actor.to_string() };
    let reply = admin::connect(global).await?.explain(request).await?.into_inner();
    global.output.print(&View::from(reply), text)
}

impl From<Explanation> for View {
    fn from(reply: Explanation) -> Self {
        let node = |node: lattice_proto::admin::NodeVerdict| Node {
            node: node.node,
            state: node.state,
            replicas: node.replicas,
            reason: node.reason,
        };
        let mut nodes: Vec<Node> = reply.nodes.into_iter().map(node).collect();
        nodes.sort_by(|a, b| b.replicas.cmp(&a.replicas).then_with(|| a.node.cmp(&b.node)));
        Self {
            actor: reply.actor,
            app: reply.app,
            revision: reply.revision,
            desired: reply.desired,
            placed: reply.placed,
            shortfall: Some(reply.shortfall).filter(|shortfall| !shortfall.is_empty()),
            nodes,
        }
    }
}

fn text(view: &View) -> String {
    let head = format!(
        "{} (app {}, revision {}): {} wanted, {} placed",
        view.actor, view.app, view.revision, view.desired, view.placed
    );
    let shortfall = view.shortfall.as_ref().map(|shortfall| format!("\n{shortfall}")).unwrap_or_default();
    let table = table::render(&["NODE", "STATE", "REPLICAS", "WHY"], view.nodes.iter().map(columns));
    format!("{head}{shortfall}\n{table}")
}

fn columns(node: &Node) -> Vec<Cell> {
    vec![
        cell(&node.node, Tone::Plain),
        cell(&node.state, Tone::Plain),
        number(node.replicas),
        cell(&node.reason, if node.replicas > 0 { Tone::Good } else { Tone::Plain }),
    ]
}
