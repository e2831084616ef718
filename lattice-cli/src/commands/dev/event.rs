//! What a session of `lattice dev` tells: a line for people, or one JSON object a line for programs.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use lattice_proto::log::plain;
use serde_json::{Value, json};

use super::changes::Saved;
use super::own_node::Ready;
use crate::commands::logs;
use crate::failure::Failure;
use crate::output::{self, Format};

/// Something that happened.
pub enum Event<'a> {
    /// A node was started.
    Node(Ready),
    /// There is one already, of this lattice.
    Lattice { lattice: &'a str, admin: &'a str },
    /// Actors were compiled.
    Built { actors: &'a [String], took: Duration },
    /// A revision serves.
    Applied { app: &'a str, revision: u64, changes: &'a [String], saved: &'a Saved },
    /// What was saved is what serves already.
    Unchanged { saved: &'a Saved },
    /// A step failed, and what ran before goes on.
    Failed { step: Step, failure: &'a Failure },
    /// An actor, or a node, said something.
    Log(&'a logs::Row),
}

/// A step of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Reading the manifest.
    Manifest,
    /// Watching the sources.
    Watch,
    /// Compiling.
    Build,
    /// Handing over, and waiting until it serves.
    Apply,
}

impl Event<'_> {
    /// Says it, and tells whether somebody still listens.
    pub fn show(&self, format: Format) -> Result<ControlFlow<()>, Failure> {
        output::next_line(&match format {
            Format::Text => self.text(),
            Format::Json => self.json()?.to_string(),
        })
    }

    fn text(&self) -> String {
        match self {
            Event::Node(Ready { admin, http }) => {
                format!("a node of its own at {admin}, its HTTP gateway at {http}; Ctrl-C ends all of it")
            }
            Event::Lattice { lattice, admin } => {
                format!("deploying to lattice `{lattice}` by {admin}; it stays deployed after Ctrl-C")
            }
            Event::Built { actors, took } => format!("built {} in {}", actors.join(", "), seconds(*took)),
            Event::Applied { app, revision, saved, .. } => {
                let took = seconds(saved.at.elapsed());
                format!("{app}: revision {revision} serves in {took} since {}", beginning(saved))
            }
            Event::Unchanged { saved } => {
                let took = seconds(saved.at.elapsed());
                format!("nothing to deploy, in {took} since {}", beginning(saved))
            }
            Event::Failed { failure, .. } => format!("error: {failure}"),
            Event::Log(row) => logs::line(row),
        }
    }

    fn json(&self) -> Result<Value, Failure> {
        Ok(match self {
            Event::Node(Ready { admin, http }) => json!({ "event": "node", "admin": admin, "http": http }),
            Event::Lattice { lattice, admin } => {
                json!({ "event": "lattice", "lattice": lattice, "admin": admin })
            }
            Event::Built { actors, took } => {
                json!({ "event": "built", "actors": actors, "ms": milliseconds(*took) })
            }
            Event::Applied { app, revision, changes, saved } => json!({
                "event": "applied",
                "app": app,
                "revision": revision,
                "changes": changes,
                // Of the first round: since the start.
                "ms": milliseconds(saved.at.elapsed()),
            }),
            Event::Unchanged { saved } => {
                json!({ "event": "unchanged", "ms": milliseconds(saved.at.elapsed()) })
            }
            Event::Failed { step, failure } => {
                let step = format!("{step:?}").to_lowercase();
                json!({ "event": "failed", "step": step, "error": failure.to_json()["error"] })
            }
            Event::Log(row) => {
                let mut line = serde_json::to_value(row).map_err(anyhow::Error::from)?;
                line["event"] = json!("log");
                line
            }
        })
    }
}

/// What a round began with.
fn beginning(saved: &Saved) -> String {
    if saved.first {
        return "the start".to_owned();
    }
    let name = |path: &PathBuf| path.file_name().map(|name| plain(&name.to_string_lossy()));
    // Editors write files that are gone by now.
    let first = saved.paths.iter().filter(|path| path.is_file()).chain(&saved.paths).find_map(name);
    match (first, saved.paths.len()) {
        (None, _) => "the save".to_owned(),
        (Some(first), 1) if !saved.all => format!("the save of {first}"),
        (Some(first), _) => format!("the save of {first} and more"),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use lattice_proto::Ran;

    use super::*;

    #[test]
    fn a_step_is_a_line_with_the_time_it_took() {
        let built =
            Event::Built { actors: &["cart".into(), "till".into()], took: Duration::from_millis(912) };
        assert_eq!(built.text(), "built cart, till in 0.9 s");
        let json = json!({ "event": "built", "actors": ["cart", "till"], "ms": 912 });
        assert_eq!(built.json().unwrap(), json);
    }

    #[test]
    fn a_failure_says_which_step_it_was() {
        let failure = Failure::new("setup", Ran::No, "cargo could not build a");
        let failed = Event::Failed { step: Step::Build, failure: &failure };
        assert_eq!(failed.text(), "error: cargo could not build a");
        let json = failed.json().unwrap();
        assert_eq!((&json["step"], &json["error"]["kind"]), (&json!("build"), &json!("setup")));
    }
}
