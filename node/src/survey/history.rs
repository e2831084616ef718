//! What a node remembers of how its actors did, so that whoever looks at one sees more than what happens from then on.
//!
//! It is kept in steps that are the same on all nodes, as their view of the server's clock is, so that what nodes remember can
//! be added up. An actor that did nothing in a step takes no room in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lattice_proto::survey::{Past, STEP_MS, STEPS, Step, Survey};
use lattice_proto::{ActorName, NodeName};

use super::rates::{Between, REJECTED, between, float};
use crate::clock::ServerClock;
use crate::telemetry::metrics;

/// What one node remembers: the last half an hour. A cheap handle.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<VecDeque<Remembered>>>);

/// One step, with those that did something in it.
struct Remembered {
    step: u64,
    actors: BTreeMap<ActorName, Step>,
}

/// How much of a step must have been seen, in seconds.
const SHORTEST: f64 = 2.5;

/// The step that ends next, after this one. One that is far away, as after a clock that was wrong, is not waited for.
fn next_step(now_ms: u64, last: u64) -> u64 {
    let next = now_ms / STEP_MS + 1;
    if last == next || last == next + 1 { last + 1 } else { next }
}

impl History {
    /// Remembers, for as long as the node runs.
    pub async fn keep(self, page: metrics::Page, node: NodeName, clock: Arc<ServerClock>) {
        let started = Instant::now();
        let (mut before, mut last) = (None::<Survey>, 0);
        loop {
            // Steps follow each other, although the server's clock is told anew now and then, and a little earlier.
            let now = u64::try_from(clock.now_ms()).unwrap_or(0);
            let next = next_step(now, last);
            tokio::time::sleep(Duration::from_millis((next * STEP_MS).saturating_sub(now))).await;
            let step = next.saturating_sub(1);
            last = next;
            let (page, node) = (page.clone(), node.clone());
            // It looks at everything that runs here, which is not to hold up others on this thread.
            let look = move || metrics::survey(&page, node, started.elapsed());
            let Ok(Ok(survey)) = tokio::task::spawn_blocking(look).await else { continue };
            let between = before.as_ref().and_then(|before| between(before, &survey));
            // Of one that was hardly a step, as after a machine slept, nothing can be said.
            if let Some(between) = between.filter(|between| between.seconds >= SHORTEST) {
                self.remember(step, &between);
            }
            before = Some(survey);
        }
    }

    /// Takes in what happened in a step.
    fn remember(&self, step: u64, between: &Between) {
        let did = |(actor, happened): (&ActorName, &super::rates::Happened)| {
            let failed: u64 =
                happened.faults.iter().filter(|(kind, _)| *kind != REJECTED).map(|(_, count)| count).sum();
            let in_a_second = |count: u64| narrow(float(count) / between.seconds);
            let (calls, failures) = (in_a_second(happened.handled), in_a_second(failed));
            let p99_us = narrow(happened.percentile_us(99.0).unwrap_or(0.0));
            (happened.handled + failed > 0).then(|| (actor.clone(), Step { step, calls, failures, p99_us }))
        };
        let actors = between.actors.iter().filter_map(did).collect();
        let mut all = self.all();
        // The clock may have been set back, by a server that was.
        all.retain(|remembered| remembered.step < step);
        if all.len() == STEPS {
            all.pop_front();
        }
        all.push_back(Remembered { step, actors });
    }

