//! `cargo xtask demo`: Lattice at work, told step by step for somebody who sees it for the first time.
//!
//! Everything is real and done as a user would do it: one nats-server, three `lattice start` processes, and the `lattice`
//! command line for all else. This file is the story; it never talks to a node by any other way.

mod keep;
mod load;
mod narrator;
mod process;
mod shell;
mod stage;
mod trace;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::guard::Guard;
use crate::prepare::{self, Profile};
use crate::steps::seconds;
use load::Load;
use narrator::{say, show_block, title};
use shell::Shell;
use stage::{Programs, Stage};

/// What may be said on the command line.
#[derive(Args)]
pub struct Options {
    /// Leave everything running at the end, and say how to play with it
    #[arg(long)]
    keep: bool,
}

/// How long a step may take before the demo gives up; the promises are far shorter.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells the story.
pub fn run(options: &Options) -> Result<()> {
    // First of all, as building may replace the program that the guard is.
    let guard = Guard::start()?;
    title("Getting ready: nats-server, the Wasm toolchain, the programs and the example actors");
    let tools = prepare::tools()?;
    let lattice = prepare::programs(Profile::Dev)?;
    prepare::actors(&tools.wasm)?;
    let collector = Profile::Dev.folder()?.join("otlp");
    let programs = Programs { lattice: lattice.clone(), collector, nats_server: tools.nats.path };
    let mut stage = Stage::new(&guard, programs);
    let shell = Shell::new(lattice);
    if let Err(error) = tell(&mut stage, &shell) {
        stage.show_logs();
        // The error that ended the demo is the one to tell.
        let _ = stage.stop();
        return Err(error);
    }
    if options.keep {
        keep::explain(&stage, &shell);
        return guard.keep();
    }
    title("The end: everything is stopped");
    say(
        "Each node gets SIGTERM, finishes what it has begun, and leaves. `cargo xtask demo --keep` lets them run on.",
    );
    stage.stop()
}

fn tell(stage: &mut Stage, shell: &Shell) -> Result<()> {
    start_everything(stage, shell)?;
    deploy(stage, shell)?;
    call_through_every_node(stage, shell)?;
    scale(stage, shell)?;
    follow_one_request(stage, shell)?;
    kill_a_node(stage, shell)
}

fn start_everything(stage: &mut Stage, shell: &Shell) -> Result<()> {
    title("One nats-server, three nodes");
    say(
        "NATS carries the messages and keeps what must be kept (JetStream). Nodes find each other through it.",
    );
    stage.start_nats()?;
    stage.start_collector()?;
    say("A node is one process, on one machine as a rule. Labels say what kind of machine it is.");
    stage.start_node("cloud-1", "tier=cloud")?;
    stage.start_node("cloud-2", "tier=cloud")?;
    stage.start_node("edge-1", "tier=edge")?;
    wait("three ready nodes", || {
        let nodes = shell.json(stage.admin("cloud-1")?, &["nodes"])?;
        Ok(list(&nodes).iter().filter(|node| node["state"] == "ready").count() == 3)
    })?;
    say("Any node answers for the whole lattice; `--admin` says which one is asked.");
    shell.show(stage.admin("edge-1")?, &["nodes"])
}

fn deploy(stage: &Stage, shell: &Shell) -> Result<()> {
    title("Two apps, handed over once");
    say(
        "A manifest names actors, which are Wasm components, and how many replicas of each should run. Where they run",
    );
    say("is for the lattice to decide.");
    let admin = stage.admin("cloud-1")?;
    shell.show(admin, &["apply", "examples/greeter/lattice.toml"])?;
    shell.show(admin, &["apply", "examples/shop/lattice.toml"])?;
    shell.show(admin, &["ps"])
}

