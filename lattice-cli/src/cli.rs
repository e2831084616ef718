//! The command line as types: what may be written, and what is said to whoever writes something else.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::admin::Access;
use crate::commands::{
    apply, bench, build, call, completions, dead_letters, delete, dev, doctor, events, explain, history,
    inspect, logs, new, node, publish, pull, push, scale, send, start, state, tap, token, top, topics, trial,
};
use crate::failure::Failure;
use crate::output::Format;

/// A mesh of small WebAssembly services: hand one over, call it from anywhere.
#[derive(Debug, Parser)]
#[command(name = "lattice", version, propagate_version = true, subcommand_required = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Where a node on this machine listens unless it is told otherwise.
pub const DEFAULT_ADMIN: &str = "http://127.0.0.1:7700";

/// What every command understands.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The node to ask; any node answers for the whole lattice
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        env = "LATTICE_ADMIN",
        default_value = DEFAULT_ADMIN
    )]
    pub admin: String,
    /// Whether the command line itself says so, and not what surrounds it.
    #[arg(skip)]
    pub is_admin_named: bool,
    #[command(flatten)]
    pub access: Access,
    /// Text is for people; JSON is stable, one document
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// Say more; twice says even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node until it is told to stop
    Start(Box<start::Args>),
    /// List the nodes of the lattice
    Nodes,
    /// List the actors: what is wanted, what runs, and where
    Ps,
    /// Deploy the app that a manifest describes, and wait until it runs
    Apply(apply::Args),
    /// Stop an app and remove it
    Delete(delete::Args),
    /// Set the number of replicas of an actor, and wait until they run
    Scale(scale::Args),
    /// Tell why an actor is where it is, and why it is nowhere else
    Explain(explain::Args),
    /// List what happened in the lattice, and follow what happens
    Events(events::Args),
    /// Show what an actor's guests write and what nodes say of it, over all nodes
    Logs(logs::Args),
    /// Watch the messages of an actor as they are handled, with secrets hidden
    Tap(tap::Args),
    /// Watch the lattice in the terminal: nodes, actors, rates and latencies
    Top(top::Args),
    /// List the revisions of an app that are kept
    History(history::Args),
    /// Go back to an earlier revision of an app, and wait until it runs
    Rollback(history::RollbackArgs),
    /// Give all calls to new versions that are on trial, and wait until they serve them
    Promote(trial::Args),
    /// Take back new versions that are on trial
    Abort(trial::Args),
    /// Let a node keep what it has and take nothing new
    Cordon(node::Args),
    /// Let a node take replicas again
    Uncordon(node::Args),
    /// Move what a node runs elsewhere, and wait until it is empty
    Drain(node::DrainArgs),
    /// Change the labels of a node
    Label(node::LabelArgs),
    /// Call an actor and print its reply
    Call(call::Args),
    /// Call an actor at a steady rate, and tell how long that took
    Bench(bench::Args),
    /// Send an actor a durable message, and do not wait until it was handled
    Send(send::Args),
    /// Publish a durable message for whoever subscribes to its topic
    Publish(publish::Args),
    /// List who subscribes to which topics, and what waits for them
    Topics(topics::Args),
    /// Look after messages that were sent and that nobody could handle
    DeadLetters(dead_letters::Args),
    /// Tell what there is of a key: its owner, its record, what waits for it
    Inspect(inspect::Args),
    /// Read and write what keys of keyed actors keep
    #[command(subcommand)]
    State(state::Command),
    /// Make tokens, by which users of the admin API are known
    #[command(subcommand)]
    Token(token::Command),
    /// Make a folder with an actor to begin with
    New(new::Args),
    /// Compile the actors of a manifest into its artifacts
    Build(build::Args),
    /// Put a component into a registry
    Push(push::Args),
    /// Get a component from a registry
    Pull(pull::Args),
    /// Watch the sources of an app: build, deploy and show its logs at each save, until Ctrl-C
    Dev(dev::Args),
    /// Print the WIT package that actors of any language are built for
    Wit,
    /// Check that this machine has what Lattice needs
    Doctor(doctor::Args),
    /// Print completions for a shell
    Completions(completions::Args),
}

impl Cli {
    /// Reads a command line.
    ///
    /// # Errors
    /// What is to be said to whoever wrote it.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(words)?;
        let mut cli = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut Self::command()))?;
        cli.global.is_admin_named = matches.value_source("admin") == Some(ValueSource::CommandLine);
        // A variable is unset by setting it to nothing in many a script and unit file.
        if cli.global.admin.is_empty() && !cli.global.is_admin_named {
            DEFAULT_ADMIN.clone_into(&mut cli.global.admin);
        }
        Ok(cli)
    }
}

/// The definition from which completions are made.
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Answers a command line that could not be read, or that asked for help.
pub fn refuse(usage: &clap::Error) -> ExitCode {
    // Nothing was parsed, so the wish for JSON has to be found in the raw words.
    let words: Vec<String> = std::env::args().collect();
    let json = words.iter().any(|w| matches!(w.as_str(), "-ojson" | "-o=json" | "--output=json"))
        || words.windows(2).any(|w| matches!(w[0].as_str(), "-o" | "--output") && w[1] == "json");
    if json && usage.use_stderr() {
        return Failure::usage(first_sentence(&usage.to_string())).report(Format::Json);
    }
    // Nothing is left to do about a closed terminal.
    let _ = usage.print();
    if usage.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

fn first_sentence(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let sentence = lines.collect::<Vec<_>>().join(" ");
    sentence.strip_prefix("error: ").unwrap_or(&sentence).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn a_node_that_is_named_is_told_from_one_that_is_implied() {
        let named = |words: &[&str]| {
            let words = [&["lattice"], words].concat();
            Cli::read(words.into_iter().map(OsString::from)).unwrap().global.is_admin_named
        };
        assert!(named(&["--admin", "a:1", "dev"]) && named(&["dev", "--admin=a:1"]));
        assert!(!named(&["dev"]));
    }

    #[test]
    fn usage_errors_become_one_sentence() {
        let text =
            "error: unexpected argument '--x' found\n\n  tip: something\n\nUsage: lattice apply <MANIFEST>\n";
        assert_eq!(first_sentence(text), "unexpected argument '--x' found");
    }
}
