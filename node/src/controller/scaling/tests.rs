use lattice_proto::manifest::Millis;
use proptest::prelude::*;

use super::*;

fn range(min: u32, max: u32, target_inflight: u32) -> Range {
    Range {
        min,
        max,
        target_inflight,
        target_wait: None,
        up_after: Range::up_after(),
        down_after: Millis(10_000),
    }
}

/// An actor under load, with a clock of its own.
struct Bench {
    scaling: Scaling,
    node: Incarnation,
    now: Instant,
}

fn actor() -> ActorName {
    "greeter".parse().unwrap()
}

impl Bench {
    fn new(range: Range, running: u32) -> Self {
        let (mut scaling, now) = (Scaling::default(), Instant::now());
        scaling.declare(&actor(), range, Has { placed: running, ready: running }, now);
        Self { scaling, node: Incarnation::generate(), now }
    }

    /// So many replicas are ready.
    fn ready(&mut self, replicas: u32) {
        let range = self.scaling.actors[&actor()].range;
        self.scaling.declare(&actor(), range, Has { placed: replicas, ready: replicas }, self.now);
    }

    fn wanted(&self) -> u32 {
        self.scaling.scale(&actor()).unwrap().replicas
    }

    /// One report, half a second after the last.
    fn hear(&mut self, load: ActorLoad) -> u32 {
        self.now += Duration::from_millis(500);
        let (origin, window) = (self.node.clone(), Duration::from_millis(500));
        self.scaling.load(LoadReport { origin, window, actors: vec![(actor(), load)] }, self.now);
        self.wanted()
    }

    /// So many messages in flight, with all replicas heard of.
    fn in_flight(&mut self, messages: u64) -> u32 {
        let replicas = self.wanted();
        self.ready(replicas);
        self.hear(ActorLoad {
            replicas,
            in_flight_milli: messages * 1_000,
            waiting_milli: 0,
            handled: messages,
        })
    }

    fn hold(&mut self, held: u32) -> u32 {
        let (origin, actor) = (self.node.clone(), actor());
        self.scaling.wake(Wake { origin, actor, held }, self.now);
        self.wanted()
    }
}

#[test]
fn more_in_flight_gets_more_replicas_at_once() {
    let mut bench = Bench::new(range(1, 10, 8), 0);
    assert_eq!(bench.wanted(), 1);
    assert_eq!(bench.in_flight(8), 1);
    assert_eq!(bench.in_flight(9), 2);
    assert_eq!(bench.in_flight(41), 6);
    assert_eq!(bench.in_flight(4_000), 10, "never more than the manifest says");
    assert!(
        bench.scaling.scale(&actor()).unwrap().why.contains("4000 messages"),
        "{bench:?}",
        bench = bench.scaling
    );
}

#[test]
fn a_load_that_comes_in_waves_keeps_its_replicas_until_the_window_has_passed() {
    let mut bench = Bench::new(range(1, 10, 8), 0);
    for wave in 0..20 {
        assert_eq!(bench.in_flight(80), 10, "wave {wave}");
        for _ in 0..19 {
            assert_eq!(bench.in_flight(8), 10, "wave {wave}");
        }
    }
    for _ in 0..22 {
        bench.in_flight(17);
    }
    assert_eq!(bench.wanted(), 3, "the largest of the wishes in the window");
}

#[test]
fn what_is_quiet_goes_to_the_least_and_not_below() {
    for least in [0, 2] {
        let mut bench = Bench::new(range(least, 10, 8), 5);
        for _ in 0..19 {
            assert_eq!(bench.in_flight(0), 5);
        }
        for _ in 0..3 {
            bench.in_flight(0);
        }
        assert_eq!(bench.wanted(), least);
    }
}

#[test]
fn a_held_call_wakes_what_has_none_at_once() {
    let mut bench = Bench::new(range(0, 10, 8), 0);
    assert_eq!(bench.hold(1), 1);
    let mut bench = Bench::new(Range { up_after: Millis(60_000), ..range(0, 10, 8) }, 0);
    assert_eq!(bench.hold(50), 7, "no window holds up a call that waits");
}

#[test]
fn what_just_went_to_sleep_wakes_up_at_once() {
    let mut bench = Bench::new(Range { down_after: Millis(0), ..range(0, 10, 8) }, 1);
    assert_eq!(bench.in_flight(0), 0);
    assert_eq!(bench.hold(1), 1);
    assert_eq!(bench.hold(9), 2);
}

