//! Room for payloads. Mailboxes are bounded by messages, and a message may be large: what waits on a node in all is
//! bounded by bytes, so that an overload is refused and does not cost the node.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Smaller payloads are not counted: their number is bounded already, and counting would cost each call.
const SMALL: usize = 16 << 10;

/// The least room, for a machine with little memory.
const LEAST: u64 = 256 << 20;

/// Counted in KiB, a size that a semaphore's permits can express.
const UNIT: usize = 1 << 10;

pub(super) struct Room(Arc<Semaphore>);

impl Room {
    /// A quarter of the machine's memory.
    pub fn of_this_machine() -> Self {
        let system = rustix::system::sysinfo();
        let memory = system.totalram * u64::from(system.mem_unit);
        Self::new((memory / 4).max(LEAST))
    }

    fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / UNIT;
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    /// Takes room for so many bytes; none is needed for few. An error when there is no room.
    pub fn take(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, ()> {
        if bytes < SMALL {
            return Ok(None);
        }
        let units = u32::try_from(bytes / UNIT).map_err(|_| ())?;
        self.0.clone().try_acquire_many_owned(units).map(Some).map_err(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_payloads_share_what_room_there_is() {
        let room = Room::new(1 << 20);
        let first = room.take(600 << 10).unwrap();
        assert!(first.is_some());
        assert!(room.take(600 << 10).is_err());
        assert!(room.take(100).unwrap().is_none(), "small ones need none");
        drop(first);
        assert!(room.take(600 << 10).is_ok());
    }
}
