//! One lease and its renewals.
//!
//! Rules:
//! 1. Every write is a compare-and-set on the lease's own key.
//! 2. A lease is counted from the moment its last acknowledged renewal was *sent*, by a clock that runs through suspend.
//! 3. A renewal is given up after [`RENEW`], so that one answer that never comes does not cost the lease: the next
//!    renewal is sent in its place.
//! 4. A refused renewal is no proof of loss: an earlier one without an answer may have been stored. It is read back,
//!    and told from a stale read by its revision.

use std::time::Duration;

use lattice_proto::record::{self, Lease};

use super::{Identity, RENEW};
use crate::bus::{Entry, Error, LEASE, Space};
use crate::clock;

/// What came of a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    /// It is held for another lease time.
    Kept,
    /// The same, by an earlier renewal whose answer was lost.
    KeptBefore,
    /// It was gone, and is held again: somebody may have counted on that meanwhile.
    Retaken,
    /// Somebody else holds it.
    Lost(Lease),
    /// Nobody can say; it is held until it has run out by this node's own clock.
    Unclear,
}

/// One node's hold on one lease.
pub struct Keeper {
    space: Space,
    key: String,
    lease: Lease,
    revision: u64,
    /// By `CLOCK_BOOTTIME`; zero before it was ever held.
    expires: Duration,
    /// When the oldest renewal without an answer was sent.
    unanswered: Option<Duration>,
}

impl Keeper {
    /// A lease that is not held yet.
    pub fn new(space: Space, key: String, me: &Identity) -> Self {
        let lease = Lease { name: me.name.clone(), incarnation: me.incarnation.clone(), nonce: 0 };
        Self { space, key, lease, revision: 0, expires: Duration::ZERO, unanswered: None }
    }

    /// Takes the lease if the last revision of its key is still `over`; 0 means that there is none.
    ///
    /// # Errors
    /// [`Error::Conflict`] when somebody was faster.
    pub async fn take(&mut self, over: u64) -> Result<(), Error> {
        let sent = clock::boottime();
        self.lease.nonce += 1;
        let revision = self.space.put_if(&self.key, record::encode(&self.lease), over).await?;
        self.acknowledged(revision, sent);
        Ok(())
    }

    /// Holds it for another lease time.
    pub async fn renew(&mut self) -> Renewal {
        match self.try_renew().await {
            Ok(renewal) => renewal,
            Err(error) => {
                tracing::debug!(%error, key = self.key, "a lease was not renewed");
                Renewal::Unclear
            }
        }
    }

    async fn try_renew(&mut self) -> Result<Renewal, Error> {
        let sent = clock::boottime();
        self.lease.nonce += 1;
        let write = self.space.put_if(&self.key, record::encode(&self.lease), self.revision);
        match tokio::time::timeout(RENEW, write).await.unwrap_or(Err(Error::NoAnswer)) {
            Ok(revision) => {
                self.acknowledged(revision, sent);
                Ok(Renewal::Kept)
            }
            Err(Error::Conflict) => self.read_back().await,
            Err(error) => {
                self.unanswered.get_or_insert(sent);
                Err(error)
            }
        }
    }

    /// Finds out who wrote last.
    async fn read_back(&mut self) -> Result<Renewal, Error> {
        let entry =
            tokio::time::timeout(RENEW, self.space.get(&self.key)).await.unwrap_or(Err(Error::NoAnswer))?;
        match holder(entry.as_ref()) {
            Some(lease) if lease.incarnation == self.lease.incarnation => {
                let revision = entry.map_or(0, |entry| entry.revision);
                if revision <= self.revision {
                    // A stale read of what was acknowledged before: it says nothing about what was refused.
                    return Ok(Renewal::Unclear);
                }
                // One of this node's own renewals was stored although its answer was lost. Which of those without an
                // answer it was is not asked: the oldest gives the earliest end.
                let sent = self.unanswered.unwrap_or(self.expires.saturating_sub(LEASE));
                self.acknowledged(revision, sent);
                Ok(Renewal::KeptBefore)
            }
            Some(lease) => Ok(Renewal::Lost(lease)),
            // It expired while NATS could not be reached, and nobody has taken it.
            None => match self.take(entry.map_or(0, |entry| entry.revision)).await {
                Ok(()) => Ok(Renewal::Retaken),
                Err(Error::Conflict) => Ok(Renewal::Unclear),
                Err(error) => Err(error),
            },
        }
    }

    fn acknowledged(&mut self, revision: u64, sent: Duration) {
        self.revision = revision;
        self.expires = self.expires.max(sent + LEASE);
        self.unanswered = None;
    }

    /// Until when it is surely held, by `CLOCK_BOOTTIME`.
    pub fn expires(&self) -> Duration {
        self.expires
    }

    /// Gives it back, so that others need not wait for its end.
    pub async fn release(self) {
        let released = self.space.remove_if(&self.key, self.revision).await;
        if let Err(error) = released {
            tracing::debug!(%error, key = self.key, "a lease was not given back; it ends by itself");
        }
    }

    /// The last revision of its key that this node wrote.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

/// Who holds a lease, by its last entry.
pub fn holder(entry: Option<&Entry>) -> Option<Lease> {
    entry?.value.as_deref().and_then(|bytes| record::decode(bytes).ok())
}
