//! `cargo xtask soak`: the multi-node tests again and again, with what is too long for every run.
//!
//! It goes on after a failure, and says at the end which test failed how often.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::earlier;
use crate::guard::Guard;
use crate::prepare::{self, Kit, Profile};
use crate::steps::Steps;
use crate::test::{give, with_tests};
use crate::workspace::{self, PROMISES, cargo};

/// How long the chaos tests go on with each seed; in every other run they end sooner.
const CHAOS_SECONDS: &str = "120";

/// How large the large bodies of HTTP are, in MiB; in every other run they are smaller.
const BODY_MIB: &str = "1024";

/// What may be said on the command line.
#[derive(Args)]
pub struct Options {
    /// How often every test runs; 20 times, or once for each seed of --seeds
    #[arg(long, value_name = "N")]
    repeat: Option<u32>,
    /// A file with a seed for the chaos tests on each line, one for each round; without it the rounds count as seeds
    #[arg(long, value_name = "FILE")]
    seeds: Option<PathBuf>,
    /// Run only the test files whose name contains this; may be given several times
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// Run every second node of each lattice, and all that two_versions asks for, as this commit or tag of the repository
    #[arg(long, value_name = "REV")]
    earlier: Option<String>,
}

/// Runs all repetitions.
pub fn run(options: &Options) -> Result<()> {
    let seeds = options.seeds.as_deref().map(read_seeds).transpose()?;
    let mut steps = Steps::new();
    let guard = Guard::start()?;
    let kit = steps.step("set-up and build", || {
        let tools = prepare::tools()?;
        let lattice = prepare::programs(Profile::Dev)?;
        let artifacts = prepare::actors(&tools.wasm)?;
        Ok(Kit { lattice, nats: tools.nats.path, artifacts, extras: prepare::extras() })
    })?;
    let earlier = match &options.earlier {
        Some(revision) => Some(steps.step("build the earlier version", || earlier::program(revision))?),
        None => None,
    };
    let mut files = workspace::promises()?;
    files.retain(|file| {
        options.filter.is_empty() || options.filter.iter().any(|text| file.contains(text.as_str()))
    });
    if files.is_empty() {
        bail!("no multi-node test matches: leave out --filter to run all");
    }
    if options.filter.is_empty() {
        steps.step("simulation of a large lattice", || {
            let mut test = cargo(&["test", "--package", "lattice-node", "--lib"]);
            test.args(["--", "--ignored", "--nocapture"]);
            let status = test.status().context("cannot start cargo")?;
            if status.success() { Ok(()) } else { bail!("the simulation failed: {status}") }
        })?;
    }
    let mut tally = Tally::default();
    let plan = plan(options.repeat, seeds.as_deref());
    for (round, seed) in plan.iter().enumerate() {
        let title = format!("round {} of {}, seed {seed}", round + 1, plan.len());
        // A failure is counted and does not end the run.
        steps.step(&title, || {
            files.iter().try_for_each(|file| {
                let mut test = test(file, *seed, earlier.as_deref());
                give(&mut test, &kit, &guard);
                one(file, test, &guard, &mut tally)
            })
        })?;
    }
    steps.summarize();
    tally.verdict()
}

/// The seed of each round.
fn plan(repeat: Option<u32>, seeds: Option<&[u64]>) -> Vec<u64> {
    match (repeat, seeds) {
        (None, Some(seeds)) => seeds.to_vec(),
        (Some(repeat), Some(seeds)) => seeds.iter().copied().cycle().take(repeat as usize).collect(),
        (repeat, None) => (1..=u64::from(repeat.unwrap_or(20))).collect(),
    }
}

/// One file of tests, as it runs in a round.
fn test(file: &str, seed: u64, earlier: Option<&Path>) -> Command {
    let mut test = cargo(&with_tests(&[PROMISES.to_owned()]));
    test.args(["--quiet", "--", "--include-ignored", "--format=pretty"]).env("LATTICE_SOAK", "1");
    test.arg(format!("{file}::"));
    test.env("LATTICE_CHAOS_SEED", seed.to_string());
    if std::env::var_os("LATTICE_CHAOS_SECONDS").is_none() {
        test.env("LATTICE_CHAOS_SECONDS", CHAOS_SECONDS);
    }
    if std::env::var_os("LATTICE_BODY_MIB").is_none() {
        test.env("LATTICE_BODY_MIB", BODY_MIB);
    }
    if let Some(program) = earlier {
        test.env("LATTICE_EARLIER_BIN", program);
    }
    test
}

