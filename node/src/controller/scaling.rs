//! How many replicas an actor has whose manifest leaves it to the lattice. Pure, with time as an argument.
//!
//! ```text
//! nodes: load of each actor, every half second ─┐
//! routers: calls held for want of a replica ────┴▶ wish, now ─▶ steadied over the manifest's windows ─▶ wanted
//! ```
//!
//! Rules:
//! 1. The wish is what the messages in flight need at `target_inflight` each; or more, where messages wait longer than
//!    `target_wait`. How long they wait follows from how many wait and how many are handled (Little's law), so that no
//!    message has to carry a time.
//! 2. More are wanted when every wish of the last `up_after` was for more; fewer when every wish of the last `down_after`
//!    was for fewer, and then as many as the largest of them.
//! 3. What is not heard of counts as needed: while some replicas that are ready have not been told of, there are no fewer.
//! 4. One that has none gets one at once when a call is held for it, whatever the windows say.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use lattice_proto::envelope::{ActorLoad, LoadReport, Wake};
use lattice_proto::manifest::Range;
use lattice_proto::{ActorName, Incarnation};

/// What was told longer ago than this is not known any more: a few reports may be lost.
const STALE: Duration = Duration::from_secs(2);

/// Held calls that were told of longer ago than this are held no more: whoever holds some says so every 100 ms.
const HELD: Duration = Duration::from_millis(300);

/// In how many parts the wishes of a window are remembered.
const PARTS: u32 = 64;

/// How much longer a message may wait, at most, as seen by one wish: what waits is not all needed at once.
const AT_ONCE: u64 = 2;

/// The load of all actors whose number the lattice decides, and what follows from it.
#[derive(Debug, Default)]
pub(super) struct Scaling {
    actors: BTreeMap<ActorName, Scaled>,
    /// What changed and was not told of yet.
    changes: Vec<Change>,
}

/// Another number of replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub actor: ActorName,
    pub from: u32,
    pub to: u32,
    pub why: String,
}

/// The replicas that an actor has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Has {
    /// With a place.
    pub placed: u32,
    /// That take messages.
    pub ready: u32,
}

/// What is wanted of one actor, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scale {
    pub replicas: u32,
    pub why: String,
}

#[derive(Debug)]
struct Scaled {
    range: Range,
    /// By what the nodes report.
    ready: u32,
    scale: Scale,
    /// By node.
    loads: BTreeMap<Incarnation, Heard<(Duration, ActorLoad)>>,
    /// Calls that are held, by node.
    held: BTreeMap<Incarnation, Heard<u32>>,
    /// The oldest first, one at least, none older than needed.
    wishes: VecDeque<Wishes>,
}

/// The wishes of a short time.
#[derive(Debug)]
struct Wishes {
    first: Instant,
    last: Instant,
    lowest: u32,
    highest: u32,
}

#[derive(Debug)]
struct Heard<T> {
    at: Instant,
    what: T,
}

/// The sum of what is known at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    replicas: u32,
    in_flight_milli: u64,
    waiting_milli: u64,
    /// Turns in a thousand seconds.
    handled: u64,
    held: u32,
}

impl Scaling {
    /// Takes in what is declared of an actor, how many replicas were placed, and how many of them are ready. One that is
    /// not known yet begins with what was placed: its load was not looked at before, so nothing is taken away at once.
    pub(super) fn declare(&mut self, actor: &ActorName, range: Range, has: Has, now: Instant) {
        let begin = has.placed.clamp(range.min, range.max);
        let scaled = self.actors.entry(actor.clone()).or_insert_with(|| Scaled {
            range,
            ready: has.ready,
            scale: Scale { replicas: begin, why: "declared".to_owned() },
            loads: BTreeMap::new(),
            held: BTreeMap::new(),
            wishes: VecDeque::from([Wishes::new(begin, now)]),
        });
        scaled.ready = has.ready;
        if scaled.range != range {
            scaled.range = range;
            let within = scaled.scale.replicas.clamp(range.min, range.max);
            if within != scaled.scale.replicas {
                let why = format!("declared from {} to {}", range.min, range.max);
                scaled.scale = Scale { replicas: within, why };
            }
        }
    }

    /// Only these actors are left to the lattice.
    pub(super) fn keep(&mut self, is_declared: impl Fn(&ActorName) -> bool) {
        self.actors.retain(|actor, _| is_declared(actor));
    }

    /// What is wanted of an actor; none when it is not left to the lattice.
    pub(super) fn scale(&self, actor: &ActorName) -> Option<&Scale> {
        Some(&self.actors.get(actor)?.scale)
    }

    /// A node tells how busy it is; says whether anything follows.
    pub(super) fn load(&mut self, report: LoadReport, now: Instant) -> bool {
        let LoadReport { origin, window, actors } = report;
        let mut changed = false;
        for (actor, load) in actors {
            // What is not declared so any more may still be told for a moment.
            let Some(scaled) = self.actors.get_mut(&actor) else { continue };
            scaled.loads.insert(origin.clone(), Heard { at: now, what: (window, load) });
            changed |= self.decide(&actor, now);
        }
        changed
    }

    /// A node holds calls for an actor; says whether anything follows.
    pub(super) fn wake(&mut self, wake: Wake, now: Instant) -> bool {
        let Some(scaled) = self.actors.get_mut(&wake.actor) else { return false };
        scaled.held.insert(wake.origin, Heard { at: now, what: wake.held });
        self.decide(&wake.actor, now)
    }

