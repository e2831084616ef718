//! How many instructions a local call takes with telemetry switched off, how many of them are telemetry's all the same, and how many
//! more it takes where calls are recorded. They are counted, by Valgrind's callgrind: what is looked for is smaller than what times differ by.
//!
//! They are told by the functions that they are in, and where the compiler has put one into another by the lines that they came from:
//! the release is read with its line tables. What telemetry calls in its turn, such as the clock, is telemetry's.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use lattice_tests::{Lattice, wait_until};
use serde_json::json;

use crate::figure::{Bound, Figure};
use crate::local::{PATIENCE, Payload, manifest, storm};

/// Calls in the two runs whose difference is taken: what goes on besides is in both, but for the requests that the calls are made in.
const FEW: u32 = 10 * EACH;
const MANY: u32 = 150 * EACH;

/// Calls in one trace, all of whose spans have room among what is recorded of one.
const EACH: u32 = 60;

const BYTES: u32 = 128;

/// Valgrind has not enough address space for the usual number of guest memories, and under it a request takes seconds that counts
/// as fast otherwise.
const SETTINGS: &str = "pool = 8\ntrace_slow = \"60s\"\n";

pub async fn measure() -> Result<Vec<Figure>> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!(
            "   !! INSTRUCTIONS ARE NOT COUNTED: no valgrind is on PATH (Debian: `apt-get install valgrind`)"
        );
        return Ok(Vec::new());
    }
    let off = count(Some(("OTEL_SDK_DISABLED", "true"))).await?;
    let kept = count(None).await?;
    let [all, traces, metrics] = [off.all, off.traces, off.metrics];
    ensure!(
        traces > 0.0 && metrics > 0.0,
        "nothing of telemetry was found: are there line tables in the release?"
    );
    let figure = |name: &str, floor_is, without: f64, bound| Figure {
        lattice: vec![all],
        floor: vec![all - without],
        ..Figure::new(name, "instructions", floor_is, bound)
    };
    Ok(vec![
        figure(
            "local call, telemetry off",
            "the same without calls of tracing",
            traces,
            Some(Bound::AtMost(1.01)),
        ),
        figure("local call, telemetry off", "the same without metrics", metrics, None),
        Figure {
            lattice: vec![kept.all],
            floor: vec![off.all],
            ..Figure::new("local call, what fails is kept", "instructions", "the same, telemetry off", None)
        },
    ])
}

/// What a call takes on a node with this in its environment.
async fn count(env: Option<(&str, &str)>) -> Result<Call> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("lattice.toml");
    std::fs::write(&config, SETTINGS)?;
    let mut builder = Lattice::builder(1);
    if let Some((name, value)) = env {
        builder = builder.env(name, value);
    }
    let mut lattice = builder.arg("--config").arg(config.to_str().context("a path")?).start().await;
    lattice.apply(&manifest("", "", 1)).await;
    // It has compiled what it runs, which takes minutes under Valgrind.
    run(&lattice, FEW).await?;
    let dumps = folder.path().join("dumps");
    std::fs::create_dir_all(&dumps)?;
    let counted = wrapper(folder.path(), &dumps)?;
    lattice.nodes[0].terminate().await;
    lattice.nodes[0].restart_as(counted).await;
    // Until then calls are for the node that it was before.
    wait_until("calls are answered", PATIENCE, async || run(&lattice, 1).await.is_ok(), |answered| *answered)
        .await;
    run(&lattice, FEW).await?;
    let pid = lattice.nodes[0].pid();
    control(pid, &["--instr=on"])?;
    // Code that is seen for the first time is translated first.
    run(&lattice, FEW).await?;
    control(pid, &["--dump"])?;
    run(&lattice, FEW).await?;
    control(pid, &["--dump"])?;
    run(&lattice, MANY).await?;
    control(pid, &["--dump"])?;
    lattice.nodes[0].kill();

    let (few, many) = (Counted::read(&dumps.join("out.2"))?, Counted::read(&dumps.join("out.3"))?);
    let of_a_call = |part: fn(&Counted) -> u64| {
        #[allow(clippy::cast_precision_loss, reason = "some millions")]
        let more = part(&many).saturating_sub(part(&few)) as f64;
        more / f64::from(MANY - FEW)
    };
    Ok(Call {
        all: of_a_call(|counted| counted.all),
        traces: of_a_call(|counted| counted.traces),
        metrics: of_a_call(|counted| counted.metrics),
    })
}

/// Instructions of one call.
struct Call {
    all: f64,
    traces: f64,
    metrics: f64,
}

async fn run(lattice: &Lattice, calls: u32) -> Result<()> {
    for _ in 0..calls.div_ceil(EACH) {
        let arguments = storm("callee", calls.min(EACH), 1, BYTES, Payload::Bytes);
        let replies = lattice.call_within(0, "caller", "storm", arguments, PATIENCE).await;
        let replies = replies.map_err(|fault| anyhow::anyhow!("{fault}"))?;
        ensure!(replies == json!(calls.min(EACH)), "calls were lost");
    }
    Ok(())
}

