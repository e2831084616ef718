//! Which of several nodes gets a message: this zone first, then the less loaded of two random ones.

/// Why a message goes where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// The actor runs on the node that asks.
    Here,
    /// The node owns the key.
    Owner,
    /// No other one is as good.
    Only,
    /// It was drawn twice, or has less to do than the other one that was.
    LessLoaded,
    /// It does not answer, and neither does any other.
    LastResort,
}

impl Choice {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Choice::Here => "runs on this node",
            Choice::Owner => "owns the key",
            Choice::Only => "the only one left in the nearest zone",
            Choice::LessLoaded => "the less loaded of two in the nearest zone",
            Choice::LastResort => "does not answer, as no other does",
        }
    }
}

/// One node that could take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its place among the route's targets.
    pub index: usize,
    /// Whether it is in the caller's zone.
    pub near: bool,
    /// Whether it stopped answering a moment ago.
    pub avoided: bool,
    /// Messages waiting per replica there, as far as is known.
    pub load: u32,
    /// How many replicas it has.
    pub replicas: u32,
}

/// The place of the chosen one, and why; none when there is no candidate.
pub(super) fn pick(candidates: &[Candidate]) -> Option<(usize, Choice)> {
    let best = candidates.iter().map(rank).min()?;
    let among: Vec<&Candidate> = candidates.iter().filter(|candidate| rank(candidate) == best).collect();
    let (a, b) = (weighted(&among)?, weighted(&among)?);
    let chosen = if a.load <= b.load { a } else { b };
    let choice = match among.len() {
        _ if chosen.avoided => Choice::LastResort,
        1 => Choice::Only,
        _ => Choice::LessLoaded,
    };
    Some((chosen.index, choice))
}

/// A node that does not answer is the last resort, however near it is.
fn rank(candidate: &Candidate) -> (bool, bool) {
    (candidate.avoided, !candidate.near)
}

/// A random one; a node with twice the replicas comes twice as often.
fn weighted<'a>(among: &[&'a Candidate]) -> Option<&'a Candidate> {
    let total: u32 = among.iter().map(|candidate| candidate.replicas.max(1)).sum();
    let mut at = fastrand::u32(..total.max(1));
    for candidate in among {
        let weight = candidate.replicas.max(1);
        if at < weight {
            return Some(candidate);
        }
        at -= weight;
    }
    among.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(index: usize) -> Candidate {
        Candidate { index, near: false, avoided: false, load: 0, replicas: 1 }
    }

    #[test]
    fn nearness_comes_before_load_and_health_before_nearness() {
        let near = Candidate { near: true, load: 9, ..candidate(0) };
        let far = candidate(1);
        assert_eq!(pick(&[near.clone(), far.clone()]), Some((0, Choice::Only)));
        let near = Candidate { avoided: true, ..near };
        assert_eq!(pick(&[near.clone(), far]), Some((1, Choice::Only)));
        assert_eq!(pick(&[near]), Some((0, Choice::LastResort)), "better a doubtful node than none");
        assert_eq!(pick(&[]), None);
    }

    #[test]
    fn the_loaded_one_of_two_gets_the_smaller_part() {
        let candidates = [candidate(0), Candidate { load: 5, ..candidate(1) }];
        let to_loaded = (0..1000).filter(|_| pick(&candidates) == Some((1, Choice::LessLoaded))).count();
        // Both draws must fall on it: a quarter of the time.
        assert!((100..400).contains(&to_loaded), "{to_loaded}");
    }

    #[test]
    fn more_replicas_get_more_messages() {
        let candidates = [candidate(0), Candidate { replicas: 3, ..candidate(1) }];
        let to_larger = (0..1000).filter(|_| pick(&candidates) == Some((1, Choice::LessLoaded))).count();
        assert!((650..850).contains(&to_larger), "{to_larger}");
    }
}
