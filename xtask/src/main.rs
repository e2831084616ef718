//! `cargo xtask`: the commands that developers and the gate run.
//!
//! It gets what is missing, builds, and then drives cargo and the real `lattice` binary as a person would. It never
//! links the runtime, so that it starts within seconds on a fresh machine.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail on what it did not expect"))]

mod bench;
mod demo;
mod earlier;
mod guard;
mod prepare;
mod processes;
mod soak;
mod steps;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// Set-up included: each command gets what it needs and says so.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
enum Command {
    /// Show Lattice at work: three nodes, calls, scaling, a node killed, a trace
    Demo(demo::Options),
    /// Everything that must hold: format, lints, unit tests, doc tests, multi-node tests
    Test(test::Options),
    /// What is too long for every run: the multi-node tests, repeated, with more faults
    Soak(soak::Options),
    /// Measure against the floors of this machine
    Bench(bench::Options),
    /// Only get what is missing: nats-server, a Wasm toolchain, Python clients for tests
    Setup,
    /// Stops what a run left behind, once that run is over; started by the others
    #[command(hide = true)]
    Guard(guard::Options),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Setup => prepare::tools().map(drop),
        Command::Guard(options) => guard::watch(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
