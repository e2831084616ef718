//! `lattice build`: compiles the actors of a manifest and puts each artifact where the manifest looks for it.

use std::path::PathBuf;

use lattice_setup::Notice;
use serde::{Deserialize, Serialize};

use crate::cli::Global;
use crate::failure::Failure;
use crate::{lifeline, setup};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A manifest, or the folder that holds a lattice.toml
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Only this actor; may be given several times
    #[arg(long, value_name = "NAME")]
    actor: Vec<String>,
    /// To try it out: compiled sooner, slower to run, and the artifacts of the manifest are left alone
    #[arg(long)]
    quick: bool,
    /// Stop, with all that was started, when stdin is closed
    #[arg(long, hide = true)]
    while_stdin_is_open: bool,
}

/// An artifact as `-o json` shows it, and as `lattice dev` reads it.
#[derive(Serialize, Deserialize)]
pub(super) struct Built {
    pub actor: String,
    pub artifact: PathBuf,
    bytes: u64,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    if args.while_stdin_is_open {
        lifeline::end_group_after_stdin();
    }
    let built = setup::blocking(global.output, move |report| {
        // What was built is the result, on stdout; telling it on the way as well would say it twice.
        let report = |notice: Notice| match notice {
            Notice::Done(_) => {}
            other => report(other),
        };
        let build = if args.quick { lattice_setup::try_actors } else { lattice_setup::build_actors };
        build(std::slice::from_ref(&args.path), &args.actor, &report)
    });
    let built: Vec<Built> = built
        .await?
        .into_iter()
        .map(|actor| Built { actor: actor.name, artifact: actor.artifact, bytes: actor.bytes })
        .collect();
    global.output.print(&built, |built| {
        let line = |one: &Built| {
            format!("{}: {} ({})", one.actor, one.artifact.display(), lattice_setup::human_size(one.bytes))
        };
        match built.as_slice() {
            [] => "nothing to build: every artifact of this manifest is made by something else".to_owned(),
            built => built.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    })
}
