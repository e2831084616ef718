//! Tells the leader how busy those actors are of which it decides the number of replicas. Messages in flight are looked at
//! often and told now and then, on average; what is lost on the way is told again with the next.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lattice_proto::envelope::{ActorLoad, LoadReport, MAX_LOADS};
use lattice_proto::subject::Inbox;
use lattice_proto::{ActorName, Incarnation};

use crate::membership::ToLeader;
use crate::replica::Local;

/// How often messages in flight are counted.
const SAMPLE: Duration = Duration::from_millis(50);

/// How often the leader is told.
const REPORT: Duration = Duration::from_millis(500);

/// What was counted of one actor since the last report.
#[derive(Default)]
struct Counted {
    samples: u64,
    replicas: u32,
    in_flight: u64,
    waiting: u64,
    handled: u64,
}

/// Reports for as long as the node runs.
pub async fn report(local: Local, me: Incarnation, leader: ToLeader) {
    let mut tick = tokio::time::interval(SAMPLE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut counted: BTreeMap<ActorName, Counted> = BTreeMap::new();
    let mut handled: BTreeMap<(ActorName, u64), u64> = BTreeMap::new();
    let mut since = Instant::now();
    loop {
        tick.tick().await;
        sample(&local, &mut counted);
        let window = since.elapsed();
        if window < REPORT {
            continue;
        }
        since = Instant::now();
        count_handled(&local, &mut handled, &mut counted);
        let mut loads =
            std::mem::take(&mut counted).into_iter().map(|(actor, counted)| (actor, counted.load()));
        loop {
            let actors: Vec<(ActorName, ActorLoad)> = loads.by_ref().take(MAX_LOADS).collect();
            if actors.is_empty() {
                break;
            }
            let report = LoadReport { origin: me.clone(), window, actors };
            leader.tell(&Inbox::Load, report.encode()).await;
        }
    }
}

fn sample(local: &Local, counted: &mut BTreeMap<ActorName, Counted>) {
    // Several versions of one actor are one load.
    let mut now: BTreeMap<ActorName, Counted> = BTreeMap::new();
    for (actor, _, local) in local.measured() {
        let (busy, now) = (local.busy(), now.entry(actor).or_default());
        now.replicas += busy.replicas;
        now.in_flight += busy.in_flight;
        now.waiting += busy.waiting;
    }
    counted.retain(|actor, _| now.contains_key(actor));
    for (actor, now) in now {
        let counted = counted.entry(actor).or_default();
        counted.samples += 1;
        counted.replicas = now.replicas;
        counted.in_flight += now.in_flight;
        counted.waiting += now.waiting;
    }
}

fn count_handled(
    local: &Local,
    handled: &mut BTreeMap<(ActorName, u64), u64>,
    counted: &mut BTreeMap<ActorName, Counted>,
) {
    let before = std::mem::take(handled);
    for (actor, version, local) in local.measured() {
        let (now, key) = (local.tally().handled, (actor, version));
        // What began in between counts from its beginning.
        let ended = now.saturating_sub(before.get(&key).copied().unwrap_or(0));
        if let Some(counted) = counted.get_mut(&key.0) {
            counted.handled += ended;
        }
        handled.insert(key, now);
    }
}

impl Counted {
    fn load(&self) -> ActorLoad {
        let average = |sum: u64| (sum * 1_000).checked_div(self.samples).unwrap_or(0);
        ActorLoad {
            replicas: self.replicas,
            in_flight_milli: average(self.in_flight),
            waiting_milli: average(self.waiting),
            handled: self.handled,
        }
    }
}