    /// Time has passed; says whether anything follows.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let actors: Vec<ActorName> = self.actors.keys().cloned().collect();
        let mut changed = false;
        for actor in &actors {
            changed |= self.decide(actor, now);
        }
        changed
    }

    /// What changed since this was asked last.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    fn decide(&mut self, actor: &ActorName, now: Instant) -> bool {
        let Some(scaled) = self.actors.get_mut(actor) else { return false };
        let from = scaled.scale.replicas;
        let changed = scaled.decide(now);
        if changed {
            let Scale { replicas: to, why } = scaled.scale.clone();
            self.changes.push(Change { actor: actor.clone(), from, to, why });
        }
        changed
    }
}

impl Scaled {
    fn decide(&mut self, now: Instant) -> bool {
        self.loads.retain(|_, heard| now.duration_since(heard.at) <= STALE);
        self.held.retain(|_, heard| now.duration_since(heard.at) <= HELD);
        let sum = self.sum();
        let current = self.scale.replicas;
        let (wish, why) = self.wish(&sum);
        // Rule 3.
        let wish = if sum.replicas < current.min(self.ready) { wish.max(current) } else { wish };
        self.remember(wish, now);
        let watched = self.wishes.front().map_or(Duration::ZERO, |wishes| now.duration_since(wishes.first));
        let (up, down) = (self.range.up_after.duration(), self.range.down_after.duration());
        // Rules 4 and 2.
        let wanted = if current == 0 {
            wish
        } else if wish > current && watched >= up {
            self.within(up, now).map(|wishes| wishes.lowest).min().unwrap_or(wish).max(current)
        } else if wish < current && watched >= down {
            self.within(down, now).map(|wishes| wishes.highest).max().unwrap_or(wish).min(current)
        } else {
            current
        };
        let changed = wanted != current;
        if changed {
            self.scale = Scale { replicas: wanted, why };
        }
        if self.scale.replicas == 0 {
            // What replicas said of themselves that are to stop says nothing of those to come.
            self.loads.clear();
        }
        changed
    }

    fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        for Heard { what: (window, load), .. } in self.loads.values() {
            // The numbers come from other nodes, and adding them up must not end this one.
            sum.replicas = sum.replicas.saturating_add(load.replicas);
            sum.in_flight_milli = sum.in_flight_milli.saturating_add(load.in_flight_milli);
            sum.waiting_milli = sum.waiting_milli.saturating_add(load.waiting_milli);
            let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX).max(1);
            let handled = u128::from(load.handled) * 1_000_000 / u128::from(millis);
            sum.handled = sum.handled.saturating_add(u64::try_from(handled).unwrap_or(u64::MAX));
        }
        for Heard { what: held, .. } in self.held.values() {
            sum.held = sum.held.saturating_add(*held);
        }
        sum
    }

    /// Rule 1.
    fn wish(&self, sum: &Sum) -> (u32, String) {
        let Range { min, max, target_inflight, target_wait, .. } = self.range;
        // What was held a moment ago may be in flight by now, and is not to be counted twice.
        let in_flight_milli = sum.in_flight_milli.max(u64::from(sum.held).saturating_mul(1_000));
        let by_load = in_flight_milli.div_ceil(u64::from(target_inflight).saturating_mul(1_000));
        // Short turns are over before anybody counts them, and are turns all the same.
        let by_load = by_load.max(u64::from(sum.handled > 0));
        let mut why = match in_flight_milli {
            0 if sum.handled == 0 => "nothing is in flight".to_owned(),
            milli => format!("{} messages are in flight", milli.div_ceil(1_000)),
        };
        let mut wish = by_load;
        if let Some(target) = target_wait
            // More of them were asked for already, and have not been seen to work yet.
            && sum.replicas >= self.scale.replicas
            && let Some(wait) = sum.wait()
            && wait > target.0
        {
            let factor_milli = wait.saturating_mul(1_000) / target.0.max(1);
            let longer =
                u64::from(sum.replicas).saturating_mul(factor_milli.min(AT_ONCE * 1_000)).div_ceil(1_000);
            if longer > wish {
                wish = longer;
                why = format!("messages wait for {wait} ms");
            }
        }
        let wish = u32::try_from(wish).unwrap_or(u32::MAX).clamp(min, max);
        (wish, format!("{wish} are needed, as {why}"))
    }

    fn remember(&mut self, wish: u32, now: Instant) {
        let window = self.range.up_after.max(self.range.down_after).duration();
        // One more than the window holds, so that it is known to be covered.
        while self.wishes.get(1).is_some_and(|next| now.duration_since(next.last) > window) {
            self.wishes.pop_front();
        }
        match self.wishes.back_mut() {
            // However often there is news, a window is no more than so many parts.
            Some(part) if now.duration_since(part.first) < window / PARTS => {
                part.last = now;
                part.lowest = part.lowest.min(wish);
                part.highest = part.highest.max(wish);
            }
            _ => self.wishes.push_back(Wishes::new(wish, now)),
        }
    }

    /// The wishes of the last time; of none at all the last one stands for itself.
    fn within(&self, window: Duration, now: Instant) -> impl Iterator<Item = &Wishes> {
        let recent = move |wishes: &&Wishes| !window.is_zero() && now.duration_since(wishes.last) <= window;
        self.wishes.iter().filter(recent)
    }
}

impl Wishes {
    fn new(wish: u32, now: Instant) -> Self {
        Self { first: now, last: now, lowest: wish, highest: wish }
    }
}

impl Sum {
    /// How long a message waits on average, in milliseconds: as many as wait, over as many as are handled in a time.
    fn wait(&self) -> Option<u64> {
        if self.waiting_milli == 0 {
            return None;
        }
        // Thousandths of messages, over messages in a thousand seconds: a millionth of a thousand seconds is a millisecond.
        Some(self.waiting_milli.saturating_mul(1_000).checked_div(self.handled).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests;
