//! Runs the steps of `lattice-setup`, which block, and tells people what they do.

use lattice_proto::Ran;
use lattice_setup::{Notice, Report};

use crate::failure::{Failure, sentence};
use crate::output::Format;

/// Runs one step on a thread of its own; what was there already is not worth a line.
pub async fn blocking<T, F>(output: Format, step: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce(Report) -> lattice_setup::Result<T> + Send + 'static,
{
    let report = move |notice: Notice| match notice {
        Notice::Found(_) => {}
        other => output.note(&other.to_string()),
    };
    match tokio::task::spawn_blocking(move || step(&report)).await {
        Ok(outcome) => outcome.map_err(Failure::from),
        Err(panic) => Err(Failure::from(anyhow::Error::from(panic))),
    }
}

impl From<lattice_setup::Error> for Failure {
    fn from(error: lattice_setup::Error) -> Self {
        Failure::new("setup", Ran::No, sentence(&anyhow::Error::from(error)))
    }
}