#[test]
fn what_is_not_heard_of_is_not_taken_away() {
    let mut bench = Bench::new(range(0, 10, 8), 6);
    for _ in 0..100 {
        // Half of the replicas are on a node that says nothing.
        bench.hear(ActorLoad { replicas: 3, ..ActorLoad::default() });
    }
    assert_eq!(bench.wanted(), 6);
    for _ in 0..100 {
        bench.now += Duration::from_secs(1);
        bench.scaling.tick(bench.now);
    }
    assert_eq!(bench.wanted(), 6, "nor when nobody says anything");
}

#[test]
fn what_has_no_place_is_not_waited_for() {
    let mut bench = Bench::new(range(0, 50, 1), 0);
    assert_eq!(bench.hold(50), 50);
    // Only two of them find a place, or start.
    bench.ready(2);
    let busy =
        |messages: u64| ActorLoad { replicas: 2, in_flight_milli: messages * 1_000, ..ActorLoad::default() };
    assert_eq!(bench.hear(busy(50)), 50);
    for _ in 0..25 {
        bench.hear(busy(0));
    }
    assert_eq!(bench.wanted(), 0);
}

#[test]
fn more_are_wanted_only_after_their_window() {
    let mut bench = Bench::new(Range { up_after: Millis(3_000), ..range(1, 10, 8) }, 0);
    for _ in 0..5 {
        bench.in_flight(0);
    }
    for half_seconds in 1..=6 {
        assert_eq!(bench.in_flight(80), 1, "{half_seconds}");
    }
    for _ in 0..2 {
        bench.in_flight(80);
    }
    assert_eq!(bench.wanted(), 10);
}

#[test]
fn messages_that_wait_too_long_get_more_replicas_step_by_step() {
    let mut bench = Bench::new(Range { target_wait: Some(Millis(50)), ..range(1, 100, 1_000) }, 2);
    // A hundred a second, of which twenty wait at a time: 200 ms each.
    let waits =
        |replicas| ActorLoad { replicas, in_flight_milli: 22_000, waiting_milli: 20_000, handled: 50 };
    assert_eq!(bench.hear(waits(2)), 4, "twice as many, not four times");
    assert_eq!(bench.hear(waits(2)), 4, "and no more before they are there");
    assert_eq!(bench.hear(waits(4)), 8);
    let short = |replicas| ActorLoad { replicas, in_flight_milli: 22_000, waiting_milli: 2_000, handled: 50 };
    assert_eq!(bench.hear(short(8)), 8, "20 ms is within the target");
    let stuck = ActorLoad { replicas: 8, in_flight_milli: 22_000, waiting_milli: 2_000, handled: 0 };
    assert_eq!(bench.hear(stuck), 16, "what handles nothing makes wait without end");
}

#[test]
fn a_new_range_holds_at_once_and_the_load_is_not_forgotten() {
    let mut bench = Bench::new(range(1, 10, 8), 0);
    assert_eq!(bench.in_flight(80), 10);
    bench.scaling.declare(&actor(), range(1, 4, 8), Has { placed: 10, ready: 10 }, bench.now);
    assert_eq!(bench.wanted(), 4);
    bench.scaling.declare(&actor(), range(6, 20, 8), Has { placed: 4, ready: 4 }, bench.now);
    assert_eq!(bench.wanted(), 6);
    assert_eq!(bench.in_flight(80), 10);
}

#[test]
fn news_without_end_fills_no_memory() {
    let mut bench = Bench::new(Range { down_after: Millis(3_600_000), ..range(1, 10, 8) }, 0);
    for step in 0..20_000 {
        bench.in_flight(step % 2 * 80);
    }
    let kept = bench.scaling.actors[&actor()].wishes.len();
    assert!(kept < 2 * PARTS as usize, "{kept}");
}

proptest! {
    #[test]
    fn whatever_nodes_say_the_number_stays_within_the_range(
        loads in proptest::collection::vec((any::<u32>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>()), 1..40),
        min in 0u32..5,
        more in 0u32..20,
        target in 1u32..100,
    ) {
        let range = Range { target_wait: Some(Millis(10)), ..range(min, (min + more).max(1), target) };
        let mut bench = Bench::new(range, 3);
        for (replicas, in_flight_milli, waiting_milli, handled, held) in loads {
            let wanted = bench.hear(ActorLoad { replicas, in_flight_milli, waiting_milli, handled });
            prop_assert!((range.min..=range.max).contains(&wanted));
            let wanted = bench.hold(held);
            prop_assert!((range.min..=range.max).contains(&wanted));
        }
    }
}
