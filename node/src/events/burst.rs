//! Crashes of one actor on this node, gathered so that a loop of them does not drown everything else. Pure, with time as
//! an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lattice_proto::ActorName;

/// The shortest time between two events that tell of crashes of the same actor on the same node.
const PAUSE: Duration = Duration::from_secs(5);

/// What has crashed lately, by actor.
#[derive(Debug, Default)]
pub(super) struct Bursts(BTreeMap<ActorName, Burst>);

#[derive(Debug)]
struct Burst {
    told: Instant,
    /// Crashes since then.
    count: u64,
    /// Why the last of them happened.
    why: String,
}

/// Crashes that are to be told now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub actor: ActorName,
    pub count: u64,
    pub why: String,
}

impl Bursts {
    /// One more crash. The first one is told at once; those that follow soon are counted.
    pub(super) fn crashed(&mut self, actor: &ActorName, why: &str, now: Instant) -> Option<Due> {
        let Some(burst) = self.0.get_mut(actor) else {
            self.0.insert(actor.clone(), Burst { told: now, count: 0, why: String::new() });
            return Some(Due { actor: actor.clone(), count: 1, why: why.to_owned() });
        };
        burst.count += 1;
        why.clone_into(&mut burst.why);
        burst.due(actor, now)
    }

    /// Those that were counted and whose time has come. Actors that crashed no more are forgotten.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Due> {
        let due = self.0.iter_mut().filter_map(|(actor, burst)| burst.due(actor, now)).collect();
        self.0.retain(|_, burst| now.duration_since(burst.told) < PAUSE);
        due
    }
}

impl Burst {
    fn due(&mut self, actor: &ActorName, now: Instant) -> Option<Due> {
        if self.count == 0 || now.duration_since(self.told) < PAUSE {
            return None;
        }
        self.told = now;
        let (count, why) = (std::mem::take(&mut self.count), std::mem::take(&mut self.why));
        Some(Due { actor: actor.clone(), count, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_crash_is_told_at_once_and_the_others_with_their_number() {
        let (now, actor) = (Instant::now(), "cart".parse().unwrap());
        let mut bursts = Bursts::default();
        let due = |count, why: &str| Due { actor: "cart".parse().unwrap(), count, why: why.into() };
        assert_eq!(bursts.crashed(&actor, "a", now), Some(due(1, "a")));
        for _ in 0..100 {
            assert_eq!(bursts.crashed(&actor, "b", now + PAUSE / 2), None);
        }
        assert_eq!(bursts.due(now + PAUSE / 2), []);
        assert_eq!(bursts.due(now + PAUSE), [due(100, "b")], "also when none follows");
        assert_eq!(bursts.crashed(&actor, "c", now + PAUSE), None);
        assert_eq!(bursts.crashed(&actor, "d", now + PAUSE * 2), Some(due(2, "d")));
    }

    #[test]
    fn actors_do_not_wait_for_each_other_and_are_forgotten_when_they_are_quiet() {
        let now = Instant::now();
        let mut bursts = Bursts::default();
        for actor in ["a", "b"] {
            assert_eq!(bursts.crashed(&actor.parse().unwrap(), "x", now).map(|due| due.count), Some(1));
        }
        assert_eq!(bursts.due(now + PAUSE), []);
        assert!(bursts.0.is_empty());
    }
}
