//! Which nodes live. Pure: leases, renewals, pings and time come in as arguments.
//!
//! Rules:
//! 1. A lease that ended says that its node is lost, but not before this leader could renew its own for one lease time: after
//!    an outage the server ends all leases at once, which says nothing about anybody.
//! 2. A node of which nobody listens to either connection, twice in a row, is lost at once, unless it renewed meanwhile. Where
//!    several are at the same time, something between may be broken: then they must have been silent for longer as well.
//! 3. A node that renews nothing and answers nothing leaves the rotation; it is lost when its lease ends.
//! 4. Records and leases come over two watches, so the record of a new start may be seen before its lease: that it has none
//!    says nothing about it for one lease time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lattice_proto::record::{Lease, NodeState};
use lattice_proto::{Incarnation, NodeName};

use crate::bus::LEASE;

/// More than one renewal missed: time to ask.
const SILENT: Duration = Duration::from_millis(700);

/// How long what others say of a node says nothing after it was asked.
const SUSPECTED: Duration = Duration::from_millis(200);

/// Nodes that are found to be gone within this time may have that from something between.
const TOGETHER: Duration = Duration::from_secs(1);

/// How long between two looks at the same silent node.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What a ping to a node told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answered.
    Alive,
    /// Nobody listens there.
    Gone,
    /// Neither.
    Silent,
}

#[derive(Debug, Clone)]
struct Watched {
    incarnation: Incarnation,
    /// Whether its lease is there.
    leased: bool,
    /// Until when it says nothing that there is none.
    awaited: Instant,
    renewed: Instant,
    asked: Option<Instant>,
    verdict: Option<Verdict>,
    /// When that was found.
    found: Option<Instant>,
    /// Whether its lease was among those of the last reading of all.
    listed: bool,
}

impl Watched {
    fn new(incarnation: &Incarnation, now: Instant) -> Self {
        Self {
            incarnation: incarnation.clone(),
            leased: false,
            awaited: now,
            renewed: now,
            asked: None,
            verdict: None,
            found: None,
            listed: false,
        }
    }
}

/// What is known of every node's life.
#[derive(Debug)]
pub(super) struct Liveness {
    nodes: BTreeMap<NodeName, Watched>,
    /// Until when ended leases say nothing.
    grace_until: Instant,
    grace: Duration,
    /// Whether an answer may have changed since it was last asked for.
    changed: bool,
}

impl Liveness {
    /// Of a leader that could renew its own lease, over the same connection, for so long.
    pub(super) fn new(now: Instant, renews: Duration) -> Self {
        let grace_until = now + LEASE.saturating_sub(renews);
        Self { nodes: BTreeMap::new(), grace_until, grace: LEASE, changed: true }
    }

