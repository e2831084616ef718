//! One key-value store of guests.
//!
//! Rules:
//! 1. A read asks the leader of the bucket's stream. A copy of it may be behind, and a guest is to find what it has just written.
//! 2. What is counted up or swapped is written by compare-and-set. A write whose answer is lost is not made again: it may have counted.
//! 3. A key that is deleted leaves nothing behind, so that keys that come and go do not fill the bucket.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use lattice_proto::id::MAX_KEY_BYTES;
use lattice_proto::subject::{decode_key, encode_key};

use super::Error;
use crate::bus::{self, Fate, Space};

/// Keys of one page of a listing.
const PAGE: usize = 1_000;

/// The pause before a write is tried again that another one came before, in milliseconds; doubled each time, with jitter.
const PAUSE: RangeInclusive<u64> = 1..=64;

/// A key as the bucket has it.
#[derive(Debug, Clone)]
pub struct Key(String);

impl Key {
    /// A guest's key.
    ///
    /// # Errors
    /// When it is empty or too long.
    pub fn new(key: &str) -> Result<Self, Error> {
        match (1..=MAX_KEY_BYTES).contains(&key.len()) {
            true => Ok(Self(encode_key(key))),
            false => Err(Error::Key(key.len())),
        }
    }
}

/// What became of a swap.
#[derive(Debug, PartialEq, Eq)]
pub enum Swap {
    /// The value is stored.
    Done,
    /// Another one came before.
    Late,
}

/// A cheap handle on one store.
#[derive(Clone)]
pub struct Values(Space);

impl Values {
    pub(super) fn new(space: Space) -> Self {
        Self(space)
    }

    /// A value, with the revision of its key: 0 where there never was one.
    pub async fn get(&self, key: &Key) -> Result<(Option<Bytes>, u64), Error> {
        let entry = self.0.newest(&key.0).await?;
        Ok(entry.map_or((None, 0), |entry| (entry.value, entry.revision)))
    }

    /// Stores a value, whatever was there.
    pub async fn set(&self, key: &Key, value: Vec<u8>) -> Result<(), Error> {
        self.fits(value.len())?;
        self.0.put(&key.0, value.into()).await?;
        Ok(())
    }

    /// Takes a key away; that it is not there is as good.
    pub async fn delete(&self, key: &Key) -> Result<(), Error> {
        if !self.0.is_reachable() {
            return Err(bus::Error::Unreachable.into());
        }
        Ok(self.0.purge(&key.0).await?)
    }

    /// A page of the keys, and where the next one begins.
    pub async fn keys(&self, from: u64) -> Result<(Vec<String>, Option<u64>), Error> {
        let (keys, next) = self.0.page(from, PAGE).await?;
        // What others put there that is no key of a guest's is not theirs to see.
        Ok((keys.iter().filter_map(|key| decode_key(key).ok()).collect(), next))
    }

    /// Adds to a number, of this range, and gives the sum. Whoever waits says for how long it is tried.
    pub async fn increment(&self, key: &Key, by: i128, range: RangeInclusive<i128>) -> Result<i128, Error> {
        let mut pause = *PAUSE.start();
        loop {
            let (value, revision) = self.get(key).await?;
            let sum = add(value.as_deref(), by, &range)?;
            if self.swap(key, sum.to_string().into_bytes(), revision).await? == Swap::Done {
                return Ok(sum);
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=pause))).await;
            pause = (pause * 2).min(*PAUSE.end());
        }
    }

    /// Stores a value if the key is still at this revision.
    pub async fn swap(&self, key: &Key, value: Vec<u8>, revision: u64) -> Result<Swap, Error> {
        self.fits(value.len())?;
        match self.0.write_if(&key.0, value.into(), revision).await {
            Fate::Stored(_) => Ok(Swap::Done),
            Fate::Refused | Fate::Busy => Ok(Swap::Late),
            Fate::Unsent => Err(bus::Error::Unreachable.into()),
            Fate::Unsure(reason) => Err(Error::Unsure(reason)),
        }
    }

    fn fits(&self, size: usize) -> Result<(), Error> {
        let limit = self.0.room();
        if size > limit { Err(Error::TooLarge { limit, size }) } else { Ok(()) }
    }
}

/// A number as it is stored, and more. What is not there counts as nothing.
fn add(value: Option<&[u8]>, by: i128, range: &RangeInclusive<i128>) -> Result<i128, Error> {
    let text = value.map_or(Ok("0"), str::from_utf8).map_err(|_| Error::NoNumber)?;
    let number: i128 = text.parse().map_err(|_| Error::NoNumber)?;
    number.checked_add(by).filter(|sum| range.contains(sum)).ok_or(Error::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_and_stay_in_their_range() {
        let range = 0..=i128::from(u64::MAX);
        assert_eq!(add(None, 3, &range).unwrap(), 3);
        assert_eq!(add(Some(b"41"), 1, &range).unwrap(), 42);
        for wrong in [&b""[..], b"4 ", b"\xff", b"0x1", b"1.5"] {
            assert!(matches!(add(Some(wrong), 1, &range), Err(Error::NoNumber)), "{wrong:?}");
        }
        let most = u64::MAX.to_string();
        assert!(matches!(add(Some(most.as_bytes()), 1, &range), Err(Error::OutOfRange)));
        assert!(matches!(add(Some(i128::MAX.to_string().as_bytes()), 1, &range), Err(Error::OutOfRange)));
    }

    #[test]
    fn a_key_is_what_nats_allows() {
        assert_eq!(Key::new("a b/ä.>*").unwrap().0, "a=20b=2F=C3=A4=2E=3E=2A");
        assert!(matches!(Key::new(""), Err(Error::Key(0))));
        assert!(matches!(Key::new(&"x".repeat(257)), Err(Error::Key(257))));
    }
}
