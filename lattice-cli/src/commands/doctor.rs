//! `lattice doctor`: looks at what Lattice needs on this machine, and with `--fix` gets what is missing.
//!
//! Each check is a function that returns one [`Finding`]; none of them changes anything unless `--fix` was given.

mod clock;
mod languages;
mod nats;
mod ports;
mod wasm;

use comfy_table::Cell;
use lattice_proto::Ran;
use serde::Serialize;

use crate::cli::Global;
use crate::failure::Failure;
use crate::table::{self, Tone, cell};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Get what is missing
    #[arg(long)]
    fix: bool,
    /// Check this NATS server as well
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
}

/// What one check found.
#[derive(Debug, Serialize)]
pub struct Finding {
    check: &'static str,
    state: State,
    detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Something works less well, or only matters to some.
    Warning,
    /// Something will not work.
    Failed,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, state: State::Ok, detail: detail.into() }
    }

    fn warning(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, state: State::Warning, detail: detail.into() }
    }

    fn failed(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, state: State::Failed, detail: detail.into() }
    }
}

/// Whether a check may get what it misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    Look,
    Fix,
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    let repair = if args.fix { Repair::Fix } else { Repair::Look };
    let mut findings =
        vec![nats::program(repair, global.output).await, wasm::toolchain(repair, global.output).await];
    if let Some(url) = &args.nats {
        findings.extend(nats::server(url).await);
    }
    findings.extend(languages::others(global.output).await);
    findings.extend(ports::free());
    findings.push(clock::kept());

    global
        .output
        .print(&findings, |findings| table::render(&["CHECK", "STATE", ""], findings.iter().map(columns)))?;
    let failed: Vec<_> = findings.iter().filter(|f| f.state == State::Failed).map(|f| f.check).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let next = match repair {
        Repair::Look => "`lattice doctor --fix` gets what can be got",
        Repair::Fix => "the lines above say what to do by hand",
    };
    Err(Failure::new("unhealthy", Ran::No, format!("not as it should be: {}; {next}", failed.join(", "))))
}

fn columns(finding: &Finding) -> Vec<Cell> {
    let (word, tone) = match finding.state {
        State::Ok => ("ok", Tone::Good),
        State::Warning => ("warning", Tone::Waiting),
        State::Failed => ("failed", Tone::Bad),
    };
    vec![cell(finding.check, Tone::Plain), cell(word, tone), cell(&finding.detail, Tone::Plain)]
}
