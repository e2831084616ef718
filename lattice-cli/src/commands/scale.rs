//! `lattice scale`: sets the number of replicas of an actor and waits until they run.

use lattice_proto::ActorName;
use lattice_proto::admin::ScaleRequest;

use super::operation;
use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The actor
    actor: ActorName,
    /// How many replicas shall run in the whole lattice
    replicas: u32,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let mut client = admin::connect(global).await?;
    let request = ScaleRequest {
        actor: args.actor.to_string(),
        replicas: args.replicas,
        request_id: operation::request_id(),
    };
    let started = client.scale(request).await?.into_inner();
    operation::finish(client, started, global).await
}
