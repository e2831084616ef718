//! Opening a bus: the connection for calls, then the one for control, then what the lattice keeps in NATS. It waits for as
//! long as waiting can help, and never decides what to do meanwhile.

use lattice_proto::subject::Subjects;

use super::connection::{self, RETRY};
use super::{Bus, Error, Options};

/// A bus that is still to be opened.
pub struct Opening {
    options: Options,
    bus: Bus,
    calls: connection::Opening,
    control: connection::Opening,
}

impl Opening {
    pub(super) fn new(
        options: Options,
        bus: Bus,
        calls: connection::Opening,
        control: connection::Opening,
    ) -> Self {
        Self { options, bus, calls, control }
    }

    /// Opens the connection for calls. It is the first, so that a node can listen to its inbox before anything that it
    /// learns over the other connection lets it call somebody.
    ///
    /// Waits until NATS is there; `waiting` is told why it is not, whenever the reason changes.
    ///
    /// # Errors
    /// When waiting cannot help: bad options, a refusal, a server too old or without JetStream.
    pub async fn calls(&self, waiting: &mut impl FnMut(&str)) -> Result<(), Error> {
        self.calls.open(&self.options, waiting).await
    }

    /// Opens the connection for control, and makes sure that the lattice's streams and buckets are there.
    ///
    /// # Errors
    /// As [`Self::calls`].
    pub async fn control(&self, subjects: &Subjects, waiting: &mut impl FnMut(&str)) -> Result<(), Error> {
        self.control.open(&self.options, waiting).await?;
        let mut last = String::new();
        // A cluster may have no leader yet, or fewer servers than copies are asked for.
        while let Err(error) = self.bus.ensure(subjects).await {
            let reason = error.to_string();
            if reason != last {
                waiting(&reason);
                last = reason;
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }
}
