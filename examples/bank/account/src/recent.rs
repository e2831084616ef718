//! The ids of transfers that were made, as far back as anybody may ask again.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How many are kept. Whoever asks again does so within seconds, and one account has about a thousand turns in that time;
/// all of them are a part of the state, which is written with every change.
const KEPT: usize = 1_000;

/// The last ids, oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recent(VecDeque<String>);

impl Recent {
    pub fn has(&self, id: &str) -> bool {
        // What is asked again was asked just now.
        self.0.iter().rev().any(|known| known == id)
    }

    /// Keeps an id; when there are too many, the oldest is forgotten.
    pub fn add(&mut self, id: String) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut recent = Recent::default();
        (0..=KEPT).for_each(|id| recent.add(id.to_string()));
        assert!(!recent.has("0"));
        assert!(recent.has("1") && recent.has(&KEPT.to_string()));
        assert_eq!(recent.0.len(), KEPT);
    }
}
