//! Why a command failed, and how that is told: one sentence for people, or one JSON object for programs.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use lattice_proto::Ran;
use serde_json::json;

use crate::output::Format;

/// A command that did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// A stable word that programs match.
    pub kind: String,
    /// One sentence, with what to do next.
    pub message: String,
    /// Whether what was asked may have happened all the same.
    pub ran: Ran,
    /// An actor's own code and details, when it was the actor that said no.
    pub rejection: Option<(String, String)>,
    exit: u8,
    /// Whether people are told whether it ran as well.
    tells_ran: bool,
}

impl Failure {
    /// A request that failed.
    pub fn new(kind: &str, ran: Ran, message: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            message: message.into(),
            ran,
            rejection: None,
            exit: 1,
            tells_ran: false,
        }
    }

    /// A stream that was to go on, and ended.
    pub fn stream_ended() -> Self {
        Self::new("connection-lost", Ran::Maybe, "the node ended the stream")
    }

    /// Whether asking again may help: the node, or NATS behind it, is away for the moment.
    pub fn passes(&self) -> bool {
        let passing = ["unreachable", "unavailable", "connection-lost", "deadline", "overloaded"];
        passing.contains(&self.kind.as_str())
    }

    /// A command line that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: 2, ..Self::new("usage", Ran::No, message) }
    }

    /// The same, as a mistake in the command line.
    pub fn misused(self) -> Self {
        Self { exit: 2, ..self }
    }

    /// The same, of something that may have run.
    pub fn of_message(self) -> Self {
        Self { tells_ran: true, ..self }
    }

    /// Tells it on stderr and gives the exit code.
    pub fn report(&self, format: Format) -> ExitCode {
        let mut stderr = io::stderr().lock();
        // A closed stderr leaves nobody to tell; the exit code still says it.
        let _ = match format {
            Format::Text => writeln!(stderr, "error: {self}"),
            Format::Json => writeln!(stderr, "{}", self.to_json()),
        };
        ExitCode::from(self.exit)
    }

    /// The object that programs read.
    pub fn to_json(&self) -> serde_json::Value {
        let mut error = json!({ "kind": self.kind, "message": self.message, "ran": self.ran.as_str() });
        if let Some((code, details)) = &self.rejection {
            error["code"] = json!(code);
            error["details"] = serde_json::from_str(details).unwrap_or_else(|_| json!(details));
        }
        json!({ "error": error })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rejection {
            Some((code, _)) if !code.is_empty() => write!(f, "rejected ({code}): {}", self.message),
            _ => f.write_str(&self.message),
        }?;
        // A sentence that says so already need not say it twice; an actor's own no says that it ran.
        let says_so =
            ["may have run", "did not run", " ran"].iter().any(|words| self.message.contains(words));
        match self.ran {
            _ if !self.tells_ran || self.rejection.is_some() || says_so => Ok(()),
            Ran::No => f.write_str(" (it did not run)"),
            Ran::Maybe => f.write_str(" (it may have run)"),
            Ran::Yes => f.write_str(" (it ran, at least in part)"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new("io", Ran::No, error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new("failed", Ran::No, sentence(&error))
    }
}

/// An error with its causes, each told once: some errors repeat theirs in their own words.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if sentence.is_empty() {
            sentence = cause;
        } else if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_promised_shape() {
        let failure = Failure::new("overloaded", Ran::No, "full");
        let expected = json!({ "error": { "kind": "overloaded", "message": "full", "ran": "no" } });
        assert_eq!(failure.to_json(), expected);
    }

    #[test]
    fn people_are_told_whether_a_message_ran() {
        let told = |ran, message: &str| Failure::new("deadline", ran, message).of_message().to_string();
        assert_eq!(told(Ran::Maybe, "too late"), "too late (it may have run)");
        assert_eq!(told(Ran::No, "full"), "full (it did not run)");
        assert_eq!(told(Ran::No, "none is running"), "none is running (it did not run)");
        assert_eq!(told(Ran::Maybe, "it may have run"), "it may have run");
        assert_eq!(Failure::new("full", Ran::No, "full").to_string(), "full");
    }

    #[test]
    fn each_cause_is_told_once() {
        let error = anyhow::anyhow!("refused").context("no answer (refused)").context("cannot start");
        assert_eq!(sentence(&error), "cannot start: no answer (refused)");
    }

    #[test]
    fn a_rejection_carries_its_code_and_details() {
        let mut failure = Failure::new("rejected", Ran::Yes, "none left");
        failure.rejection = Some(("out-of-stock".into(), "{\"left\":2}".into()));
        assert_eq!(failure.to_json()["error"]["details"]["left"], 2);
        assert_eq!(failure.to_string(), "rejected (out-of-stock): none left");
    }
}