/// A program that is the node under Valgrind.
fn wrapper(folder: &Path, dumps: &Path) -> Result<PathBuf> {
    let program = folder.join("counted");
    let node = lattice_tests::lattice::node_program();
    let text = format!(
        "#!/bin/sh\nexec valgrind --tool=callgrind --instr-atstart=no --callgrind-out-file='{}/out' '{}' \"$@\"\n",
        dumps.display(),
        node.display()
    );
    std::fs::write(&program, text)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

fn control(pid: u32, words: &[&str]) -> Result<()> {
    let said = Command::new("callgrind_control").args(words).arg(pid.to_string()).output()?;
    if !said.status.success() {
        bail!("callgrind_control: {}", String::from_utf8_lossy(&said.stderr));
    }
    Ok(())
}

/// Instructions in one dump.
#[derive(Debug, Default)]
struct Counted {
    all: u64,
    traces: u64,
    metrics: u64,
}

/// Whose a line is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Whose {
    #[default]
    Others,
    Traces,
    Metrics,
}

impl Counted {
    fn read(dump: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(dump).with_context(|| format!("cannot read {}", dump.display()))?;
        Ok(Self::parse(&text))
    }

    /// Reads callgrind's format: names of files and of functions are given a number when they first come, costs follow the file and
    /// function that they are of, and what a call costs follows the call.
    fn parse(text: &str) -> Self {
        let mut counted = Self::default();
        let (mut files, mut functions) = (Names::new(of_file), Names::new(of_function));
        let (mut file, mut function) = (Whose::Others, Whose::Others);
        let (mut home, mut callee, mut is_call) = (Whose::Others, (None, Whose::Others), false);
        for line in text.lines() {
            if let Some((key, name)) = line.split_once('=') {
                match key {
                    "fl" => (file, home) = (files.whose(name), files.whose(name)),
                    "fi" | "fe" => file = files.whose(name),
                    "fn" => function = functions.whose(name),
                    "cfi" | "cfl" => callee.0 = Some(files.whose(name)),
                    "cfn" => callee.1 = functions.whose(name),
                    "calls" => is_call = true,
                    _ => {}
                }
                continue;
            }
            let mut words = line.split_ascii_whitespace();
            let is_cost = line.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '*'));
            let Some(cost) = words.nth(1).filter(|_| is_cost).and_then(|cost| cost.parse::<u64>().ok())
            else {
                continue;
            };
            let whose = file.or(function);
            if !std::mem::take(&mut is_call) {
                counted.all += cost;
                counted.add(whose, cost);
                continue;
            }
            let (callee_file, callee_function) = std::mem::take(&mut callee);
            // What it calls of its own is counted where that is.
            if callee_file.unwrap_or(home).or(callee_function) == Whose::Others {
                counted.add(whose, cost);
            }
        }
        counted
    }

    fn add(&mut self, whose: Whose, cost: u64) {
        match whose {
            Whose::Others => {}
            Whose::Traces => self.traces += cost,
            Whose::Metrics => self.metrics += cost,
        }
    }
}

impl Whose {
    fn or(self, other: Self) -> Self {
        if self == Whose::Others { other } else { self }
    }
}

/// Names by the numbers that they were given.
struct Names {
    known: HashMap<String, Whose>,
    judge: fn(&str) -> Whose,
}

impl Names {
    fn new(judge: fn(&str) -> Whose) -> Self {
        Self { known: HashMap::new(), judge }
    }

    fn whose(&mut self, name: &str) -> Whose {
        let Some((number, name)) = name.split_once(' ') else {
            return self.known.get(name).copied().unwrap_or_default();
        };
        let whose = (self.judge)(name);
        self.known.insert(number.to_owned(), whose);
        whose
    }
}

fn of_file(file: &str) -> Whose {
    // What is measured is read now and then, whether there are calls or not.
    let reads = ["/metrics/page.rs", "/metrics/survey.rs"].iter().any(|reader| file.ends_with(reader));
    if reads || !file.contains("/telemetry/") {
        Whose::Others
    } else if file.contains("/metrics") {
        Whose::Metrics
    } else {
        Whose::Traces
    }
}

/// Also of what the compiler has put into it from elsewhere, and of what ends with something of telemetry's.
fn of_function(function: &str) -> Whose {
    let reads = ["metrics::page", "metrics::survey"].iter().any(|reader| function.contains(reader));
    if !reads && (function.contains("telemetry::metrics") || function.contains("opentelemetry_sdk::metrics"))
    {
        Whose::Metrics
    } else if !reads && function.contains("node::telemetry::") {
        Whose::Traces
    } else {
        Whose::Others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_told_by_the_lines_that_they_come_from() {
        let dump = "events: Ir\nfl=(1) /node/src/router.rs\nfn=(1) call\n10 100\nfi=(2) /node/src/telemetry/span.rs\n+3 7\n\
                    cfi=(3) /std/time.rs\ncfn=(2) now\ncalls=1 5\n* 20\ncfi=(2)\ncfn=(3) open\ncalls=1 5\n* 1000\nfe=(1)\n-2 1\n\n\
                    fl=(3)\nfn=(2)\n5 20\n\nfl=(2)\nfn=(3)\n8 1000\n\nfl=(4) /node/src/telemetry/metrics/actor.rs\nfn=(4) took\n1 9\n\n\
                    fl=(5) /core/ptr.rs\nfn=(5) drop_in_place<lattice_node::telemetry::span::Span>\n1 30\ncfn=(2)\ncalls=1 1\n1 2\n";
        let counted = Counted::parse(dump);
        assert_eq!((counted.all, counted.traces, counted.metrics), (1_167, 1_059, 9));
    }
}
