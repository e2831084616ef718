//! `cargo xtask bench`: everything in release, then the benchmark program, `lattice-bench`.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::guard::Guard;
use crate::prepare::{self, Extras, Kit, Profile};
use crate::steps::Steps;
use crate::workspace;

/// What may be said on the command line.
#[derive(Args)]
pub struct Options {
    /// Handed to the benchmark program as they are; `-- --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and measures.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::new();
    let guard = Guard::start()?;
    let kit = steps.step("set-up and build", || {
        let tools = prepare::tools()?;
        let lattice = prepare::programs(Profile::Release)?;
        Ok(Kit {
            lattice,
            nats: tools.nats.path,
            artifacts: prepare::actors(&tools.wasm)?,
            extras: Extras::default(),
        })
    })?;
    steps.step("benchmark", || {
        let mut bench = Command::new(Profile::Release.folder()?.join("bench"));
        bench.args(&options.arguments).envs(kit.environment()).current_dir(workspace::root());
        // An instance that is dropped ends with an error, on both sides, whose backtrace is no part of what is compared.
        bench.env_remove("RUST_BACKTRACE").env_remove("RUST_LIB_BACKTRACE");
        guard.mark(&mut bench);
        workspace::run(&mut bench)
    })
}
