//! The right of one activation to run turns: while its node owns the shard in the epoch of its claim, and its lease surely
//! runs.
//!
//! When the lease ran out and is held again, another owner may have come and gone, of which this node has not heard yet.
//! So the key is claimed once more before the next turn: that settles it.

use std::time::{Duration, Instant};

use lattice_proto::shard::Shard;

use super::Owners;

/// A cheap handle.
#[derive(Clone)]
pub struct Tenure {
    owners: Owners,
    shard: Shard,
    epoch: u64,
    strict: bool,
}

/// Whether a turn may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Now.
    Now,
    /// As soon as the key has been claimed again. With the number to ask with from then on.
    Confirmed(u64),
    /// Not before its deadline.
    Late,
    /// Never: another owner has the key, or will have.
    Over,
}

impl Tenure {
    /// Over a key of this shard.
    pub fn new(owners: Owners, shard: Shard, epoch: u64, strict: bool) -> Self {
        Self { owners, shard, epoch, strict }
    }

    /// Waits until the key may be claimed, and gives the number to ask [`Self::begin`] with.
    pub async fn clear(&self) -> u64 {
        if self.strict {
            let clear = self.owners.clear_at(self.shard);
            tokio::time::sleep(clear.saturating_sub(crate::clock::boottime())).await;
        }
        self.owners.open().unwrap_or(0)
    }

    /// Waits until a turn may begin, at most until its deadline. `confirmed` is the number that came with the last claim.
    pub async fn begin(&self, confirmed: u64, deadline: Instant) -> Begin {
        let mut table = None;
        loop {
            if !self.owners.has(self.shard, self.epoch) {
                return Begin::Over;
            }
            match self.owners.open() {
                Some(number) if number == confirmed => return Begin::Now,
                Some(number) => return Begin::Confirmed(number),
                None => {}
            }
            let table = table.get_or_insert_with(|| self.owners.follow());
            tokio::select! {
                () = self.owners.opened() => {}
                Ok(()) = table.changed() => {}
                () = tokio::time::sleep_until(deadline.into()) => return Begin::Late,
            }
        }
    }

    /// Whether a turn may begin now, if the key is claimed once more where that is needed.
    pub fn is_open(&self) -> bool {
        self.owners.has(self.shard, self.epoch) && self.owners.open().is_some()
    }

    /// Waits until that is so; for ever, when the key is another owner's.
    pub async fn opened(&self) {
        while !self.is_open() {
            self.owners.opened().await;
            if !self.owners.has(self.shard, self.epoch) {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether it still holds, for a turn that began with this number.
    pub fn holds(&self, number: u64) -> bool {
        self.owners.has(self.shard, self.epoch) && self.owners.open() == Some(number)
    }

    /// Until when what a turn lets out that began with this number may be accepted, by `CLOCK_BOOTTIME`; none when that has
    /// passed.
    pub fn until(&self, number: u64) -> Option<Duration> {
        self.owners.until(number).filter(|_| self.owners.has(self.shard, self.epoch))
    }

    /// Whether nothing may be let out after it.
    pub fn is_strict(&self) -> bool {
        self.strict
    }
}
