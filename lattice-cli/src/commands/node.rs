//! `lattice cordon`, `uncordon`, `drain` and `label`: what an operator wants of one node.

use lattice_proto::NodeName;
use lattice_proto::admin::{LabelNodeRequest, NodeRequest, NodeResponse};
use lattice_proto::manifest::Label;
use serde::Serialize;

use super::operation;
use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node, as `lattice nodes` names it
    node: NodeName,
}

#[derive(Debug, clap::Args)]
pub struct DrainArgs {
    /// The node, as `lattice nodes` names it
    node: NodeName,
    /// Do not wait until it is empty
    #[arg(long)]
    detach: bool,
}

#[derive(Debug, clap::Args)]
pub struct LabelArgs {
    /// The node, as `lattice nodes` names it
    node: NodeName,
    /// `key=value` sets a label, `key-` takes it away
    #[arg(required = true, value_name = "KEY=VALUE|KEY-")]
    labels: Vec<Change>,
}

/// One change of a label.
#[derive(Debug, Clone)]
enum Change {
    Set(Label),
    Remove(String),
}

impl std::str::FromStr for Change {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_suffix('-').filter(|key| !key.contains('=')) {
            // A key is one if a label can have it.
            Some(key) => format!("{key}=x").parse::<Label>().map(|label| Self::Remove(label.key)),
            None => text.parse().map(Self::Set),
        }
    }
}

/// What is ordered of a node, as `-o json` shows it.
#[derive(Serialize)]
struct View {
    node: String,
    cordoned: bool,
    draining: bool,
    labels: std::collections::BTreeMap<String, Option<String>>,
}

pub async fn cordon(args: Args, global: &Global) -> Result<(), Failure> {
    let node = args.node.to_string();
    let reply = admin::connect(global).await?.cordon(NodeRequest { node }).await?.into_inner();
    print(reply, global, "takes nothing new; `lattice uncordon` lets it again")
}

pub async fn uncordon(args: Args, global: &Global) -> Result<(), Failure> {
    let node = args.node.to_string();
    let reply = admin::connect(global).await?.uncordon(NodeRequest { node }).await?.into_inner();
    print(reply, global, "takes replicas again")
}

pub async fn label(args: LabelArgs, global: &Global) -> Result<(), Failure> {
    let mut request = LabelNodeRequest { node: args.node.to_string(), ..LabelNodeRequest::default() };
    for change in args.labels {
        match change {
            Change::Set(label) => drop(request.set.insert(label.key, label.value)),
            Change::Remove(key) => request.remove.push(key),
        }
    }
    let reply = admin::connect(global).await?.label_node(request).await?.into_inner();
    print(reply, global, "has its labels changed; `lattice nodes` shows them")
}

pub async fn drain(args: DrainArgs, global: &Global) -> Result<(), Failure> {
    let mut client = admin::connect(global).await?;
    let started = client.drain(NodeRequest { node: args.node.to_string() }).await?.into_inner();
    match args.detach {
        true => operation::print(started, global.output),
        false => operation::finish(client, started, global).await,
    }
}

fn print(reply: NodeResponse, global: &Global, what: &str) -> Result<(), Failure> {
    let NodeResponse { node, cordoned, draining, labels } = reply;
    let labels = labels.into_iter().map(|(key, value)| (key, Some(value).filter(|value| !value.is_empty())));
    let view = View { node, cordoned, draining, labels: labels.collect() };
    global.output.print(&view, |view| format!("{} {what}", view.node))
}