    /// After a reconnection.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.grace_until = now + self.grace;
        for watched in self.nodes.values_mut() {
            watched.renewed = now;
            watched.asked = None;
            if watched.verdict == Some(Verdict::Silent) {
                watched.verdict = None;
            }
        }
    }

    /// A lease was seen.
    pub(super) fn renewed(&mut self, lease: &Lease, now: Instant) {
        let before = self.nodes.get(&lease.name);
        self.changed |= before.is_none_or(|before| {
            before.incarnation != lease.incarnation
                || !before.leased
                || before.verdict.is_some_and(|v| v != Verdict::Alive)
        });
        // Whoever renews lives, whatever a ping said before.
        let found = before.and_then(|before| before.found);
        let lives = Watched { leased: true, listed: true, found, ..Watched::new(&lease.incarnation, now) };
        self.nodes.insert(lease.name.clone(), lives);
    }

    /// All leases are about to be read once more.
    pub(super) fn begin_listing(&mut self) {
        for watched in self.nodes.values_mut() {
            watched.listed = false;
        }
    }

    /// All leases were read: what was not among them has ended, although nobody saw it end.
    pub(super) fn end_listing(&mut self) {
        for watched in self.nodes.values_mut().filter(|watched| watched.leased && !watched.listed) {
            watched.leased = false;
            self.changed = true;
        }
    }

    /// A node has a record of which nobody said anything yet: it is a new start, whose lease is about to be seen.
    pub(super) fn newcomer(&mut self, name: &NodeName, incarnation: &Incarnation, now: Instant) {
        if self.nodes.get(name).is_none_or(|watched| watched.incarnation != *incarnation) {
            let awaited = now + LEASE;
            self.nodes.insert(name.clone(), Watched { awaited, ..Watched::new(incarnation, now) });
        }
    }

    /// A node has a record, and no lease of it was seen: it is asked like a silent one.
    pub(super) fn expect(&mut self, name: &NodeName, incarnation: &Incarnation, now: Instant) {
        if !self.nodes.contains_key(name) && now < self.grace_until {
            let renewed = now.checked_sub(SILENT * 2).unwrap_or(now);
            self.nodes.insert(name.clone(), Watched { renewed, ..Watched::new(incarnation, now) });
        }
    }

    /// A lease ended or was given back.
    pub(super) fn ended(&mut self, name: &NodeName) {
        self.changed = true;
        if let Some(watched) = self.nodes.get_mut(name) {
            watched.leased = false;
        }
    }

    /// Nothing more is asked about this node, unless it comes back.
    pub(super) fn forget(&mut self, name: &NodeName) {
        if self.nodes.get(name).is_some_and(|watched| !watched.leased) {
            self.nodes.remove(name);
        }
    }

    /// A ping that began at `since` was answered, or not.
    pub(super) fn told(&mut self, incarnation: &Incarnation, verdict: Verdict, since: Instant) {
        for watched in self.nodes.values_mut().filter(|watched| watched.incarnation == *incarnation) {
            // Whoever renewed meanwhile lives, whatever the ping said.
            if verdict != Verdict::Alive && watched.renewed > since {
                continue;
            }
            // What was asked earlier may be answered later.
            if watched.found.is_some_and(|found| found > since) {
                continue;
            }
            self.changed |= watched.verdict.unwrap_or(Verdict::Alive) != verdict;
            watched.verdict = Some(verdict);
            watched.found = Some(since);
        }
    }

    /// The leader before, which was asked for at `since` before this one led, and did not answer. Its last renewal was listed
    /// later, so what renews it after that is told apart by revision.
    pub(super) fn deposed(&mut self, incarnation: &Incarnation, since: Instant) {
        for watched in self.nodes.values_mut().filter(|watched| watched.incarnation == *incarnation) {
            if watched.found.is_none_or(|found| found <= since) {
                self.changed |= watched.verdict != Some(Verdict::Gone);
                (watched.verdict, watched.found) = (Some(Verdict::Gone), Some(since));
            }
        }
    }

    /// Another node could not reach this one: whether to ask it now. Many may say so at once, and one answer is enough.
    pub(super) fn suspect(&mut self, incarnation: &Incarnation, now: Instant) -> bool {
        let Some(watched) = self.nodes.values_mut().find(|watched| watched.incarnation == *incarnation)
        else {
            return false;
        };
        let asked = watched.asked.is_some_and(|asked| now.duration_since(asked) < SUSPECTED);
        if asked || watched.verdict == Some(Verdict::Gone) {
            return false;
        }
        watched.asked = Some(now);
        true
    }

    /// The nodes to ask now.
    pub(super) fn ask_now(&mut self, now: Instant) -> Vec<Incarnation> {
        let silent = self.nodes.values_mut().filter(|watched| {
            let quiet = now.duration_since(watched.renewed) > SILENT;
            let due = watched.asked.is_none_or(|asked| now.duration_since(asked) > ASK_AGAIN);
            // Without a lease it is only worth asking while the end of a lease says nothing.
            let open = watched.leased || now < self.grace_until.max(watched.awaited);
            open && quiet && due && watched.verdict != Some(Verdict::Gone)
        });
        silent
            .map(|watched| {
                watched.asked = Some(now);
                watched.incarnation.clone()
            })
            .collect()
    }

    /// Whether answers may differ from those at the last time that this was asked.
    pub(super) fn take_changed(&mut self, now: Instant) -> bool {
        // Within the grace time any answer may change by time alone, and so may one that waits for a lease or a longer silence.
        let gone = |watched: &Watched| watched.verdict == Some(Verdict::Gone);
        let silent = |watched: &Watched| gone(watched) && now.duration_since(watched.renewed) <= SILENT;
        let open = |watched: &Watched| silent(watched) || (!watched.leased && now < watched.awaited);
        let waits = now < self.grace_until || self.nodes.values().any(open);
        std::mem::replace(&mut self.changed, waits)
    }

    /// Whether no other node was found to be gone at about the same time.
    fn is_alone(&self, one: &Watched) -> bool {
        let near = |other: &Watched| match (one.found, other.found) {
            (Some(one), Some(other)) => one.max(other).duration_since(one.min(other)) < TOGETHER,
            _ => false,
        };
        let others = self.nodes.values().filter(|other| other.incarnation != one.incarnation);
        !others.into_iter().any(|other| other.verdict == Some(Verdict::Gone) && near(other))
    }

    /// What to make of a node whose record names this incarnation; none while nothing can be said.
    pub(super) fn state(
        &self,
        name: &NodeName,
        incarnation: &Incarnation,
        now: Instant,
    ) -> Option<NodeState> {
        let Some(watched) = self.nodes.get(name) else {
            // Its lease was never seen. It may have ended during an outage.
            return (now >= self.grace_until).then_some(NodeState::Gone);
        };
        if watched.incarnation != *incarnation {
            // The record of an earlier start, or of one that has no lease yet.
            return (watched.leased || now >= self.grace_until).then_some(NodeState::Gone);
        }
        match watched.verdict {
            Some(Verdict::Gone) if self.is_alone(watched) || now.duration_since(watched.renewed) > SILENT => {
                Some(NodeState::Gone)
            }
            _ if !watched.leased && now >= self.grace_until.max(watched.awaited) => Some(NodeState::Gone),
            Some(Verdict::Silent) => Some(NodeState::Suspect),
            _ => Some(NodeState::Ready),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str, incarnation: &Incarnation) -> Lease {
        Lease { name: name.parse().unwrap(), incarnation: incarnation.clone(), nonce: 0 }
    }

    #[test]
    fn an_ended_lease_counts_only_after_the_grace_time() {
        let (now, id) = (Instant::now(), Incarnation::generate());
        let name = "a".parse().unwrap();
        let mut liveness = Liveness::new(now, Duration::ZERO);
        liveness.renewed(&lease("a", &id), now);
        liveness.ended(&name);
        assert_eq!(liveness.state(&name, &id, now + LEASE / 2), Some(NodeState::Ready));
        assert_eq!(liveness.state(&name, &id, now + LEASE), Some(NodeState::Gone));
        liveness.renewed(&lease("a", &id), now + LEASE);
        assert_eq!(liveness.state(&name, &id, now + LEASE), Some(NodeState::Ready), "it came back");
    }

    #[test]
    fn there_is_no_grace_for_others_while_this_nodes_own_lease_is_renewed() {
        let (now, id) = (Instant::now(), Incarnation::generate());
        let name = "a".parse().unwrap();
        assert_eq!(Liveness::new(now, LEASE).state(&name, &id, now), Some(NodeState::Gone));
        let half = Liveness::new(now, LEASE / 2);
        assert_eq!(half.state(&name, &id, now), None);
        assert_eq!(half.state(&name, &id, now + LEASE / 2), Some(NodeState::Gone));
    }

    #[test]
    fn a_refused_ping_counts_at_once_and_a_silent_one_only_suspends() {
        let (now, id) = (Instant::now(), Incarnation::generate());
        let name = "a".parse().unwrap();
        let mut liveness = Liveness::new(now, Duration::ZERO);
        liveness.renewed(&lease("a", &id), now);
        assert!(liveness.ask_now(now).is_empty());
        let later = now + Duration::from_secs(1);
        assert_eq!(liveness.ask_now(later), std::slice::from_ref(&id));
        assert!(liveness.ask_now(later).is_empty(), "asked already");
        liveness.told(&id, Verdict::Silent, later);
        assert_eq!(liveness.state(&name, &id, later), Some(NodeState::Suspect));
        liveness.told(&id, Verdict::Gone, later);
        assert_eq!(liveness.state(&name, &id, later), Some(NodeState::Gone));
    }

    #[test]
    fn whom_others_suspect_is_asked_at_once_and_lives_if_it_renewed_meanwhile() {
        let (now, id) = (Instant::now(), Incarnation::generate());
        let name = "a".parse().unwrap();
        let at = |ms| now + Duration::from_millis(ms);
        let mut liveness = Liveness::new(now, Duration::ZERO);
        assert!(!liveness.suspect(&id, now), "nobody knows it");
        liveness.renewed(&lease("a", &id), now);
        assert!(liveness.suspect(&id, at(10)));
        assert!(!liveness.suspect(&id, at(20)), "asked already");
        liveness.renewed(&lease("a", &id), at(100));
        liveness.told(&id, Verdict::Gone, at(10));
        assert_eq!(liveness.state(&name, &id, at(210)), Some(NodeState::Ready));
        assert!(liveness.suspect(&id, at(220)));
        liveness.told(&id, Verdict::Gone, at(220));
        assert_eq!(
            liveness.state(&name, &id, at(430)),
            Some(NodeState::Gone),
            "right after its last renewal"
        );
        assert!(!liveness.suspect(&id, at(1_000)), "that is settled");
    }

    #[test]
    fn several_at_once_must_be_silent_for_longer() {
        let (now, ids) = (Instant::now(), [Incarnation::generate(), Incarnation::generate()]);
        let at = |ms| now + Duration::from_millis(ms);
        let mut liveness = Liveness::new(now, LEASE);
        let names = ["a", "b"].map(|name| name.parse().unwrap());
        liveness.renewed(&lease("a", &ids[0]), now);
        liveness.renewed(&lease("b", &ids[1]), now);
        liveness.told(&ids[0], Verdict::Gone, at(100));
        liveness.told(&ids[1], Verdict::Gone, at(200));
        for (name, id) in names.iter().zip(&ids) {
            assert_eq!(liveness.state(name, id, at(400)), Some(NodeState::Ready));
            assert_eq!(liveness.state(name, id, at(701)), Some(NodeState::Gone));
        }
        assert!(liveness.take_changed(at(400)) && liveness.take_changed(at(500)), "it is looked at again");
    }

    #[test]
    fn a_lease_that_is_missing_from_a_new_reading_has_ended() {
        let (now, id) = (Instant::now(), Incarnation::generate());
        let name = "a".parse().unwrap();
        let mut liveness = Liveness::new(now, Duration::ZERO);
        liveness.renewed(&lease("a", &id), now);
        liveness.begin_listing();
        liveness.end_listing();
        assert_eq!(liveness.state(&name, &id, now + LEASE), Some(NodeState::Gone));
    }

    #[test]
    fn a_record_that_is_seen_before_its_lease_says_nothing_for_one_lease_time() {
        let (now, ids) = (Instant::now(), [Incarnation::generate(), Incarnation::generate()]);
        let name = "a".parse().unwrap();
        let mut liveness = Liveness::new(now, LEASE);
        // Whether the start before is known by its lease or not at all.
        for (n, id) in ids.iter().enumerate() {
            let began = now + LEASE * 2 * u32::try_from(n).unwrap();
            liveness.newcomer(&name, id, began);
            liveness.newcomer(&name, id, began + LEASE / 2);
            assert_eq!(liveness.state(&name, id, began + LEASE / 2), Some(NodeState::Ready));
            assert!(liveness.take_changed(began + LEASE / 2), "it is looked at again");
            assert_eq!(liveness.state(&name, id, began + LEASE), Some(NodeState::Gone), "it never came");
            liveness.renewed(&lease("a", id), began + LEASE);
            assert_eq!(liveness.state(&name, id, began + LEASE * 2), Some(NodeState::Ready));
        }
        liveness.newcomer(&name, &ids[1], now + LEASE * 4);
        liveness.ended(&name);
        assert_eq!(liveness.state(&name, &ids[1], now + LEASE * 4), Some(NodeState::Gone), "no newcomer");
    }

    #[test]
    fn a_restarted_node_is_another_one() {
        let (now, old, new) = (Instant::now(), Incarnation::generate(), Incarnation::generate());
        let name = "a".parse().unwrap();
        let mut liveness = Liveness::new(now, Duration::ZERO);
        liveness.renewed(&lease("a", &new), now);
        assert_eq!(liveness.state(&name, &old, now), Some(NodeState::Gone));
        assert_eq!(liveness.state(&name, &new, now), Some(NodeState::Ready));
    }
}
