//! `lattice delete`: removes an app and waits until its actors have stopped.

use lattice_proto::AppName;
use lattice_proto::admin::DeleteRequest;

use super::operation;
use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The app, as `lattice ps` names it
    app: AppName,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let mut client = admin::connect(global).await?;
    let request = DeleteRequest { app: args.app.to_string(), request_id: operation::request_id() };
    let started = client.delete(request).await?.into_inner();
    operation::finish(client, started, global).await
}
