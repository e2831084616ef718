//! `lattice completions`: prints a script that teaches a shell this command line.

use clap_complete::Shell;

use crate::cli;
use crate::failure::Failure;
use crate::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::definition(), "lattice", &mut script);
    output::bytes(&script)
}
