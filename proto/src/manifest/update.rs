//! How a new version of an actor takes the place of an old one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Millis;

/// What a manifest says of updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    /// Replicas that there may be above the wanted number.
    pub surge: Share,
    /// Replicas that may be missing from the wanted number.
    pub unavailable: Share,
    /// How long the first new replicas must do well before more are made.
    pub observe: Millis,
    /// The part of the new version's turns that may fail before the update is taken back.
    pub failures: Percent,
    /// The part of all calls that a new version gets, and of all replicas, until it is promoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Percent>,
}

/// A number of replicas, or a part of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Share {
    /// So many.
    Count(u32),
    /// Such a part of the wanted number.
    Part(Percent),
}

/// `0%` to `100%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Percent(pub u8);

impl Default for Update {
    fn default() -> Self {
        Self {
            surge: Share::Part(Percent(25)),
            unavailable: Share::Count(0),
            // A second of real messages shows most of what is broken, and does not make anybody wait for long.
            observe: Millis(1_000),
            failures: Percent(5),
            canary: None,
        }
    }
}

impl Share {
    /// Of so many; a part of them is rounded up, so that it is not nothing.
    pub fn of(self, wanted: u32) -> u32 {
        match self {
            Share::Count(count) => count,
            Share::Part(Percent(percent)) => {
                u32::try_from((u64::from(wanted) * u64::from(percent)).div_ceil(100)).unwrap_or(u32::MAX)
            }
        }
    }

    /// Whether it is nothing, of however many.
    pub fn is_zero(self) -> bool {
        matches!(self, Share::Count(0) | Share::Part(Percent(0)))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl From<Percent> for String {
    fn from(percent: Percent) -> Self {
        percent.to_string()
    }
}

impl TryFrom<String> for Percent {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Percent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
        number.filter(|number| *number <= 100).map(Self).ok_or("expected a part such as `25%`")
    }
}