fn call_through_every_node(stage: &Stage, shell: &Shell) -> Result<()> {
    title("Anyone can call, from anywhere");
    say("The caller knows the actor's name and nothing else. The same call through each of the three nodes:");
    for (node, admin, _) in stage.nodes() {
        shell.show(admin, &["call", "greeter", "hello", &format!("\"{node}\"")])?;
    }
    say(
        "The storefront asks two other actors side by side, the inventory and the pricing, wherever they are:",
    );
    shell.show(stage.admin("edge-1")?, &["call", "storefront", "quote", r#"{"sku": "tea", "quantity": 2}"#])
}

fn scale(stage: &Stage, shell: &Shell) -> Result<()> {
    title("More replicas");
    say("Six greeters instead, spread evenly:");
    let start = Instant::now();
    shell.show(stage.admin("cloud-2")?, &["scale", "greeter", "6"])?;
    wait("six replicas", || Ok(Greeter::look(shell, stage.admin("cloud-2")?)?.is_complete(6)))?;
    say(&format!("All six answered after {}.", seconds(start.elapsed())));
    shell.show(stage.admin("cloud-2")?, &["ps"])
}

fn follow_one_request(stage: &Stage, shell: &Shell) -> Result<()> {
    title("One request, seen from inside");
    say(
        "Every hop is an OpenTelemetry span. The storefront is asked nine times, through every node in turn, and this is",
    );
    say("the call that crossed most nodes, as one tree:");
    let known = trace::trace_ids(&stage.spans()?);
    let quote = ["storefront", "quote", r#"{"sku": "tea", "quantity": 3}"#];
    for (_, admin, _) in stage.nodes().collect::<Vec<_>>().into_iter().cycle().take(9) {
        if let Err(fault) = shell.call(admin, &quote)? {
            bail!("the storefront failed as {}: {}", fault.kind, fault.message);
        }
    }
    // Exporters send in batches, so a tree arrives in pieces: all are complete when they have stopped to grow.
    let mut last = 0;
    let mut spans = Vec::new();
    wait("the spans of those calls", || {
        thread::sleep(Duration::from_millis(700));
        spans = stage.spans()?;
        let grew = std::mem::replace(&mut last, spans.len()) != spans.len();
        Ok(!grew && trace::widest_new(&spans, &known).is_some())
    })?;
    show_block(&trace::render(&trace::widest_new(&spans, &known).unwrap_or_default()));
    Ok(())
}

fn kill_a_node(stage: &mut Stage, shell: &Shell) -> Result<()> {
    title("A machine dies");
    say(
        "Calls go on all the time, through cloud-1 and edge-1. Meanwhile cloud-2 gets SIGKILL: no goodbye, no cleaning up.",
    );
    let admins = [stage.admin("cloud-1")?.to_owned(), stage.admin("edge-1")?.to_owned()];
    let load = Load::start(shell, &admins);
    // The load is seen to flow before anything happens to it.
    wait("twenty answered calls", || Ok(load.answered() >= 20))?;
    stage.kill("cloud-2")?;
    let killed = Instant::now();
    let back = wait("six replicas on two nodes", || {
        let greeter = Greeter::look(shell, &admins[0])?;
        Ok(greeter.is_complete(6) && !greeter.nodes.iter().any(|node| node == "cloud-2"))
    });
    let took = killed.elapsed();
    let answered = load.answered();
    // Some more, to show that the calls go on with the new replicas.
    let on = wait("twenty more answered calls", || Ok(load.answered() >= answered + 20));
    let counts = load.stop();
    show_block(&counts.to_string());
    back.and(on)?;
    say(&format!("The two replicas that were lost run elsewhere again, {} after the kill:", seconds(took)));
    shell.show(&admins[0], &["ps"])?;
    say("The machine comes back. It is a new incarnation of the same node, and takes part again:");
    stage.start_node("cloud-2", "tier=cloud")?;
    wait("cloud-2 to be ready", || {
        let nodes = shell.json(&admins[0], &["nodes"])?;
        Ok(list(&nodes).iter().any(|node| node["name"] == "cloud-2" && node["state"] == "ready"))
    })?;
    shell.show(&admins[0], &["nodes"])
}

/// What `ps` says of the greeter.
struct Greeter {
    ready: u64,
    running: u64,
    nodes: Vec<String>,
}

impl Greeter {
    fn look(shell: &Shell, admin: &str) -> Result<Greeter> {
        let ps = shell.json(admin, &["ps"])?;
        let actor =
            list(&ps).iter().find(|actor| actor["actor"] == "greeter").context("`ps` lists no greeter")?;
        let placements = list(&actor["placements"]);
        Ok(Greeter {
            ready: actor["ready"].as_u64().unwrap_or_default(),
            running: placements.iter().filter_map(|place| place["replicas"].as_u64()).sum(),
            nodes: placements.iter().filter_map(|place| place["node"].as_str()).map(str::to_owned).collect(),
        })
    }

    fn is_complete(&self, replicas: u64) -> bool {
        self.ready == replicas && self.running == replicas
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Asks until the answer is yes. A question that fails counts as no, as long as there is time.
fn wait(what: &str, mut question: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    loop {
        let answer = question();
        match answer {
            Ok(true) => return Ok(()),
            _ if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(50)),
            Ok(false) => bail!("waited {} s for {what} in vain", PATIENCE.as_secs()),
            Err(error) => return Err(error.context(format!("while waiting for {what}"))),
        }
    }
}