    /// How an actor did.
    pub(super) fn of(&self, actor: &ActorName) -> Past {
        let step = |remembered: &Remembered| {
            let nothing = Step { step: remembered.step, ..Step::default() };
            remembered.actors.get(actor).copied().unwrap_or(nothing)
        };
        Past(self.all().iter().map(step).collect())
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a number for people, of which seven digits are enough")]
fn narrow(number: f64) -> f32 {
    number as f32
}

/// How an actor did in one step, on all nodes; nothing where no node told.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Calls in a second.
    pub calls: Option<f64>,
    /// Failures in a second.
    pub failures: Option<f64>,
    /// Of the node on which it was the longest, in microseconds.
    pub p99_us: Option<f64>,
}

/// Adds up what nodes remember, the latest step last. Steps between the first and the last of which no node told are gaps, and steps that
/// are still to come are those of a node whose clock is wrong.
pub(super) fn add_up(pasts: &[Past], now_ms: u64) -> Vec<Sample> {
    let mut steps = BTreeMap::<u64, Sample>::new();
    let has_come = |step: &&Step| step.step <= now_ms / STEP_MS;
    for step in pasts.iter().flat_map(|past| &past.0).filter(has_come) {
        let sample = steps.entry(step.step).or_default();
        let add = |sum: &mut Option<f64>, more: f32| *sum = Some(sum.unwrap_or(0.0) + f64::from(more));
        add(&mut sample.calls, step.calls);
        add(&mut sample.failures, step.failures);
        if step.p99_us > 0.0 {
            sample.p99_us = Some(sample.p99_us.unwrap_or(0.0).max(f64::from(step.p99_us)));
        }
    }
    let Some(last) = steps.keys().next_back().copied() else { return Vec::new() };
    // A node whose clock is far off is not to make this long.
    let earliest = last.saturating_sub(STEPS as u64 - 1);
    let first = steps.range(earliest..).next().map_or(last, |(step, _)| *step);
    (first..=last).map(|step| steps.get(&step).copied().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::rates::Happened;
    use super::*;

    fn between(handled: u64) -> Between {
        let happened = Happened {
            handled,
            within: vec![handled; lattice_proto::survey::POWERS.count()],
            faults: [("trapped".to_owned(), 5), (REJECTED.to_owned(), 50)].into(),
            ..Happened::default()
        };
        Between { seconds: 5.0, actors: [("a".parse().unwrap(), happened)].into(), ..Between::default() }
    }

    #[test]
    fn half_an_hour_is_remembered_and_no_more() {
        let (history, a, other) = (History::default(), "a".parse().unwrap(), "b".parse().unwrap());
        (0..1_000).for_each(|step| history.remember(step, &between(10)));
        let past = history.of(&a);
        assert_eq!((past.0.len(), past.0[0].step, past.0[359].step), (360, 640, 999));
        assert_eq!((past.0[0].calls, past.0[0].failures), (2.0, 1.0), "what is rejected has not failed");
        assert!(history.of(&other).0.iter().all(|step| step.calls == 0.0));
        // A clock that was set back begins anew from there.
        history.remember(700, &between(10));
        assert_eq!(history.of(&a).0.last().unwrap().step, 700);
    }

    #[test]
    fn steps_follow_each_other_although_the_clock_is_told_anew() {
        assert_eq!(next_step(12 * STEP_MS + 1, 0), 13);
        assert_eq!(next_step(13 * STEP_MS + 2, 13), 14, "it woke after the end of the step");
        assert_eq!(next_step(13 * STEP_MS - 2, 13), 14, "the clock went back a little meanwhile");
        assert_eq!(next_step(5 * STEP_MS, 1_000), 6, "the clock was far ahead");
    }

    #[test]
    fn what_nodes_remember_is_added_up_step_by_step() {
        let step = |step, calls, p99_us| Step { step, calls, failures: 0.0, p99_us };
        let one = Past(vec![step(4, 1.0, 100.0), step(6, 2.0, 0.0)]);
        let other = Past(vec![step(6, 3.0, 700.0)]);
        let now_ms = 7 * STEP_MS;
        let all = add_up(&[one, other], now_ms);
        let calls: Vec<_> = all.iter().map(|sample| sample.calls).collect();
        assert_eq!(calls, [Some(1.0), None, Some(5.0)]);
        assert_eq!(all[2].p99_us, Some(700.0));
        assert!(add_up(&[], now_ms).is_empty());
        let wrong = Past(vec![step(u64::MAX, 1.0, 0.0)]);
        assert_eq!(add_up(&[Past(vec![step(4, 1.0, 0.0)]), wrong], now_ms)[0].calls, Some(1.0));
        assert_eq!(add_up(&[Past(vec![step(4, 1.0, 0.0), step(900, 1.0, 0.0)])], 1_000 * STEP_MS).len(), 1);
    }
}