/// Runs one file of tests, shows its output, and counts what it says.
fn one(file: &str, mut test: Command, guard: &Guard, tally: &mut Tally) -> Result<()> {
    let mut child = test.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let mut counted = 0;
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).lines() {
        let line = line.unwrap_or_default();
        println!("{line}");
        if let Some((name, passed)) = verdict_in(&line) {
            tally.count(name, passed);
            counted += u32::from(!passed);
        }
    }
    let status = child.wait().context("lost cargo")?;
    if !status.success() && counted == 0 {
        // It was killed, or did not compile, before it could say which test it was.
        tally.count(&format!("{file} (the whole file, {status})"), false);
    }
    for left in guard.clear() {
        tally.count(&format!("{file} leaves no {} running", left.name), false);
    }
    Ok(())
}

/// Reads `test name ... ok`.
fn verdict_in(line: &str) -> Option<(&str, bool)> {
    let (name, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
    match verdict.trim() {
        "ok" => Some((name, true)),
        "FAILED" => Some((name, false)),
        _ => None,
    }
}

fn read_seeds(file: &Path) -> Result<Vec<u64>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse_seeds(&text).with_context(|| format!("{} holds no list of seeds", file.display()))
}

fn parse_seeds(text: &str) -> Result<Vec<u64>> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let words = lines.flat_map(|line| line.split([',', ' ']).map(str::trim)).filter(|word| !word.is_empty());
    let seeds = words
        .map(|word| word.parse().with_context(|| format!("`{word}` is no whole number")))
        .collect::<Result<Vec<u64>>>()?;
    if seeds.is_empty() {
        bail!("write a whole number on each line");
    }
    Ok(seeds)
}

/// How often each test ran and failed.
#[derive(Default)]
struct Tally(BTreeMap<String, (u32, u32)>);

impl Tally {
    fn count(&mut self, test: &str, passed: bool) {
        let (ran, failed) = self.0.entry(test.to_owned()).or_default();
        *ran += 1;
        *failed += u32::from(!passed);
    }

    fn verdict(&self) -> Result<()> {
        let runs: u32 = self.0.values().map(|(ran, _)| ran).sum();
        let mut bad: Vec<_> = self.0.iter().filter(|(_, (_, failed))| *failed > 0).collect();
        bad.sort_by_key(|(_, (_, failed))| std::cmp::Reverse(*failed));
        println!("\n{} tests, {runs} runs, {} tests failed at least once", self.0.len(), bad.len());
        for (test, (ran, failed)) in &bad {
            println!("  {failed:>4} of {ran}  {test}");
        }
        if bad.is_empty() { Ok(()) } else { bail!("{} tests failed at least once", bad.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_from_the_harness_output() {
        assert_eq!(verdict_in("test r5::replicas_come_back ... ok"), Some(("r5::replicas_come_back", true)));
        assert_eq!(verdict_in("test kill::now ... FAILED"), Some(("kill::now", false)));
        assert_eq!(verdict_in("test slow ... ignored"), None);
        assert_eq!(verdict_in("test result: ok. 3 passed"), None);
        assert_eq!(verdict_in("thread 'x' panicked"), None);
    }

    #[test]
    fn seeds_may_have_comments_and_must_be_numbers() {
        assert_eq!(parse_seeds("1\n# from Monday\n42  # hung\n7, 8\n").unwrap(), [1, 42, 7, 8]);
        assert!(parse_seeds("one").unwrap_err().to_string().contains("`one`"));
        assert!(parse_seeds("# none\n").is_err());
    }

    #[test]
    fn every_round_has_a_seed() {
        assert_eq!(plan(None, None).len(), 20);
        assert_eq!(plan(Some(3), None), [1, 2, 3]);
        assert_eq!(plan(None, Some(&[7, 9])), [7, 9]);
        assert_eq!(plan(Some(3), Some(&[7, 9])), [7, 9, 7]);
    }

    #[test]
    fn one_failure_in_many_runs_fails_the_soak() {
        let mut tally = Tally::default();
        tally.count("a", true);
        assert!(tally.verdict().is_ok());
        tally.count("a", false);
        assert!(tally.verdict().is_err());
        assert_eq!(tally.0["a"], (2, 1));
    }
}
