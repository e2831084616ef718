//! `lattice promote` and `lattice abort`: how a trial of new versions ends.

use lattice_proto::AppName;
use lattice_proto::admin::TrialRequest;

use super::operation;
use crate::admin;
use crate::cli::Global;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The app, as `lattice ps` names it
    app: AppName,
    /// Do not wait until it is so
    #[arg(long)]
    detach: bool,
}

pub async fn promote(args: Args, global: &Global) -> Result<(), Failure> {
    let mut client = admin::connect(global).await?;
    let started = client.promote(request(&args)).await?.into_inner();
    operation::go_on(client, started, global, false, args.detach).await
}

pub async fn abort(args: Args, global: &Global) -> Result<(), Failure> {
    let mut client = admin::connect(global).await?;
    let started = client.abort(request(&args)).await?.into_inner();
    operation::go_on(client, started, global, false, args.detach).await
}

fn request(args: &Args) -> TrialRequest {
    TrialRequest { app: args.app.to_string(), request_id: operation::request_id(), if_revision: None }
}
