//! The `lattice` binary: reads the command line, runs one command, and says how it went.
//!
//! Each command is a file of its own under [`commands`]. All but `start`, `token`, `build`, `push`, `pull`, `new`, `wit`,
//! `doctor` and `completions` speak to a node by the admin API only, as any user could; `dev` does so, and runs `start` and `build` beside.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail on what it did not expect"))]

mod admin;
mod cli;
mod commands;
mod duration;
mod failure;
mod lifeline;
mod moment;
mod output;
mod progress;
mod setup;
mod table;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

/// A call makes dozens of short-lived allocations, many of them freed by another thread than made them, which this one
/// does well: it took 5 to 11 % off the processor time of a call on a busy node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(usage) => return cli::refuse(&usage),
    };
    let output = cli.global.output;
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(cli)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(output),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        Command::Start(args) => commands::start::run(*args, &global).await,
        Command::Nodes => commands::nodes::run(&global).await,
        Command::Ps => commands::ps::run(&global).await,
        Command::Apply(args) => commands::apply::run(args, &global).await,
        Command::Delete(args) => commands::delete::run(args, &global).await,
        Command::Scale(args) => commands::scale::run(args, &global).await,
        Command::Explain(args) => commands::explain::run(args, &global).await,
        Command::Events(args) => commands::events::run(args, &global).await,
        Command::Tap(args) => commands::tap::run(args, &global).await,
        Command::Top(args) => commands::top::run(args, &global).await,
        Command::Logs(args) => commands::logs::run(args, &global).await,
        Command::History(args) => commands::history::run(args, &global).await,
        Command::Promote(args) => commands::trial::promote(args, &global).await,
        Command::Abort(args) => commands::trial::abort(args, &global).await,
        Command::Rollback(args) => commands::history::roll_back(args, &global).await,
        Command::Cordon(args) => commands::node::cordon(args, &global).await,
        Command::Uncordon(args) => commands::node::uncordon(args, &global).await,
        Command::Drain(args) => commands::node::drain(args, &global).await,
        Command::Label(args) => commands::node::label(args, &global).await,
        Command::Call(args) => commands::call::run(args, &global).await,
        Command::Bench(args) => commands::bench::run(args, &global).await,
        Command::Send(args) => commands::send::run(args, &global).await,
        Command::Publish(args) => commands::publish::run(args, &global).await,
        Command::Topics(args) => commands::topics::run(args, &global).await,
        Command::Inspect(args) => commands::inspect::run(args, &global).await,
        Command::State(command) => commands::state::run(command, &global).await,
        Command::DeadLetters(args) => commands::dead_letters::run(args, &global).await,
        Command::Token(command) => commands::token::run(command, &global),
        Command::New(args) => commands::new::run(args, &global),
        Command::Build(args) => commands::build::run(args, &global).await,
        Command::Push(args) => commands::push::run(args, &global).await,
        Command::Pull(args) => commands::pull::run(args, &global).await,
        Command::Dev(args) => commands::dev::run(args, &global).await,
        Command::Wit => commands::wit::run(&global),
        Command::Doctor(args) => commands::doctor::run(args, &global).await,
        Command::Completions(args) => commands::completions::run(args),
    }
}
