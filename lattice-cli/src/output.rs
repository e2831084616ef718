//! What goes to stdout: text for people or one JSON document for programs, and never anything else.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;

/// Who reads the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// People.
    Text,
    /// Programs.
    Json,
}

impl Format {
    /// Prints the same thing either way: `text` is only rendered for people.
    pub fn print<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        match self {
            Format::Text => line(&text(value)),
            Format::Json => line(&serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?),
        }
    }

    /// Says something on the way to the result: to people only, on stderr.
    pub fn note(self, text: &str) {
        if self == Format::Text {
            // Notes are a courtesy; a closed stderr is no reason to stop.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
}

/// Prints text as one or more whole lines.
pub fn line(text: &str) -> Result<(), Failure> {
    let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    bytes(format!("{text}{end}").as_bytes())
}

/// Prints one line of many, and tells whether somebody still reads them.
pub fn next_line(text: &str) -> Result<ControlFlow<()>, Failure> {
    write(format!("{text}\n").as_bytes())
}

/// Prints bytes as they are.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    write(bytes).map(|_| ())
}

fn write(bytes: &[u8]) -> Result<ControlFlow<()>, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        // The reader (`head`, say) has had enough, which is no error of ours.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(error.into()),
    }
}

/// Whether a person looks at stdout.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether colours help: on a terminal, unless NO_COLOR says otherwise.
pub fn has_colour() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
